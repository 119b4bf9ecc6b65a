import {
  DataType,
  definingScope,
  type GraphIndex,
  type GraphScope,
  intAttribute,
  intOf,
  makeNode,
  type NodeProto,
  operatorKey,
} from '../../../model/index.ts';
import { Float16 } from '../../encodings/float16.ts';
import type { Place } from '../../values/place.ts';
import type { NodeForm } from '../method.ts';
import { constantWeights } from '../site.ts';
import { halfOperators, placesOf } from './operators.ts';
import type { Overflows } from './overflows.ts';
import { valueTypes } from './value-types.ts';

/**
 * Nodes that compute in half precision: their values are FLOAT16, with Casts where others read them. Inputs and outputs of
 * the model and of its subgraphs keep their types. Weights and values that FP16 cannot hold keep their nodes FP32.
 */
export function halfForm(index: GraphIndex, overflows: Overflows): NodeForm {
  const typeOf = valueTypes(index);
  const halves = new Halves();
  return {
    kind: 'node',
    name: 'half',
    needs: { opset: 7, operator: 'Cast and arithmetic of FLOAT16' },
    note: 'Values are FP16 for GPUs. The CPU provider has few FP16 kernels and casts to and fro: expect it to be slower than FP32 there.',
    anyOperator: true,
    weights: constantWeights,
    offer({ node, scope }) {
      if (isCast(node, DataType.FLOAT) && typeOf(scope, node.input[0]!) === DataType.FLOAT16)
        return { becomes: 'is read as FP16' };
      if (isCast(node, DataType.FLOAT16) && typeOf(scope, node.input[0]!) === DataType.FLOAT)
        return { becomes: 'is FP16 already', unless: 'its input is not FP16' };
      const operator = halfOperators.get(operatorKey(node));
      if (!operator) return { refusal: `${node.opType} stays FP32` };
      const inputs = placesOf(node.input, operator.inputs).map((i) => node.input[i]!);
      const other = inputs.find((name) => typeOf(scope, name) !== DataType.FLOAT);
      if (other !== undefined || inputs.length === 0)
        return { refusal: `${other ?? 'its input'} is not known to be FLOAT` };
      const large = [...inputs, ...placesOf(node.output, operator.outputs).map((i) => node.output[i]!)].find(
        (name) => definingScope(scope, name) === index.main && overflows.has(name),
      );
      if (large !== undefined)
        return { refusal: `${large} ${overflows.get(large)} on the samples, and FP16 ends at 65504` };
      if (operator.moves) return { becomes: 'moves FP16', unless: 'its input is not FP16' };
      return { becomes: 'computes in FP16' };
    },
    rewrite(node, place) {
      if (isCast(node, DataType.FLOAT)) return halves.read(node, place);
      if (isCast(node, DataType.FLOAT16)) return halves.give(node, place);
      const { inputs, outputs, moves } = halfOperators.get(operatorKey(node))!;
      const converted = placesOf(node.input, inputs);
      if (moves && !converted.some((i) => halves.has(node.input[i]!, place))) return false;
      const copy = place.graph.copy(node);
      for (const [i, name] of node.input.entries()) {
        if (converted.includes(i)) copy.input[i] = halves.of(name, place);
        else place.float(name);
      }
      for (const i of placesOf(node.output, outputs)) copy.output[i] = halves.define(node.output[i]!, place);
      place.graph.emit(copy);
      return true;
    },
  };
}

/** The FLOAT16 forms of values, by the graph that makes them and the name of the FLOAT value. */
class Halves {
  readonly #names = new Map<GraphScope, Map<string, string>>();

  has(name: string, place: Place): boolean {
    return this.#in(place.home(name)).has(name);
  }

  /** The FLOAT16 form of a FLOAT value: what is there, a constant's encoding, or a Cast where the value is made. */
  of(name: string, place: Place): string {
    const constant = place.constant(name);
    if (constant) return place.encode(constant, new Float16(constant.ref), ({ kind }) => kind === 'float16').q;
    const home = place.home(name);
    const known = this.#in(home).get(name);
    if (known !== undefined) return known;
    home.float(name);
    const half = this.#name(name, home);
    home.graph.emit(cast(name, half, DataType.FLOAT16, home));
    return half;
  }

  /** Takes what a Cast reads as the FLOAT16 form of what it makes, which is made when it is needed. */
  read(node: NodeProto, place: Place): true {
    this.#in(place).set(node.output[0]!, node.input[0]!);
    place.defer(node.output[0]!, () => place.graph.emit(node));
    return true;
  }

  /** Gives the FLOAT16 form of a value, where it has one, in place of a Cast to it. */
  give(node: NodeProto, place: Place): boolean {
    const half = this.#in(place.home(node.input[0]!)).get(node.input[0]!);
    if (half === undefined) return false;
    if (half !== node.output[0]) place.graph.emit(makeNode('Identity', [half], [node.output[0]!], { name: node.name }));
    return true;
  }

  /** Names the FLOAT16 form of a value that a node makes in place of the FLOAT one, which is made when it is needed. */
  define(name: string, place: Place): string {
    const half = this.#name(name, place, castOf(place.scope, name));
    place.defer(name, () => place.graph.emit(cast(half, name, DataType.FLOAT, place)));
    return half;
  }

  #name(name: string, place: Place, half = place.graph.unique(`${name}_half`)): string {
    this.#in(place).set(name, half);
    return half;
  }

  #in({ scope }: Place): Map<string, string> {
    const names = this.#names.get(scope) ?? new Map<string, string>();
    this.#names.set(scope, names);
    return names;
  }
}

/** The name under which a Cast of its graph gives the FLOAT16 form of a value, if one does. */
function castOf(scope: GraphScope, name: string): string | undefined {
  for (const { node, scope: reader } of scope.uses.get(name) ?? []) {
    if (node && reader === scope && isCast(node, DataType.FLOAT16)) return node.output[0];
  }
  return undefined;
}

function isCast(node: NodeProto, to: number): boolean {
  return operatorKey(node) === 'Cast' && intOf(node, 'to', 0) === to;
}

function cast(input: string, output: string, to: number, { graph }: Place) {
  return makeNode('Cast', [input], [output], {
    name: graph.unique(`${output}_Cast`),
    attributes: [intAttribute('to', to)],
  });
}
