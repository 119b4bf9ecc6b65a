import {
  attributeOf,
  floatOf,
  floatTensor,
  intOf,
  makeNode,
  type NodeProto,
  operatorKey,
  stringOf,
} from '../../model/index.ts';
import type { MutableGraph } from './mutable-graph.ts';
import type { Weights } from './weights.ts';

/**
 * y = scale × x + shift, by channel (axis 1), written as arrays of one element where all channels are alike.
 */
interface Affine {
  /** The value it applies to. */
  input: string;
  scale: Float64Array;
  shift: Float64Array;
  /** Rank of the constants: what they are added to has at least that. */
  rank: number;
}

const ONE = Float64Array.of(1);
const ZERO = Float64Array.of(0);

/** BatchNorm, and Mul, Add, Sub and Div by constants, into the convolution before or after. True where it did. */
export function foldAffine(graph: MutableGraph, node: NodeProto, weights: Weights): boolean {
  const affine = affineOf(graph, node);
  if (!affine) return false;
  return (
    dropNeutral(graph, node, affine) ||
    intoBefore(graph, node, affine, weights) ||
    intoAfter(graph, node, affine, weights) ||
    mergeAffine(graph, node, affine)
  );
}

/** Mul by 1 and Add of 0. */
function dropNeutral(graph: MutableGraph, node: NodeProto, { input, scale, shift, rank }: Affine): boolean {
  // A constant of higher rank than the value would raise the value's: only scalars surely do not.
  if (rank > 0 || !scale.every((value) => value === 1) || !shift.every((value) => value === 0)) return false;
  if (!graph.merge(node.output[0]!, input)) return false;
  graph.remove(node);
  return true;
}

function intoBefore(graph: MutableGraph, node: NodeProto, affine: Affine, weights: Weights): boolean {
  const conv = graph.producer(affine.input);
  if (!conv || graph.onlyReader(affine.input) !== node) return false;
  const convolution = weights.of(graph, conv);
  if (!convolution || affine.rank > convolution.rank) return false;
  const { outputs } = convolution;
  if (![affine.scale, affine.shift].every(({ length }) => length === 1 || length === outputs)) return false;
  for (let channel = 0; channel < outputs; channel += 1) {
    const scale = at(affine.scale, channel);
    convolution.outScale[channel]! *= scale;
    convolution.outShift[channel] = convolution.outShift[channel]! * scale + at(affine.shift, channel);
  }
  weights.change(conv);
  const output = node.output[0]!;
  graph.remove(node);
  graph.rewire(conv, { output: [output] });
  return true;
}

/** Into every convolution that reads it, if nobody else does. A shift only where no padding would miss it. */
function intoAfter(graph: MutableGraph, node: NodeProto, affine: Affine, weights: Weights): boolean {
  const output = node.output[0]!;
  if (graph.isPinned(output)) return false;
  const readers = graph.readers(output);
  const convolutions = readers.map((reader) =>
    operatorKey(reader) === 'Conv' && reader.input[0] === output && !reader.input.slice(1).includes(output)
      ? weights.of(graph, reader)
      : undefined,
  );
  if (readers.length === 0) return false;
  const shifts = affine.shift.some((value) => value !== 0);
  for (const [i, convolution] of convolutions.entries()) {
    if (!convolution || affine.rank > convolution.rank) return false;
    const { inputs } = convolution;
    if (![affine.scale, affine.shift].every(({ length }) => length === 1 || length === inputs)) return false;
    if (shifts && isPadded(readers[i]!)) return splitShift(graph, node, affine);
  }
  for (const [i, convolution] of convolutions.entries()) {
    const { inScale, inShift } = convolution!;
    for (let channel = 0; channel < inScale.length; channel += 1) {
      inShift[channel]! += inScale[channel]! * at(affine.shift, channel);
      inScale[channel]! *= at(affine.scale, channel);
    }
    weights.change(readers[i]!);
    graph.rewire(readers[i]!, { input: readers[i]!.input.map((name) => (name === output ? affine.input : name)) });
  }
  graph.remove(node);
  return true;
}

/** s × x + b becomes s × (x + b ÷ s), so that a padded convolution can take the s: a Mul and an Add become an Add. */
function splitShift(graph: MutableGraph, node: NodeProto, { input, scale, shift, rank }: Affine): boolean {
  const before = graph.producer(input);
  if (operatorKey(node) !== 'Add' || before?.opType !== 'Mul' || graph.onlyReader(input) !== node) return false;
  const inner = affineOf(graph, before);
  if (!inner || inner.scale.some((value) => value === 0) || scale.some((value) => value !== 1)) return false;
  if (inner.shift.some((value) => value !== 0)) return false;
  const channels = Math.max(inner.scale.length, shift.length);
  const moved = Array.from({ length: channels }, (_, channel) => at(shift, channel) / at(inner.scale, channel));
  const dims = channels === 1 ? [] : [channels, ...Array(Math.max(rank, inner.rank) - 2).fill(1)];
  const output = node.output[0]!;
  const between = graph.unique(`${output}_shifted`);
  const constant = graph.unique(`${output}_shift`);
  graph.addConstant(floatTensor(constant, moved, dims));
  const scaleName = before.input.find((name) => name !== inner.input)!;
  graph.remove(before);
  graph.replace(
    node,
    makeNode('Add', [inner.input, constant], [between], { name: node.name }),
    makeNode('Mul', [between, scaleName], [output], { name: before.name }),
  );
  return true;
}

/** Two in a row become one, where the second would not fold: Mul · Mul, Add · Add. */
function mergeAffine(graph: MutableGraph, node: NodeProto, affine: Affine): boolean {
  const before = graph.producer(affine.input);
  const kind = operatorKey(node);
  if (!before || (kind !== 'Mul' && kind !== 'Add') || operatorKey(before) !== kind) return false;
  if (graph.onlyReader(affine.input) !== node) return false;
  const inner = affineOf(graph, before);
  if (!inner) return false;
  const channels = Math.max(...[affine, inner].map(({ scale, shift }) => Math.max(scale.length, shift.length)));
  const lengths = [affine.scale, affine.shift, inner.scale, inner.shift].map(({ length }) => length);
  if (lengths.some((length) => length !== 1 && length !== channels)) return false;
  const values = Array.from({ length: channels }, (_, channel) =>
    kind === 'Mul'
      ? at(affine.scale, channel) * at(inner.scale, channel)
      : at(affine.shift, channel) + at(inner.shift, channel),
  );
  const rank = Math.max(affine.rank, inner.rank);
  const dims = channels === 1 ? Array(rank).fill(1) : [channels, ...Array(rank - 2).fill(1)];
  if (channels > 1 && rank < 2) return false;
  const constant = graph.unique(`${node.output[0]}_merged`);
  graph.addConstant(floatTensor(constant, values, dims));
  graph.remove(before);
  graph.rewire(node, { input: [inner.input, constant] });
  return true;
}

function affineOf(graph: MutableGraph, node: NodeProto): Affine | undefined {
  switch (operatorKey(node)) {
    case 'BatchNormalization':
      return batchNormalization(graph, node);
    case 'Mul':
    case 'Add':
    case 'Sub':
    case 'Div':
      return arithmetic(graph, node);
    default:
      return undefined;
  }
}

/** (x − mean) ÷ √(variance + epsilon) × scale + shift, ONNX operator BatchNormalization. */
function batchNormalization(graph: MutableGraph, node: NodeProto): Affine | undefined {
  if (intOf(node, 'training_mode', 0) !== 0 || node.output.filter((name) => name !== '').length !== 1) return undefined;
  const [gamma, beta, mean, variance] = node.input.slice(1).map((name) => graph.floats(name)?.values);
  if (!gamma || !beta || !mean || !variance) return undefined;
  const epsilon = floatOf(node, 'epsilon', 1e-5);
  const scale = Float64Array.from(gamma, (value, i) => value / Math.sqrt(variance[i]! + epsilon));
  const shift = Float64Array.from(beta, (value, i) => value - mean[i]! * scale[i]!);
  return finite({ input: node.input[0]!, scale, shift, rank: 2 });
}

function arithmetic(graph: MutableGraph, node: NodeProto): Affine | undefined {
  const [a, b] = node.input;
  const right = perChannel(graph.floats(b));
  const left = right ? undefined : perChannel(graph.floats(a));
  const found = right ?? left;
  if (!found || !a || !b || graph.constant(right ? a : b)) return undefined;
  const { values, rank } = found;
  const input = right ? a : b;
  switch (operatorKey(node)) {
    case 'Mul':
      return finite({ input, scale: values, shift: ZERO, rank });
    case 'Add':
      return finite({ input, scale: ONE, shift: values, rank });
    case 'Sub':
      return right
        ? finite({ input, scale: ONE, shift: values.map((value) => -value), rank })
        : finite({ input, scale: Float64Array.of(-1), shift: values, rank });
    default:
      return right ? finite({ input, scale: values.map((value) => 1 / value), shift: ZERO, rank }) : undefined;
  }
}

/** A constant that differs by channel at most: [], [1…], [C, 1, 1], [1, C, 1, 1]. */
function perChannel(
  constant: { dims: readonly number[]; values: Float32Array } | undefined,
): { values: Float64Array; rank: number } | undefined {
  if (!constant) return undefined;
  const { dims, values } = constant;
  if (values.length === 1) return { values: Float64Array.from(values), rank: dims.length };
  // Which axis a single long one is depends on the rank of what it meets, so spatial ones must be there.
  const long = dims.findIndex((size) => size > 1);
  if (dims.filter((size) => size > 1).length !== 1) return undefined;
  const spatial = dims.length - 1 - long;
  if (spatial < 1 || long > 1) return undefined;
  return { values: Float64Array.from(values), rank: long === 1 ? dims.length : dims.length + 1 };
}

function finite(affine: Affine): Affine | undefined {
  return [affine.scale, affine.shift].every((values) => values.every(Number.isFinite)) ? affine : undefined;
}

function isPadded(conv: NodeProto): boolean {
  if (stringOf(conv, 'auto_pad', 'NOTSET').startsWith('SAME')) return true;
  return attributeOf(conv, 'pads')?.ints.some((pad) => pad !== 0n) ?? false;
}

const at = (values: Float64Array, channel: number): number => values[values.length === 1 ? 0 : channel]!;
