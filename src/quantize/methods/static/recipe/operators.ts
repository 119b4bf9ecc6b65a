import {
  attributeOf,
  constantOf,
  type GraphScope,
  intOf,
  type NodeProto,
  operatorKey,
  stringOf,
} from '../../../../model/index.ts';
import type { ValueRange } from '../ranges/value-range.ts';

/** How an operator computes in 8 bits on the CPU. */
export interface StaticOperator {
  /**
   * `weighted`: an integer product of an activation and a constant. `values`: 8-bit values in and out, each with a grid of
   * its own. `moves`: works on the 8-bit elements themselves, whose grid stays. `fused`: what the node before it computes
   * is clipped by its own grid, so nothing is left to do. `gate`: HardSigmoid, which is a clip of levels.
   */
  kind: 'weighted' | 'values' | 'moves' | 'fused' | 'gate';
  /** Inputs that are activations; others are read as they are. */
  activations(node: NodeProto): number[];
  /** The range of its output, where the operator itself bounds it. */
  bounds?: ValueRange;
  /** Nanoseconds per element in FLOAT and in 8 bits, one thread; products: see `costOfProduct`. */
  float: number;
  eight: number;
  /** Why a node cannot, or undefined. */
  refuse?(node: NodeProto, main: GraphScope): string | undefined;
}

const first = () => [0];
const all = (node: NodeProto) => node.input.map((_, index) => index);
const both = () => [0, 1];

const moves = (float: number, eight: number, refuse?: StaticOperator['refuse']): StaticOperator => ({
  kind: 'moves',
  activations: first,
  float,
  eight,
  ...(refuse ? { refuse } : {}),
});

/**
 * Every operator with an 8-bit kernel on ONNX Runtime's CPU provider (1.30; Sub, Div, InstanceNormalization and
 * ConvTranspose have none). Times are from profiles of convolutional models on a
 * CPU with VNNI; only their proportions matter.
 */
export const STATIC_OPERATORS: Readonly<Record<string, StaticOperator>> = {
  Conv: { kind: 'weighted', activations: first, float: 0, eight: 0, refuse: refuseConv },
  Gemm: { kind: 'weighted', activations: first, float: 0, eight: 0, refuse: refuseGemm },
  MatMul: { kind: 'weighted', activations: first, float: 0, eight: 0 },
  Add: { kind: 'values', activations: both, float: 0.15, eight: 0.15 },
  Mul: { kind: 'values', activations: both, float: 0.15, eight: 0.22 },
  Concat: { kind: 'values', activations: all, float: 0.1, eight: 0.06 },
  Sigmoid: { kind: 'values', activations: first, bounds: { low: 0, high: 1 }, float: 0.29, eight: 0.25 },
  LeakyRelu: { kind: 'values', activations: first, float: 0.16, eight: 0.25 },
  AveragePool: { kind: 'values', activations: first, float: 0.21, eight: 20 },
  GlobalAveragePool: { kind: 'values', activations: first, float: 0.06, eight: 0.04 },
  // An element of the output is one of either input, rounded from their grids to its own.
  Where: { kind: 'values', activations: () => [1, 2], float: 0.3, eight: 0.3 },
  Softmax: { kind: 'values', activations: first, bounds: { low: 0, high: 1 }, float: 0.42, eight: 2.74 },
  HardSigmoid: {
    kind: 'gate',
    activations: first,
    bounds: { low: 0, high: 1 },
    float: 0.15,
    eight: 0.03,
    refuse: refuseGate,
  },
  Relu: { kind: 'fused', activations: first, float: 0.1, eight: 0 },
  Clip: { kind: 'fused', activations: first, float: 0.1, eight: 0, refuse: refuseClip },
  MaxPool: moves(0.21, 12, refuseMaxPool),
  Resize: moves(0.3, 1.3, refuseResize),
  Transpose: moves(0.2, 0.1),
  Reshape: moves(0, 0),
  Squeeze: moves(0, 0),
  Unsqueeze: moves(0, 0),
  Flatten: moves(0, 0),
  Identity: moves(0, 0),
  Pad: moves(0.15, 0.1, refusePad),
  Slice: moves(0.1, 0.05),
  Split: moves(0.1, 0.05),
  Expand: moves(0.1, 0.05),
  Tile: moves(0.1, 0.05),
  DepthToSpace: moves(0.3, 0.2),
  SpaceToDepth: moves(0.3, 0.2),
};

export function staticOperator(node: NodeProto): StaticOperator | undefined {
  return STATIC_OPERATORS[operatorKey(node)];
}

/** Milliseconds ÷ 10⁶ that each node costs by being there, whatever its size. */
export const NODE_COST = 2500;

/** Per element of a value: from FLOAT to 8 bits and back, the change of layout for convolutions included. */
export const QUANTIZE_COST = 0.17;
export const DEQUANTIZE_COST = 0.15;

/** An integer product: multiplications for an element of its output, channels of in- and output, taps of its kernel. */
export interface ProductShape {
  /** Elements of the output. */
  size: number;
  depth: number;
  inputs: number;
  outputs: number;
  taps: number;
}

/** Channels that FLOAT convolutions compute together. */
const BLOCK = 16;

/** Nanoseconds of a product in FLOAT and in 8 bits, one thread. `inputs` are those of one group. */
export function costOfProduct({ size, depth, inputs, outputs, taps }: ProductShape): { float: number; eight: number } {
  const macs = size * depth;
  if (inputs === 1 && taps > 1) return { float: 0.018 * macs + 0.05 * size, eight: 0.048 * macs };
  // Few input channels fill no vector of integers.
  if (inputs < 8 && taps > 1) return { float: 0.025 * macs, eight: 0.056 * macs };
  const padded = taps > 0 ? (Math.ceil(outputs / BLOCK) * BLOCK) / outputs : 1;
  const gathered = taps > 1 ? (0.7 * taps * size) / outputs : 0;
  return { float: 0.018 * macs * padded + 0.05 * size, eight: 0.0047 * macs + 0.075 * size + gathered };
}

function refuseConv(node: NodeProto): string | undefined {
  const known = ['NOTSET', 'VALID', 'SAME_UPPER', 'SAME_LOWER'];
  return known.includes(stringOf(node, 'auto_pad', 'NOTSET')) ? undefined : 'its padding is of no known kind';
}

function refuseGemm(node: NodeProto): string | undefined {
  const one = (name: string) => (attributeOf(node, name)?.f ?? 1) === 1;
  return one('alpha') && one('beta') && intOf(node, 'transA', 0) === 0
    ? undefined
    : 'its alpha, beta or transA have no integer form';
}

/** Only where both bounds are equally far from the middle do they lie on the same grid. */
function refuseGate(node: NodeProto): string | undefined {
  const beta = attributeOf(node, 'beta')?.f ?? 0.5;
  const alpha = attributeOf(node, 'alpha')?.f ?? 0.2;
  return beta === 0.5 && alpha > 0 ? undefined : 'its bounds do not lie on the grid of its input';
}

function refuseMaxPool(node: NodeProto): string | undefined {
  return node.output.length > 1 && node.output[1] ? 'its indices are used' : undefined;
}

function refuseResize(node: NodeProto): string | undefined {
  const within = ['nearest', 'linear'].includes(stringOf(node, 'mode', 'nearest'));
  return within ? undefined : 'it may overshoot its input';
}

function refuseClip(node: NodeProto, main: GraphScope): string | undefined {
  return clipBounds(node, main) ? undefined : 'its bounds are not constants';
}

/** 0 lies on every grid exactly; another value may lie beyond it. */
function refusePad(node: NodeProto, main: GraphScope): string | undefined {
  if (stringOf(node, 'mode', 'constant') !== 'constant' || !node.input[2]) return undefined;
  return scalarOf(main, node.input[2]) === 0 ? undefined : 'it pads with something else than a constant 0';
}

/** Bounds of a Clip or Relu; undefined where they are not known. */
export function clipBounds(node: NodeProto, main: GraphScope): ValueRange | undefined {
  if (operatorKey(node) === 'Relu') return { low: 0, high: Number.POSITIVE_INFINITY };
  const bound = (name: string | undefined, missing: number) => (name ? scalarOf(main, name) : missing);
  const low = bound(node.input[1], Number.NEGATIVE_INFINITY);
  const high = bound(node.input[2], Number.POSITIVE_INFINITY);
  return low === undefined || high === undefined ? undefined : { low, high };
}

/** The value of a FLOAT constant of one element. */
function scalarOf(main: GraphScope, name: string): number | undefined {
  const source = constantOf(main, name)?.ref?.source;
  if (source?.kind !== 'bytes' || source.bytes.length !== 4) return undefined;
  return new DataView(source.bytes.buffer, source.bytes.byteOffset, 4).getFloat32(0, true);
}
