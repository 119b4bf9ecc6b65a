import { type Constant, type GraphScope, makeTensor, type NodeProto } from '../../model/index.ts';
import type { Encoding, Parameter } from '../encodings/encoding.ts';
import type { GraphEditor, ModelEditor } from '../graph/editor.ts';
import { AXIS_OPSET, dequantizeByHand, dequantizeLinear } from './dequantize.ts';
import type { Encoded, FloatConstant } from './value.ts';

/** What the plan knows of the constants before anything is rewritten. */
export interface Fates {
  /** Constants that some node takes in fewer bits. */
  quantized: ReadonlySet<Constant>;
  /** Constants that stay FLOAT for a reader, even where another one takes them in fewer bits. */
  keepsFloat: ReadonlySet<Constant>;
}

/** A model's constants on their way into the new model: each is encoded once for all who can share it. */
export class Constants {
  /** In the order in which they were encoded. */
  readonly encoded: Encoded[] = [];
  /** Constants whose name is now that of a node's output. */
  readonly gone = new Set<Constant>();
  readonly #fates: Fates;
  readonly #model: ModelEditor;
  readonly #byConstant = new Map<Constant, Encoded[]>();
  /** Constants that a node of the new graph reads as FLOAT. */
  readonly #floatRead = new Set<Constant>();
  /** Constants that are read as FLOAT before they are encoded. */
  readonly #early = new Set<Constant>();

  constructor(fates: Fates, model: ModelEditor) {
    this.#fates = fates;
    this.#model = model;
  }

  /** Constants that exist in fewer bits. */
  get replaced(): ReadonlySet<Constant> {
    return new Set(this.#byConstant.keys());
  }

  /** Encodes a constant for a node, or takes what is there if `accepts` says that it will do. */
  encode(constant: FloatConstant, encoding: Encoding, accepts: (have: Encoding) => boolean): Encoded {
    const have = this.#byConstant.get(constant)?.find((each) => accepts(each.encoding));
    if (have) return have;
    const made = this.#add(constant, encoding);
    for (const { tensor } of made.parameters) this.#graphOf(constant).addInitializer(tensor);
    this.#graphOf(constant).addInitializer(made.data);
    return made;
  }

  /** Encodes a constant in place of its FLOAT value, which the caller makes of it under the constant's name. */
  store(constant: FloatConstant, encoding: Encoding): Encoded {
    const made = this.#add(constant, encoding);
    this.#graphOf(constant).addInitializer(made.data);
    for (const { tensor } of made.parameters) this.#graphOf(constant).addInitializer(tensor);
    this.gone.add(constant);
    return made;
  }

  /** What a constant is encoded as in its own order, if anything. */
  dequantizable(constant: Constant): Encoded | undefined {
    return this.#byConstant.get(constant)?.find(({ encoding }) => encoding.dequantization);
  }

  /** Makes sure that the constant's FLOAT value can be read by its name. */
  float(constant: Constant): void {
    if (this.gone.has(constant) || this.#early.has(constant)) return;
    const entry = this.dequantizable(constant);
    if (this.#fates.keepsFloat.has(constant) || this.#floatRead.has(constant)) this.#floatRead.add(constant);
    else if (entry) this.#graphOf(constant).emit(...this.#dequantize(entry));
    else if (this.#fates.quantized.has(constant)) this.#early.add(constant);
    else this.#floatRead.add(constant);
  }

  /** When all nodes are there: dequantizes what was read before it was encoded, at the beginning of its graph. */
  settle(): void {
    for (const constant of this.#early) {
      const entry = this.dequantizable(constant);
      if (entry) this.#graphOf(constant).emitFirst(...this.#dequantize(entry));
    }
  }

  #add(constant: FloatConstant, encoding: Encoding): Encoded {
    const names = encoding.names(constant.name);
    const tensorOf = (name: string, { dtype, dims }: { dtype: number; dims: readonly number[] }) =>
      makeTensor(this.#model.unique(name), dtype, dims, NOTHING_YET);
    const data = tensorOf(names.data, encoding.data);
    const parameters = encoding.parameters.map((parameter) => {
      return { parameter, tensor: tensorOf(names[parameter.holds]!, parameter) };
    });
    const nameOf = (...holds: Parameter['holds'][]) =>
      parameters.find(({ parameter }) => holds.includes(parameter.holds))?.tensor.name ?? '';
    const made: Encoded = {
      constant,
      encoding,
      data,
      parameters,
      q: data.name,
      scale: nameOf('scale'),
      zeroPoint: nameOf('zeroPoint', 'floatZeroPoint'),
      axis: encoding.dequantization?.axis ?? null,
    };
    this.encoded.push(made);
    const entries = this.#byConstant.get(constant);
    if (entries) entries.push(made);
    else this.#byConstant.set(constant, [made]);
    return made;
  }

  #dequantize(entry: Encoded): NodeProto[] {
    const { constant, encoding } = entry;
    const { name, scope } = constant;
    const { axis, byHand, broadcast } = encoding.dequantization!;
    const graph = this.#graphOf(constant);
    this.gone.add(constant);
    const takesAxis = axis === null || (scope.opset() ?? 0) >= AXIS_OPSET;
    if (takesAxis && !byHand) return [dequantizeLinear(entry, name, graph)];
    // Parameters along the last axis broadcast as they are.
    if (byHand || axis === -1) return dequantizeByHand(entry, name, graph);
    const spread = entry.parameters.slice().map(({ parameter, tensor }) => {
      const shaped = broadcast(parameter);
      const copy = makeTensor(this.#model.unique(`${tensor.name}_broadcast`), shaped.dtype, shaped.dims, NOTHING_YET);
      entry.parameters.push({ parameter: shaped, tensor: copy });
      graph.addInitializer(copy);
      return copy.name;
    });
    return dequantizeByHand({ q: entry.q, scale: spread[0]!, zeroPoint: spread[1]! }, name, graph);
  }

  #graphOf({ scope }: { scope: GraphScope }): GraphEditor {
    return this.#model.graph(scope);
  }
}

/** In place of bytes that are known once the weights are read. */
const NOTHING_YET = new Uint8Array();
