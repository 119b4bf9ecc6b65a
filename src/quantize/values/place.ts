import {
  type Constant,
  constantBehind,
  constantOf,
  definingScope,
  type GraphScope,
  type NodeProto,
} from '../../model/index.ts';
import type { Encoding } from '../encodings/encoding.ts';
import type { GraphEditor } from '../graph/editor.ts';
import type { Constants } from './constants.ts';
import { AXIS_OPSET, dequantizeByHand, dequantizeLinear } from './dequantize.ts';
import { type Encoded, type FloatConstant, isFloat, type QuantizedValue } from './value.ts';

/** A graph that is being rewritten, and the values that its nodes see. This is what forms speak to. */
export class Place {
  readonly scope: GraphScope;
  /** The new graph. */
  readonly graph: GraphEditor;
  readonly #parent: Place | undefined;
  readonly #constants: Constants;
  /** By the name of the FLOAT value: its other form, and what makes the FLOAT value where it does not exist yet. */
  readonly #values = new Map<string, { quantized?: QuantizedValue; restore?: () => void }>();

  constructor(scope: GraphScope, graph: GraphEditor, constants: Constants, parent: Place | undefined) {
    this.scope = scope;
    this.graph = graph;
    this.#constants = constants;
    this.#parent = parent;
  }

  /** Emits a node that reads FLOAT values, after making those that do not exist. */
  keep(node: NodeProto): void {
    for (const name of node.input) this.float(name);
    this.graph.emit(node);
  }

  /** Makes sure that `name` can be read as a FLOAT value. */
  float(name: string): void {
    if (name === '') return;
    const constant = constantOf(this.scope, name);
    if (constant) this.#constants.float(constant);
    else this.home(name).#restore(name);
  }

  /** The constant that a name stands for, through Identity, if its elements can be quantized. */
  constant(name: string): FloatConstant | undefined {
    const constant = constantBehind(this.scope, name);
    return constant && isFloat(constant) ? constant : undefined;
  }

  /** Whether a constant's FLOAT value is still one: no node makes it now. */
  remains(constant: Constant): boolean {
    return !this.#constants.gone.has(constant);
  }

  /** Encodes a constant, or takes what another node encoded, if `accepts` says that it will do. */
  encode(constant: FloatConstant, encoding: Encoding, accepts: (have: Encoding) => boolean): Encoded {
    return this.#constants.encode(constant, encoding, accepts);
  }

  /** The 8-bit form that a value already has, if any. */
  quantized(name: string): QuantizedValue | undefined {
    const constant = constantBehind(this.scope, name);
    if (constant) return this.#constants.dequantizable(constant);
    return this.home(name).#values.get(name)?.quantized;
  }

  /** Says that the value `name` of this graph exists in 8 bits too. */
  note(name: string, quantized: QuantizedValue): void {
    this.#values.set(name, { quantized });
  }

  /** Says that the value `name` of this graph exists in 8 bits only; it is dequantized when somebody needs it. */
  define(name: string, quantized: QuantizedValue): void {
    const byAxis = quantized.axis === null || (this.scope.opset() ?? 0) >= AXIS_OPSET;
    this.#values.set(name, {
      quantized,
      // Scales of an activation are along its last axis, where they broadcast as they are.
      restore: () =>
        byAxis
          ? this.graph.emit(dequantizeLinear(quantized, name, this.graph))
          : this.graph.emit(...dequantizeByHand(quantized, name, this.graph)),
    });
  }

  /** Says that the FLOAT value `name` of this graph is made by `restore`, once somebody needs it. */
  defer(name: string, restore: () => void): void {
    this.#values.set(name, { restore });
  }

  /** Names of FLOAT values of this graph that nobody needed. */
  *missing(): Generator<string> {
    for (const [name, { restore }] of this.#values) if (restore) yield name;
  }

  /** Where a value is made: this graph, or one around it. */
  home(name: string): Place {
    for (let place: Place | undefined = this; place; place = place.#parent) {
      if (place.#values.has(name)) return place;
    }
    const scope = definingScope(this.scope, name);
    for (let place: Place | undefined = this; place; place = place.#parent) if (place.scope === scope) return place;
    return this;
  }

  #restore(name: string): void {
    const value = this.#values.get(name);
    const restore = value?.restore;
    if (!restore) return;
    delete value.restore;
    restore();
  }
}
