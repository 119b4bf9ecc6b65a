import {
  type Constant,
  constantOf,
  type GraphScope,
  intOf,
  type NodeProto,
  operatorKey,
} from '../../../model/index.ts';
import { roundHalfEven } from '../../../round.ts';
import { readFloats } from '../../fold/mutable-graph.ts';
import { scaleAndZeroPoint } from '../../kernels/parameters.ts';

/** The constants of an integer product in the form that it takes them. */
export interface Product {
  weight: Constant;
  /** Axis of its output channels. */
  axis: number;
  /** f32 by output channel. */
  scales: Float32Array;
  /** Absent where there is none. */
  bias?: { values: Int32Array; scales: Float32Array } | undefined;
}

/** The weight of a product as int8 around zero, by output channel. Reads it whole. */
export function weightOf(node: NodeProto, main: GraphScope): Product {
  const weight = constantOf(main, node.input[1]!)!;
  const axis = operatorKey(node) === 'Conv' || intOf(node, 'transB', 0) === 1 ? 0 : 1;
  const channels = weight.dims[axis]!;
  const values = readFloats(weight.ref!);
  const bounds = new Float64Array(channels);
  const inner = weight.dims.slice(axis + 1).reduce((product, size) => product * size, 1);
  for (let at = 0; at < values.length; at += 1) {
    const channel = Math.floor(at / inner) % channels;
    const magnitude = Math.abs(values[at]!);
    if (magnitude > bounds[channel]!) bounds[channel] = magnitude;
  }
  const scheme = { target: 'int8', symmetric: true, reduceRange: false } as const;
  const scales = Float32Array.from(bounds, (bound) => scaleAndZeroPoint(-bound, bound, scheme).scale);
  return { weight, axis, scales };
}

/** The bias of a product, which is constant, or undefined. */
export function biasOf(node: NodeProto, main: GraphScope): Float32Array | undefined {
  const name = node.input[2];
  return name ? readFloats(constantOf(main, name)!.ref!) : undefined;
}

/** The largest magnitude of an int32, both ways. */
const INT32 = 2 ** 31 - 1;
/** What a scale is widened by beyond what a bias needs, as onnxruntime.quantization 1.32 does. */
const MARGIN = Math.fround(1.0001);

/**
 * Scales of a weight by output channel, int8 around zero, and its bias on the grid of the products, as
 * `quantize_bias_static_impl` of onnxruntime.quantization 1.32 makes them. A channel whose bias would not fit gets a wider
 * weight scale first. `correction` is added to the bias. Reads the weight whole.
 */
export function productOf(
  node: NodeProto,
  main: GraphScope,
  inputScale: number,
  correction?: ArrayLike<number>,
): Product {
  const { weight, axis, scales } = weightOf(node, main);
  const channels = scales.length;
  const given = biasOf(node, main);
  if (!given && !correction) return { weight, axis, scales };
  const bias = Float32Array.from(scales, (_, channel) => (given?.[channel] ?? 0) + (correction?.[channel] ?? 0));
  const biasScales = new Float32Array(channels);
  const quantized = new Int32Array(channels);
  for (let channel = 0; channel < channels; channel += 1) {
    // In f32 up to the division, as the release computes it.
    const least = Math.fround(MARGIN * Math.fround(2 * Math.abs(bias[channel]!))) / (2 * INT32);
    const candidate = inputScale * scales[channel]!;
    if (candidate < least && candidate > 0) scales[channel] = scales[channel]! * (least / candidate);
    biasScales[channel] = Math.fround(inputScale * scales[channel]!);
    const level = roundHalfEven(bias[channel]! / biasScales[channel]!);
    quantized[channel] = Math.min(INT32, Math.max(-INT32 - 1, level));
  }
  return { weight, axis, scales, bias: { values: quantized, scales: biasScales } };
}
