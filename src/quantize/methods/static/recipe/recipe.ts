import {
  attributeOf,
  constantOf,
  type GraphScope,
  intOf,
  type NodeProto,
  operatorKey,
  subgraphsOf,
  usesOf,
} from '../../../../model/index.ts';
import { elementCount } from '../../../../runtime/index.ts';
import { type ActivationType, type Grid, gatedGrid, gateOf, gridOf } from '../grids.ts';
import type { MeasuredValue } from '../measurements.ts';
import type { ValueRange } from '../ranges/value-range.ts';
import { MinCut } from './min-cut.ts';
import {
  clipBounds,
  costOfProduct,
  DEQUANTIZE_COST,
  NODE_COST,
  QUANTIZE_COST,
  type StaticOperator,
  staticOperator,
} from './operators.ts';

/** Values that were measured, by name. */
type Values = ReadonlyMap<string, MeasuredValue>;

/** What is computed in 8 bits, on which grids. */
export interface Recipe {
  /** The nodes that compute in 8 bits. */
  nodes: ReadonlyMap<NodeProto, StaticNode>;
  /** Why the other nodes that could do not. */
  reasons: ReadonlyMap<NodeProto, string>;
  /** By value, the grid that it lies on, for every value that a node of `nodes` reads or makes. */
  grids: ReadonlyMap<string, Grid>;
}

export interface StaticNode {
  operator: StaticOperator;
  /** How a `fused` one is done: by the grid of the node before it, or on the levels. */
  clip?: 'grid' | 'levels';
}

/** Ranges whose lengths differ by more do not share a grid: the smaller would keep less than 6 bits. */
export const SHARED_RATIO = 4;
/** A value takes the grid of the Concat that reads it where that costs it less than this factor of its resolution. */
const JOINED_RATIO = 1.5;

/**
 * Decides what is computed in 8 bits: the nodes for which that is faster, borders counted, by a least cut between what
 * stays FLOAT and what does not. `keep` says why a node must stay FLOAT.
 */
export function decideRecipe(
  main: GraphScope,
  values: Values,
  type: ActivationType,
  keep: (node: NodeProto) => string | undefined,
): Recipe {
  const reasons = new Map<NodeProto, string>();
  const able = new Map<NodeProto, StaticOperator>();
  const tail = tailOf(main);
  for (const node of main.graph.node) {
    const operator = staticOperator(node);
    if (!operator) continue;
    const reason = keep(node) ?? refusalOf(node, operator, main, values, tail);
    if (reason) reasons.set(node, reason);
    else able.set(node, operator);
  }
  const chosen = cut(main, able, values);
  const nodes = new Map<NodeProto, StaticNode>();
  for (const [node, operator] of able) {
    if (!chosen.has(node)) reasons.set(node, 'in 8 bits it would not pay for its borders');
    else nodes.set(node, { operator, ...clipOf(node, operator, main, chosen) });
  }
  return { nodes, reasons, grids: placeGrids(main, nodes, values, type) };
}

/** Why a node has no 8-bit form here, or undefined. */
function refusalOf(
  node: NodeProto,
  operator: StaticOperator,
  main: GraphScope,
  values: Values,
  tail: ReadonlySet<NodeProto>,
): string | undefined {
  if (tail.has(node)) return 'it is among the last before an output of the model';
  const own = operator.refuse?.(node, main);
  if (own) return own;
  const read = activationsOf(node, operator, main);
  if (read.length === 0) return 'all that it reads is constant';
  for (const name of [...read, node.output[0]!]) {
    const value = values.get(name);
    if (!value) return `${name} is no FLOAT value of the main graph`;
    if (value.nonFinite > 0) return `${name} is NaN or infinite on some samples`;
    if (!Number.isFinite(value.min)) return `${name} is empty on all samples`;
  }
  if (operator.kind === 'weighted') return refuseWeights(node, main);
  for (const [index, name] of node.input.entries()) {
    if (!name || !operator.activations(node).includes(index)) continue;
    const constant = constantOf(main, name);
    if (constant && (operatorKey(node) === 'Concat' || !constant.ref)) return 'one of its values is constant';
  }
  if (operatorKey(node) === 'Concat' || operatorKey(node) === 'Where') return refuseShared(node, read, values);
  if (operatorKey(node) === 'Split' && node.output.some((name) => !values.has(name))) return 'it is not FLOAT';
  return undefined;
}

function refuseWeights(node: NodeProto, main: GraphScope): string | undefined {
  const weight = constantOf(main, node.input[1]!);
  if (!weight?.ref || weight.dtype !== 1) return 'its weight is no FLOAT constant';
  const rank = weight.dims.length;
  if (operatorKey(node) === 'Conv' ? rank < 3 || rank > 5 : rank !== 2) return 'its weight has an unusual rank';
  if (weight.ref.length === 0) return 'its weight is empty';
  const bias = node.input[2];
  if (!bias) return undefined;
  const constant = constantOf(main, bias);
  if (!constant?.ref || constant.dtype !== 1) return 'its bias is no FLOAT constant';
  const channels = weight.dims[operatorKey(node) === 'Conv' || intOf(node, 'transB', 0) === 1 ? 0 : 1];
  return elementCount(constant.dims) === channels ? undefined : 'its bias has not one element for each channel';
}

/** One scale for values of different size would kill the small ones. */
function refuseShared(node: NodeProto, read: readonly string[], values: Values): string | undefined {
  const lengths = read.map((name) => lengthOf(values.get(name)!));
  const whole = lengthOf(values.get(node.output[0]!)!);
  const smallest = Math.min(...lengths);
  if (whole <= SHARED_RATIO * smallest) return undefined;
  const name = read[lengths.indexOf(smallest)];
  return `${name} spans ${smallest.toPrecision(3)} of the ${whole.toPrecision(3)} that it would share one scale with`;
}

const lengthOf = ({ min, max }: MeasuredValue) => Math.max(max, 0) - Math.min(min, 0);

/** Names of the activations that a node reads, constants not among them. */
export function activationsOf(node: NodeProto, operator: StaticOperator, main: GraphScope): string[] {
  return operator
    .activations(node)
    .map((index) => node.input[index])
    .filter((name): name is string => Boolean(name) && !constantOf(main, name!));
}

/** Operators after which nothing is computed any more: results are brought into form. */
const FINISHING = new Set(
  [
    'Concat',
    'Div',
    'Exp',
    'Flatten',
    'Identity',
    'LogSoftmax',
    'Reshape',
    'Sigmoid',
    'Slice',
    'Softmax',
    'Split',
  ].concat(['Squeeze', 'Sub', 'Tanh', 'Transpose', 'Unsqueeze', 'Cast', 'Clip', 'HardSigmoid', 'Add', 'Mul', 'Relu']),
);

/**
 * What lies between the last products and the outputs, and products that make outputs themselves: there an error is not
 * averaged any more. Convolutions before it may be 8-bit, each on a grid of its own.
 */
function tailOf(main: GraphScope): ReadonlySet<NodeProto> {
  const tail = new Set<NodeProto>();
  const pending = main.graph.output.map(({ name }) => ({ name, direct: true }));
  for (let at = pending.pop(); at; at = pending.pop()) {
    const node = main.producers.get(at.name);
    if (!node || tail.has(node)) continue;
    const key = operatorKey(node);
    const product = key === 'MatMul' || key === 'Gemm';
    if (at.direct || product || FINISHING.has(key)) tail.add(node);
    if (product || !FINISHING.has(key)) continue;
    const variable = node.input.filter((name) => name && !constantOf(main, name));
    // Beyond a sum or product of two activations lies the body.
    if ((key === 'Add' || key === 'Mul') && variable.length > 1) continue;
    for (const name of variable) pending.push({ name, direct: false });
  }
  return tail;
}

function cut(main: GraphScope, able: ReadonlyMap<NodeProto, StaticOperator>, values: Values): Set<NodeProto> {
  const graph = new MinCut();
  const things = new Map<NodeProto, number>();
  for (const [node, operator] of able) {
    const { float, eight } = costOf(node, operator, main, values);
    things.set(node, graph.add(eight, float));
  }
  const outside = graph.add(Number.POSITIVE_INFINITY, 0);
  const thingOf = (node: NodeProto | undefined) => (node ? things.get(node) : undefined) ?? outside;
  for (const [name, value] of values) {
    const uses = usesOf(main, name);
    const producer = thingOf(main.producers.get(name));
    const readers = uses.map(({ node, index, scope }) => {
      const operator = node && scope === main ? able.get(node) : undefined;
      return node && operator?.activations(node).includes(index) ? thingOf(node) : outside;
    });
    if (readers.every((reader) => reader === outside) && producer === outside) continue;
    const size = elementCount(value.dims);
    // Quantized once for all who read it in 8 bits, dequantized once for all who read it in FLOAT.
    const quantized = graph.add(0, 0);
    const dequantized = graph.add(0, 0);
    graph.link(quantized, producer, QUANTIZE_COST * size + NODE_COST);
    graph.link(producer, dequantized, DEQUANTIZE_COST * size + NODE_COST);
    for (const reader of new Set(readers)) {
      graph.link(reader, quantized, Number.POSITIVE_INFINITY);
      graph.link(dequantized, reader, Number.POSITIVE_INFINITY);
    }
  }
  for (const [node, operator] of able) {
    if (operator.kind !== 'fused' && operator.kind !== 'gate') continue;
    // Clips nothing of its own: what it clips must be there in 8 bits, and then it is done with.
    const producer = thingOf(main.producers.get(node.input[0]!));
    graph.link(thingOf(node), producer, Number.POSITIVE_INFINITY);
    if (operator.kind === 'fused' && usesOf(main, node.input[0]!).length === 1) {
      graph.link(producer, thingOf(node), Number.POSITIVE_INFINITY);
    }
  }
  const near = graph.solve();
  return new Set([...things].filter(([, thing]) => near(thing)).map(([node]) => node));
}

/** Nanoseconds that a node saves in 8 bits, its borders left out. */
export function gainOf(node: NodeProto, main: GraphScope, values: Values): number {
  const { float, eight } = costOf(node, staticOperator(node)!, main, values);
  return float - eight;
}

function costOf(
  node: NodeProto,
  operator: StaticOperator,
  main: GraphScope,
  values: Values,
): { float: number; eight: number } {
  const output = values.get(node.output[0]!)!;
  const size = Math.max(elementCount(output.dims), elementCount(values.get(node.input[0]!)?.dims ?? []));
  if (operator.kind !== 'weighted') {
    const free = operator.kind === 'fused' || (operator.kind === 'moves' && operator.eight === 0);
    const float = isFusedInFloat(node, main) ? 0 : operator.float * size + NODE_COST;
    return { float, eight: operator.eight * size + (free ? 0 : NODE_COST) };
  }
  const { dims } = constantOf(main, node.input[1]!)!;
  const conv = operatorKey(node) === 'Conv';
  const [outputs, inputs] = conv || intOf(node, 'transB', 0) === 1 ? [dims[0]!, dims[1]!] : [dims[1]!, dims[0]!];
  const taps = conv ? elementCount(dims.slice(2)) : 0;
  const depth = conv ? inputs * taps : inputs;
  const { float, eight } = costOfProduct({ size: elementCount(output.dims), depth, inputs, outputs, taps });
  return { float: float + NODE_COST, eight: eight + NODE_COST };
}

/** Activations that ONNX Runtime makes part of the convolution before: alone, or as x × HardSigmoid(x). */
function isFusedInFloat(node: NodeProto, main: GraphScope): boolean {
  const key = operatorKey(node);
  const isConv = (name: string | undefined) => {
    const producer = name ? main.producers.get(name) : undefined;
    return producer !== undefined && operatorKey(producer) === 'Conv';
  };
  if (['Relu', 'Clip', 'LeakyRelu', 'Sigmoid', 'HardSigmoid'].includes(key)) return isConv(node.input[0]);
  if (key !== 'Mul') return false;
  return [0, 1].some((index) => {
    const gate = main.producers.get(node.input[1 - index] ?? '');
    return isConv(node.input[index]) && gate?.opType === 'HardSigmoid' && gate.input[0] === node.input[index];
  });
}

function clipOf(
  node: NodeProto,
  { kind }: StaticOperator,
  main: GraphScope,
  chosen: ReadonlySet<NodeProto>,
): Pick<StaticNode, 'clip'> {
  if (kind !== 'fused') return {};
  const [input] = node.input as [string];
  const producer = main.producers.get(input);
  const operator = producer && staticOperator(producer);
  const grid =
    producer !== undefined &&
    chosen.has(producer) &&
    usesOf(main, input).length === 1 &&
    (operator?.kind === 'weighted' || operator?.kind === 'values');
  return { clip: grid ? 'grid' : 'levels' };
}

/** Gives every 8-bit value its grid. */
function placeGrids(
  main: GraphScope,
  nodes: ReadonlyMap<NodeProto, StaticNode>,
  values: Values,
  type: ActivationType,
): Map<string, Grid> {
  /** The value whose grid a value lies on: behind what only moves or clips. */
  const rootOf = (name: string): string => {
    for (let at = name; ; ) {
      const producer = main.producers.get(at);
      const chosen = producer && nodes.get(producer);
      if (!producer || (chosen?.operator.kind !== 'moves' && chosen?.operator.kind !== 'fused')) return at;
      at = producer.input[0]!;
    }
  };
  /** What becomes of a value at once, where its grid does that. */
  const clippedBy = (name: string): NodeProto | undefined => {
    const [use] = usesOf(main, name);
    return use?.node && nodes.get(use.node)?.clip === 'grid' ? use.node : undefined;
  };
  const ranges = new Map<string, ValueRange>();
  const rangeOfRoot = (root: string): ValueRange => {
    const known = ranges.get(root);
    if (known) return known;
    const producer = main.producers.get(root);
    const bounds = producer && nodes.get(producer)?.operator.bounds;
    const clip = clippedBy(root);
    const observed = values.get(clip ? clip.output[0]! : root)!;
    let range = bounds ?? observed.range;
    if (clip) {
      const { low, high } = clipBounds(clip, main)!;
      // The greatest level must not lie beyond what the Clip lets through.
      range = { low: Math.max(range.low, low), high: Math.min(range.high, high) };
    }
    ranges.set(root, range);
    return range;
  };
  const joined = new Map<string, ValueRange>();
  for (const node of nodes.keys()) {
    if (operatorKey(node) !== 'Concat') continue;
    const whole = rangeOfRoot(node.output[0]!);
    for (const name of node.input) {
      const root = rootOf(name);
      const range = rangeOfRoot(root);
      const ratio =
        (Math.max(whole.high, 0) - Math.min(whole.low, 0)) / (Math.max(range.high, 0) - Math.min(range.low, 0));
      if (ratio <= JOINED_RATIO && !joined.has(root)) joined.set(root, whole);
    }
  }
  const gates = new Map<string, number>();
  for (const [node, { operator }] of nodes) {
    if (operator.kind === 'gate') gates.set(rootOf(node.input[0]!), attributeOf(node, 'alpha')?.f ?? 0.2);
  }
  const grids = new Map<string, Grid>();
  const make = (root: string): Grid => {
    const producer = main.producers.get(root);
    if (producer && nodes.get(producer)?.operator.kind === 'gate') {
      return gateOf(place(producer.input[0]!), attributeOf(producer, 'alpha')?.f ?? 0.2).grid;
    }
    const range = joined.get(root) ?? rangeOfRoot(root);
    const alpha = gates.get(root);
    return alpha === undefined ? gridOf(range, type) : gatedGrid(range, alpha, type);
  };
  const place = (name: string): Grid => {
    const root = rootOf(name);
    const grid = grids.get(root) ?? make(root);
    grids.set(root, grid);
    grids.set(name, grid);
    return grid;
  };
  for (const [node, { operator }] of nodes) {
    for (const name of activationsOf(node, operator, main)) place(name);
    for (const name of node.output) if (name) place(name);
  }
  return grids;
}

/** Values that have to be observed for a recipe: what nodes with an 8-bit form read and make. */
export function valuesToObserve(main: GraphScope): string[] {
  const wanted = new Set<string>();
  for (const node of main.graph.node) {
    const operator = staticOperator(node);
    if (!operator || !subgraphsOf(node).next().done) continue;
    for (const name of [...activationsOf(node, operator, main), ...node.output]) if (name) wanted.add(name);
  }
  const fed = main.graph.input.map(({ name }) => name).filter((name) => wanted.has(name));
  const made = main.graph.node.flatMap(({ output }) => output.filter((name) => wanted.has(name)));
  return [...fed, ...made];
}
