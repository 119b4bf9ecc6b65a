import {
  attributeOf,
  type GraphScope,
  indexGraphs,
  intOf,
  type Model,
  type NodeProto,
  usesOf,
} from '../model/index.ts';
import { constantAt, numbersOf } from './constants.ts';

/** One axis of one input of the model. */
export interface Site {
  input: string;
  axis: number;
}

/** What the graph says about the sizes of inputs. */
export interface SizeFacts {
  /** Sizes that a weight fixes, by `siteKey`: the columns that a MatMul multiplies, the rows of a table of positions. */
  fixed: ReadonlyMap<string, number>;
  /** By how much convolutions and poolings shrink an axis in all: sides that are no multiple of it may not fit again. */
  factors: ReadonlyMap<string, number>;
}

export const siteKey = ({ input, axis }: Site): string => `${input}.${axis}`;

/** Values looked at per input, so that a graph of a hundred thousand nodes costs no time. */
const MAX_VALUES = 20_000;
/** A factor beyond this is no down-sampling but a window over everything. */
const MAX_FACTOR = 256;

/** An axis of a value, as it goes back to an input: `size = site ÷ factor`. */
interface Axis {
  site: Site;
  factor: number;
}
type Axes = (Axis | undefined)[];
type Visit = (scope: GraphScope, name: string, axes: Axes) => void;

const SAME_SHAPE = new Set(
  'Relu Cast Identity Sigmoid Tanh Clip Erf Sqrt Abs Neg Exp Log Floor Round Ceil Not Dropout LeakyRelu Elu Selu HardSigmoid HardSwish Mish Gelu FastGelu QuickGelu Softplus Softmax LogSoftmax LayerNormalization SimplifiedLayerNormalization LpNormalization QuantizeLinear DequantizeLinear'.split(
    ' ',
  ),
);
const BROADCAST = new Set('Add Sub Mul Div Pow PRelu BiasGelu'.split(' '));
const RECURRENT = new Set(['LSTM', 'GRU', 'RNN']);

/**
 * Follows every axis of every input through the graph until a weight says how large it is. What is said here is a
 * guess's best ground and no proof: operators that are not known end the walk.
 */
export function sizeFacts(model: Model): SizeFacts {
  const { main } = indexGraphs(model);
  const fixed = new Map<string, number>();
  const factors = new Map<string, number>();
  const facts = {
    say(axis: Axis | undefined, size: number | undefined) {
      if (!axis || size === undefined || size <= 0) return;
      const key = siteKey(axis.site);
      const whole = Math.round(size * axis.factor);
      if (whole > 0 && !fixed.has(key)) fixed.set(key, whole);
    },
    shrink(axis: Axis) {
      const key = siteKey(axis.site);
      if (axis.factor > (factors.get(key) ?? 1) && axis.factor <= MAX_FACTOR && Number.isInteger(axis.factor))
        factors.set(key, axis.factor);
    },
  };
  for (const { name, type } of model.proto.graph?.input ?? []) {
    if (type?.value.case !== 'tensorType' || main.constants.has(name)) continue;
    const rank = type.value.value.shape?.dim.length ?? 0;
    const start: Axes = Array.from({ length: rank }, (_, axis) => ({ site: { input: name, axis }, factor: 1 }));
    follow(main, name, start, facts);
  }
  return { fixed, factors };
}

interface Facts {
  say(axis: Axis | undefined, size: number | undefined): void;
  shrink(axis: Axis): void;
}

function follow(main: GraphScope, input: string, start: Axes, facts: Facts): void {
  const seen = new Map<GraphScope, Set<string>>();
  const queue: { scope: GraphScope; name: string; axes: Axes }[] = [];
  const visit: Visit = (scope, name, axes) => {
    const names = seen.get(scope) ?? new Set();
    if (!name || names.has(name) || queue.length > MAX_VALUES || axes.every((axis) => !axis)) return;
    seen.set(scope, names.add(name));
    queue.push({ scope, name, axes });
  };
  visit(main, input, start);
  for (let at = 0; at < queue.length; at++) {
    const { scope, name, axes } = queue[at]!;
    for (const { scope: where, node, index } of usesOf(scope, name)) {
      if (node) step(where, node, index, axes, facts, visit);
    }
  }
}

/** What one reader of a value says of its axes, and how they go on in the reader's output. */
function step(scope: GraphScope, node: NodeProto, index: number, axes: Axes, facts: Facts, visit: Visit): void {
  const { opType } = node;
  const on = (next: Axes) => visit(scope, node.output[0] ?? '', next);
  const dimsOf = (input: number) => constantAt(scope, node.input[input])?.dims;
  if (SAME_SHAPE.has(opType) && index === 0) {
    if (/LayerNormalization$/.test(opType)) facts.say(axes.at(-1), dimsOf(1)?.[0]);
    on(axes);
  } else if (BROADCAST.has(opType)) {
    const other = dimsOf(1 - index);
    // Broadcasting counts from the last axis; a 1 says nothing.
    for (const [back, size] of (other ?? []).toReversed().entries()) {
      if (size > 1 && back < axes.length) facts.say(axes.at(-1 - back), size);
    }
    on(axes);
  } else if (opType === 'BatchNormalization' || opType === 'InstanceNormalization') {
    if (index === 0) {
      facts.say(axes[1], dimsOf(1)?.[0]);
      on(axes);
    }
  } else if (opType === 'Transpose') {
    const permutation = attributeOf(node, 'perm')?.ints.map(Number) ?? [...axes.keys()].reverse();
    on(permutation.map((from) => axes[from]));
  } else if (opType === 'Unsqueeze' || opType === 'Squeeze') {
    const list = attributeOf(node, 'axes')?.ints.map(Number) ?? numbersOf(constantAt(scope, node.input[1]));
    if (index === 0 && list) on(opType === 'Unsqueeze' ? unsqueezed(axes, list) : squeezed(axes, list));
  } else if (opType === 'Conv' || opType === 'ConvTranspose' || opType === 'FusedConv') {
    const weight = dimsOf(1);
    if (index !== 0 || !weight) return;
    facts.say(axes[1], opType === 'ConvTranspose' ? weight[0] : weight[1]! * intOf(node, 'group', 1));
    on(resized(axes, node, facts, opType === 'ConvTranspose' ? -1 : 1));
  } else if (opType === 'MaxPool' || opType === 'AveragePool') {
    on(resized(axes, node, facts, 1));
  } else if (opType === 'MatMul') {
    matMul(index, axes, dimsOf(1 - index), facts, on);
  } else if (opType === 'Gemm' || opType === 'FusedGemm') {
    const weight = dimsOf(1);
    if (index !== 0 || !weight) return;
    const transposed = intOf(node, 'transA', 0) === 1;
    facts.say(axes[transposed ? 0 : 1], weight[intOf(node, 'transB', 0) === 1 ? 1 : 0]);
    on([axes[transposed ? 1 : 0], undefined]);
  } else if (RECURRENT.has(opType)) {
    recurrent(node, index, axes, dimsOf(1), dimsOf(2), facts);
  } else if (opType === 'Gather') {
    const axis = intOf(node, 'axis', 0);
    const table = index === 1 ? dimsOf(0) : undefined;
    const at = axis < 0 ? axis + (table?.length ?? axes.length) : axis;
    if (table) on([...table.slice(0, at).map(() => undefined), ...axes, ...table.slice(at + 1).map(() => undefined)]);
    const indices = index === 0 ? dimsOf(1) : undefined;
    if (indices) on([...axes.slice(0, at), ...indices.map(() => undefined), ...axes.slice(at + 1)]);
  } else if (opType === 'Concat') {
    const axis = intOf(node, 'axis', 0);
    on(axes.map((each, position) => (position === (axis < 0 ? axis + axes.length : axis) ? undefined : each)));
  } else if (opType === 'Reshape' && index === 0) {
    const shape = numbersOf(constantAt(scope, node.input[1]));
    // A 0 keeps the axis in its place; behind the first other entry nothing is known.
    const kept = shape?.findIndex((size) => size !== 0) ?? -1;
    if (shape && kept > 0) on(shape.map((_, position) => (position < kept ? axes[position] : undefined)));
  }
}

function matMul(
  index: number,
  axes: Axes,
  other: readonly number[] | undefined,
  facts: Facts,
  on: (next: Axes) => void,
) {
  if (index === 0) {
    if (other && other.length > 1) facts.say(axes.at(-1), other.at(-2));
    on([...axes.slice(0, -1), undefined]);
  } else {
    if (other) facts.say(axes.at(-2), other.at(-1));
    on([...axes.slice(0, -2), undefined, axes.at(-1)]);
  }
}

/** X is [seq, batch, input], W [directions, gates · hidden, input], R [directions, gates · hidden, hidden] (ONNX LSTM, GRU, RNN). */
function recurrent(
  node: NodeProto,
  index: number,
  axes: Axes,
  w: readonly number[] | undefined,
  r: readonly number[] | undefined,
  facts: Facts,
): void {
  if (index === 0) facts.say(axes[2], w?.[2]);
  if (index === 5 || index === 6) {
    facts.say(axes.at(-1), r?.[2]);
    facts.say(axes[intOf(node, 'layout', 0) === 1 ? 1 : 0], w?.[0]);
  }
}

/** Spatial axes shrink (or grow) by their strides; channels are new ones. */
function resized(axes: Axes, node: NodeProto, facts: Facts, direction: 1 | -1): Axes {
  const strides = attributeOf(node, 'strides')?.ints.map(Number) ?? [];
  return axes.map((axis, position) => {
    if (!axis || position === 0) return axis;
    if (position === 1) return node.opType.endsWith('Pool') ? axis : undefined;
    const stride = strides[position - 2] ?? 1;
    const next = { site: axis.site, factor: direction === 1 ? axis.factor * stride : axis.factor / stride };
    facts.shrink(next);
    return next;
  });
}

function unsqueezed(axes: Axes, list: number[]): Axes {
  const rank = axes.length + list.length;
  const added = new Set(list.map((axis) => (axis < 0 ? axis + rank : axis)));
  const rest = axes.values();
  return Array.from({ length: rank }, (_, position) => (added.has(position) ? undefined : rest.next().value));
}

function squeezed(axes: Axes, list: number[]): Axes {
  const removed = new Set(list.map((axis) => (axis < 0 ? axis + axes.length : axis)));
  return axes.filter((_, position) => !removed.has(position));
}
