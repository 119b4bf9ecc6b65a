import { create } from '@bufbuild/protobuf';
import {
  DataType,
  type GraphProto,
  type Model,
  type NodeProto,
  OperatorSetIdProtoSchema,
  opsetOf,
  StringStringEntryProtoSchema,
  subgraphsOf,
  type TensorProto,
  uniqueNames,
} from '../model/index.ts';
import { type Decision, type Decisions, FOLLOWS, type Storage } from './decide.ts';
import { type Constant, constantOf, definingScope, type GraphIndex, isFloat, type Scope } from './graph.ts';
import type { Settings } from './options.ts';
import { intAttribute, MS_DOMAIN, makeNode, makeTensor, shallowCopy } from './protos.ts';
import type { WeightJob, WeightParameters } from './stream/index.ts';

/** A model's quantized form, before its numbers are known. */
export interface Rewrite {
  /** The new graph. `tensors` has what is taken over as it is. */
  model: Model;
  weights: PlannedWeight[];
}

/** A tensor of the new graph that is made from one of the old. */
export interface PlannedWeight {
  /** In the new graph. */
  tensor: TensorProto;
  /** What it is made from. */
  constant: Constant;
  /** How, or null where its FLOAT elements are only rounded to FLOAT16. */
  job: WeightJob | null;
  /** Small tensors that hold what pass 1 finds, repeated to their size. */
  parameters: { tensor: TensorProto; holds: 'scale' | 'zeroPoint' | 'floatZeroPoint' }[];
}

/** Metadata key by which a model of ours is known again. */
export const METADATA_KEY = 'onnx-quantize-actions';

/** A value in 8 bits: real = scale × (q − zeroPoint). All are names. */
export interface QuantizedValue {
  q: string;
  scale: string;
  zeroPoint: string;
  /** The axis of the scales, counted from the end (−1 is the last); null for one scale. */
  axis: number | null;
}

/** What an operator wants of a weight. The first that asks decides; the others take it if they accept it. */
export interface WeightRequest {
  target: 'int8' | 'uint8';
  /** Default: what the settings say for the target. */
  symmetric?: boolean;
  /** Whether `reduce-range` counts here. */
  reduceRange: boolean;
  axis: number | readonly number[] | null;
  permutation?: readonly number[];
  /** Gives the parameters the shape [stack…, 1, columns] of a stack of matrices instead of [columns]. */
  stacked?: boolean;
  /** Whether a weight that another node quantized along these axes will do. Default: the same axes, or none. */
  accepts?: (axis: number | readonly number[] | null) => boolean;
}

/** Builds the new graph. The old one is left as it is: messages are shared until they differ. */
export function rewrite(model: Model, index: GraphIndex, decisions: Decisions, settings: Settings): Rewrite {
  const state: State = {
    model,
    index,
    settings,
    decisions,
    byNode: new Map(decisions.nodes.map((decision) => [decision.node, decision])),
    rewriters: new Map(),
    entries: new Map(),
    weights: [],
    unique: uniqueNames(index),
    omitted: new Map(model.omitted),
    unfolded: new Set(),
    floatRead: new Set(),
  };
  const graph = new ScopeRewriter(state, index.scopes[0]!, null).run();
  dropReplaced(state);
  const proto = shallowCopy(model.proto);
  proto.graph = graph;
  finishHeader(proto, state);
  return { model: { ...model, proto, omitted: state.omitted }, weights: state.weights };
}

/** Writes what pass 1 found into the small tensors of the new graph. `found` is in the order of `weights`. */
export function fillParameters(weights: readonly PlannedWeight[], found: readonly (WeightParameters | null)[]): void {
  weights.forEach(({ parameters }, i) => {
    const values = found[i];
    if (!values) return;
    for (const { tensor, holds } of parameters) {
      const elements = tensor.dims.reduce((product, size) => product * Number(size), 1);
      const source = holds === 'scale' ? values.scales : values.zeroPoints;
      if (holds === 'scale' && elements === source.length) {
        // As it is: a large model has many megabytes of scales.
        tensor.rawData = new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
        continue;
      }
      // An Int8Array wraps 128…255 to the same bytes that uint8 has.
      const array = holds === 'zeroPoint' ? new Int8Array(elements) : new Float32Array(elements);
      for (let k = 0; k < elements; k += 1) array[k] = source[k % source.length]!;
      tensor.rawData = new Uint8Array(array.buffer);
    }
  });
}

interface State {
  model: Model;
  index: GraphIndex;
  settings: Settings;
  decisions: Decisions;
  byNode: Map<NodeProto, Decision>;
  rewriters: Map<Scope, ScopeRewriter>;
  entries: Map<Constant, WeightEntry[]>;
  weights: PlannedWeight[];
  unique: (wanted: string) => string;
  omitted: Model['omitted'];
  /** Constants whose name is now that of a node's output. */
  unfolded: Set<Constant>;
  /** Constants that a node of the new graph reads as FLOAT. */
  floatRead: Set<Constant>;
}

interface WeightEntry extends QuantizedValue {
  axes: number | readonly number[] | null;
  permuted: boolean;
  planned: PlannedWeight;
  stacked: boolean;
}

/** Rewrites one graph. Operators speak to this. */
export class ScopeRewriter {
  readonly scope: Scope;
  private readonly state: State;
  private readonly parent: ScopeRewriter | null;
  private readonly nodes: NodeProto[] = [];
  private readonly initializers: TensorProto[] = [];
  /** Activations in 8 bits, by the name of the FLOAT value. `made`: that value exists too. */
  private readonly quantized = new Map<string, QuantizedValue & { made: boolean }>();
  /** The graph that `run` made. */
  result: GraphProto | undefined;

  constructor(state: State, scope: Scope, parent: ScopeRewriter | null) {
    this.state = state;
    this.scope = scope;
    this.parent = parent;
    state.rewriters.set(scope, this);
  }

  get settings(): Settings {
    return this.state.settings;
  }

  /** Rewrites every node of the graph and its subgraphs. */
  run(): GraphProto {
    for (const constant of this.scope.constants.values()) {
      const storage = this.state.decisions.stored.get(constant);
      if (storage) this.store(storage);
    }
    for (const node of this.scope.graph.node) this.rewriteNode(node);
    for (const { name } of this.scope.graph.output) this.provideFloat(name);
    this.result = this.copy(this.scope.graph);
    this.result.node = this.nodes;
    this.result.initializer = [...this.scope.graph.initializer, ...this.initializers];
    return this.result;
  }

  /** The 8-bit form of an activation, quantized where the value is made; of a constant, its uint8 form. */
  quantizeActivation(name: string): QuantizedValue {
    const constant = constantOf(this.scope, name);
    if (constant && isFloat(constant) && !this.state.unfolded.has(constant)) {
      return this.quantizeTable(name);
    }
    const home = this.home(name);
    const known = home.quantized.get(name);
    if (known && known.axis === null) return known;
    home.provideFloat(name);
    const q = this.unique(`${name}_quantized`);
    const scale = this.unique(`${name}_scale`);
    const zeroPoint = this.unique(`${name}_zero_point`);
    home.emit(
      makeNode('DynamicQuantizeLinear', [name], [q, scale, zeroPoint], { name: this.unique(`${name}_QuantizeLinear`) }),
    );
    const value = { q, scale, zeroPoint, axis: null, made: true };
    home.quantized.set(name, value);
    return value;
  }

  /** The 8-bit form of a constant. */
  quantizeWeight(name: string, request: WeightRequest): QuantizedValue {
    const constant = constantOf(this.scope, name);
    if (!constant || !isFloat(constant)) throw new Error(`${name} is no FLOAT constant`);
    const permuted = request.permutation !== undefined;
    const accepts = request.accepts ?? ((axis) => axis === null || sameAxes(axis, request.axis));
    const entries = this.state.entries.get(constant) ?? [];
    const found = entries.find((entry) => entry.permuted === permuted && accepts(entry.axes));
    if (found) return found;
    const entry = this.rewriterOf(constant.scope).addWeight(constant, request);
    this.state.entries.set(constant, [...entries, entry]);
    return entry;
  }

  /**
   * The form of a constant that serves as an activation: uint8, one scale. `weight-symmetric` is about the weights'
   * type, so it counts only where that is uint8 too.
   */
  quantizeTable(name: string, accepts?: WeightRequest['accepts']): QuantizedValue {
    const symmetric = this.settings.weightType === 'uint8' && this.settings.symmetric.uint8;
    const request: WeightRequest = { target: 'uint8', symmetric, reduceRange: false, axis: null };
    return this.quantizeWeight(name, accepts ? { ...request, accepts } : request);
  }

  /** The 8-bit form that a value already has, if any. */
  quantizedValue(name: string): QuantizedValue | undefined {
    const constant = constantOf(this.scope, name);
    if (constant) return this.state.entries.get(constant)?.find((entry) => !entry.permuted);
    return this.home(name).quantized.get(name);
  }

  /** Says that the value `name` of this graph exists in 8 bits only; it is unfolded when somebody needs it. */
  define(name: string, value: QuantizedValue): void {
    this.quantized.set(name, { ...value, made: false });
  }

  /** Emits a node that reads FLOAT values, after unfolding those that exist in 8 bits only. */
  keep(node: NodeProto): void {
    for (const name of node.input) this.provideFloat(name);
    this.emit(node);
  }

  emit(...nodes: NodeProto[]): void {
    this.nodes.push(...nodes);
  }

  addInitializer(tensor: TensorProto): void {
    this.initializers.push(tensor);
  }

  /** A name that nothing in the model has. */
  unique(wanted: string): string {
    return this.state.unique(wanted);
  }

  /** A copy of a message that may be changed; its own lists are copied too. */
  copy<T extends NodeProto | GraphProto>(message: T): T {
    const copied = shallowCopy(message);
    if (copied.$typeName === 'onnx.NodeProto') {
      copied.input = [...copied.input];
      copied.output = [...copied.output];
    }
    const omitted = this.state.omitted.get(message);
    if (omitted) this.state.omitted.set(copied, omitted);
    return copied;
  }

  /** Whether the FLOAT value of that name has gone, because every reader takes its 8-bit form. */
  existsInBitsOnly(name: string): boolean {
    return this.quantized.get(name)?.made === false;
  }

  private rewriteNode(original: NodeProto): void {
    const decision = this.state.byNode.get(original);
    const node = this.withSubgraphs(original);
    const selected = this.settings.method === 'dynamic' && decision?.reason === FOLLOWS;
    if (decision?.action === 'dynamic') decision.operator!.dynamic!.rewrite(node, this);
    else if (selected && decision?.operator?.follow?.(node, this)) {
      decision.action = 'dynamic';
      decision.reason = 'moves an 8-bit value';
    } else this.keep(node);
  }

  private withSubgraphs(node: NodeProto): NodeProto {
    if ([...subgraphsOf(node)].length === 0) return node;
    const copied = this.copy(node);
    const rewritten = (graph: GraphProto) =>
      new ScopeRewriter(this.state, this.state.index.scopeOf.get(graph)!, this).run();
    copied.attribute = node.attribute.map((attribute) => {
      if (!attribute.g && attribute.graphs.length === 0) return attribute;
      const changed = shallowCopy(attribute);
      if (attribute.g) changed.g = rewritten(attribute.g);
      if (attribute.graphs.length > 0) changed.graphs = attribute.graphs.map(rewritten);
      return changed;
    });
    return copied;
  }

  /** Makes sure that `name` can be read as a FLOAT value. */
  private provideFloat(name: string): void {
    if (name === '') return;
    const constant = constantOf(this.scope, name);
    if (constant) this.provideConstant(constant);
    else this.home(name).provideActivation(name);
  }

  private provideActivation(name: string): void {
    const value = this.quantized.get(name);
    if (!value || value.made) return;
    value.made = true;
    this.unfold(name, value);
  }

  private provideConstant(constant: Constant): void {
    const { unfolded, floatRead, decisions, entries } = this.state;
    if (unfolded.has(constant)) return;
    const entry = entries.get(constant)?.find((each) => !each.permuted);
    if (!entry || floatRead.has(constant) || decisions.keepsFloat.has(constant)) {
      floatRead.add(constant);
      return;
    }
    unfolded.add(constant);
    this.rewriterOf(constant.scope).unfold(constant.name, entry, entry);
  }

  /** 8 bits back to FLOAT, under the FLOAT value's name. */
  private unfold(name: string, value: QuantizedValue, entry?: WeightEntry): void {
    const dequantizes = (opsetOf(this.state.model.proto) ?? 0) >= 13 && !entry?.stacked;
    if (value.axis === null || dequantizes) {
      const attributes = value.axis === null ? [] : [intAttribute('axis', value.axis)];
      const inputs = [value.q, value.scale, value.zeroPoint];
      this.emit(
        makeNode('DequantizeLinear', inputs, [name], { name: this.unique(`${name}_DequantizeLinear`), attributes }),
      );
      return;
    }
    this.unfoldByHand(name, value, entry);
  }

  /** What DequantizeLinear with an axis does, for operator sets before 13 and for scales of a stack of matrices. */
  private unfoldByHand(name: string, value: QuantizedValue, entry?: WeightEntry): void {
    const toFloat = (input: string, output: string) =>
      makeNode('Cast', [input], [output], {
        name: this.unique(`${output}_Cast`),
        attributes: [intAttribute('to', DataType.FLOAT)],
      });
    let { scale, zeroPoint } = value;
    // Scales along the last axis broadcast as they are.
    const dims = entry?.planned.constant.dims ?? [];
    if (entry && entry.axis !== -1) {
      const shape = broadcastShape(dims, entry.axis);
      scale = this.addParameter(entry.planned, 'scale', `${scale}_broadcast`, shape);
      zeroPoint = this.addParameter(entry.planned, 'zeroPoint', `${zeroPoint}_broadcast`, shape);
    }
    const [q, zero, centred] = ['q', 'zero', 'centred'].map((part) => this.unique(`${name}_${part}_float`));
    this.emit(
      toFloat(value.q, q!),
      toFloat(zeroPoint, zero!),
      makeNode('Sub', [q!, zero!], [centred!], { name: this.unique(`${name}_Sub`) }),
      makeNode('Mul', [centred!, scale], [name], { name: this.unique(`${name}_Mul`) }),
    );
  }

  private addWeight(constant: Constant & { ref: NonNullable<Constant['ref']> }, request: WeightRequest): WeightEntry {
    const { target, axis, permutation, stacked } = request;
    const { dims } = constant.ref;
    const dtype = target === 'int8' ? DataType.INT8 : DataType.UINT8;
    const base = permutation ? `${constant.name}_Transposed` : constant.name;
    const shape = permutation ? permutation.map((from) => dims[from]!) : [...dims];
    const tensor = makeTensor(this.unique(`${base}_quantized`), dtype, shape, new Uint8Array());
    const planned: PlannedWeight = {
      tensor,
      constant,
      job: {
        source: constant.ref,
        target,
        symmetric: request.symmetric ?? this.settings.symmetric[target],
        reduceRange: request.reduceRange && this.settings.reduceRange,
        axis,
        ...(permutation ? { permutation } : {}),
      },
      parameters: [],
    };
    this.state.weights.push(planned);
    const parameterDims =
      stacked && axis !== null ? [...dims.slice(0, -2), 1, dims.at(-1)!] : parameterShape(dims, axis);
    const scale = this.addParameter(planned, 'scale', `${base}_scale`, parameterDims);
    const zeroPoint = this.addParameter(planned, 'zeroPoint', `${base}_zero_point`, parameterDims);
    this.addInitializer(tensor);
    return {
      q: tensor.name,
      scale,
      zeroPoint,
      axis: typeof axis === 'number' ? axis - dims.length : null,
      axes: axis,
      permuted: permutation !== undefined,
      planned,
      stacked: stacked === true && axis !== null,
    };
  }

  /** Stores a constant in fewer bits; Cast (Sub) and Mul, which ONNX Runtime folds at load, give it back by its name. */
  private store({ constant, kind, axis }: Storage): void {
    const { name, ref } = constant;
    const { unfolded, weights, settings } = this.state;
    unfolded.add(constant);
    const int8 = kind === 'int8';
    const target = settings.weightType;
    const dtype = int8 ? (target === 'int8' ? DataType.INT8 : DataType.UINT8) : DataType.FLOAT16;
    const tensor = makeTensor(
      this.unique(`${name}_${int8 ? 'quantized' : 'float16'}`),
      dtype,
      ref.dims,
      new Uint8Array(),
    );
    const symmetric = settings.symmetric[target];
    const job = int8 ? { source: ref, target, symmetric, reduceRange: false, axis } : null;
    const planned: PlannedWeight = { tensor, constant, job, parameters: [] };
    weights.push(planned);
    this.addInitializer(tensor);
    const cast = int8 ? this.unique(`${name}_cast`) : name;
    const to = [intAttribute('to', DataType.FLOAT)];
    this.emit(makeNode('Cast', [tensor.name], [cast], { name: this.unique(`${name}_Cast`), attributes: to }));
    if (!int8) return;
    const shape = broadcastShape(ref.dims, axis);
    const scale = this.addParameter(planned, 'scale', `${name}_scale`, shape);
    let centred = cast;
    if (!(target === 'int8' && symmetric)) {
      const zeroPoint = this.addParameter(planned, 'floatZeroPoint', `${name}_zero_point`, shape);
      centred = this.unique(`${name}_centred`);
      this.emit(makeNode('Sub', [cast, zeroPoint], [centred], { name: this.unique(`${name}_Sub`) }));
    }
    this.emit(makeNode('Mul', [centred, scale], [name], { name: this.unique(`${name}_Mul`) }));
  }

  private addParameter(
    planned: PlannedWeight,
    holds: PlannedWeight['parameters'][number]['holds'],
    name: string,
    dims: readonly number[],
  ): string {
    const dtype = holds === 'zeroPoint' ? planned.tensor.dataType : DataType.FLOAT;
    const tensor = makeTensor(this.unique(name), dtype, dims, new Uint8Array());
    planned.parameters.push({ tensor, holds });
    this.addInitializer(tensor);
    return tensor.name;
  }

  /** The rewriter of the graph that defines a value. */
  private home(name: string): ScopeRewriter {
    for (let rewriter: ScopeRewriter | null = this; rewriter; rewriter = rewriter.parent) {
      if (rewriter.quantized.has(name)) return rewriter;
    }
    const scope = definingScope(this.scope, name);
    return scope ? this.rewriterOf(scope) : this;
  }

  private rewriterOf(scope: Scope): ScopeRewriter {
    return this.state.rewriters.get(scope)!;
  }
}

/** Removes constants that nothing reads any more from the graphs that held them. */
function dropReplaced(state: State): void {
  const read = new Set<string>();
  for (const rewriter of state.rewriters.values()) {
    for (const node of rewriter.result!.node) for (const name of node.input) read.add(name);
    for (const { name } of rewriter.result!.output) read.add(name);
  }
  const replaced = new Set([...state.unfolded, ...state.entries.keys()]);
  const dropped = new Set([...replaced].filter((each) => state.unfolded.has(each) || !read.has(each.name)));
  for (const [scope, rewriter] of state.rewriters) {
    const graph = rewriter.result!;
    graph.valueInfo = graph.valueInfo.filter(({ name }) => !rewriter.existsInBitsOnly(name));
    const gone = [...dropped].filter((constant) => constant.scope === scope);
    if (gone.length === 0) continue;
    const tensors = new Set<unknown>(gone.map(({ tensor }) => tensor));
    const nodes = new Set(gone.map(({ node }) => node));
    const inputs = new Set(gone.filter(({ node }) => !node).map(({ name }) => name));
    graph.initializer = graph.initializer.filter((tensor) => !tensors.has(tensor));
    graph.node = graph.node.filter((node) => !nodes.has(node));
    graph.input = graph.input.filter(({ name }) => !inputs.has(name));
  }
}

function finishHeader(proto: Model['proto'], state: State): void {
  const graphs = [...state.rewriters.values()].map((rewriter) => rewriter.result!);
  const usesMs = graphs.some((graph) => graph.node.some(({ domain }) => domain === MS_DOMAIN));
  if (usesMs && !proto.opsetImport.some(({ domain }) => domain === MS_DOMAIN)) {
    const imported = create(OperatorSetIdProtoSchema, { domain: MS_DOMAIN, version: 1n });
    proto.opsetImport = [...proto.opsetImport, imported];
  }
  // Before IR 4 every initializer had to be an input too; ours are none, and ONNX Runtime took the others as constants.
  if (proto.irVersion < 4n) {
    proto.irVersion = 4n;
    const main = proto.graph!;
    const initializers = new Set(main.initializer.map(({ name }) => name));
    main.input = main.input.filter(({ name }) => !initializers.has(name));
  }
  const { method, weightType, perChannel } = state.settings;
  const text = method === 'fp16' ? method : `${method} ${weightType} ${perChannel ? 'per-channel' : 'per-tensor'}`;
  const entry = create(StringStringEntryProtoSchema, { key: METADATA_KEY, value: text });
  proto.metadataProps = [...proto.metadataProps, entry];
}

function parameterShape(dims: readonly number[], axis: number | readonly number[] | null): number[] {
  if (axis === null) return [];
  return (typeof axis === 'number' ? [axis] : axis).map((a) => dims.at(a)!);
}

function broadcastShape(dims: readonly number[], axis: number | readonly number[] | null): number[] {
  if (axis === null) return [];
  const axes = new Set((typeof axis === 'number' ? [axis] : axis).map((a) => (a < 0 ? a + dims.length : a)));
  return dims.map((size, i) => (axes.has(i) ? size : 1));
}

function sameAxes(a: WeightRequest['axis'], b: WeightRequest['axis']): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
