import { roundHalfEven } from '../../round.ts';

/** How the range of a weight becomes a scale and a zero point. */
export interface Scheme {
  target: 'int8' | 'uint8';
  symmetric: boolean;
  /** Uses 7 of the 8 bits, so that uint8 × int8 products cannot saturate on CPUs without VNNI. */
  reduceRange: boolean;
}

/** Below this a scale is no normal f32; onnxruntime.quantization stores 1 instead. */
const SMALLEST_SCALE = 2 ** -126;

/**
 * Scale and zero point of one channel, as `quant_utils.compute_scale_zp` of onnxruntime 1.32 computes them.
 * `min` ≤ 0 ≤ `max` are f32 values. The scale is rounded to f32 only after the zero point was found.
 */
export function scaleAndZeroPoint(min: number, max: number, scheme: Scheme): { scale: number; zeroPoint: number } {
  const [low, high] = quantizedRange(scheme);
  const bound = Math.max(-min, max);
  const [realLow, realHigh] = scheme.symmetric ? [-bound, bound] : [min, max];
  const scale = (realHigh - realLow) / (high - low);
  if (scale < SMALLEST_SCALE) return { scale: 1, zeroPoint: 0 };
  const zeroPoint = roundHalfEven(scheme.symmetric ? (low + high) / 2 : low - realLow / scale);
  return { scale: Math.fround(scale), zeroPoint };
}

/** The integers that the real range is spread over. Values outside it are still clipped to the full type. */
export function quantizedRange({ target, symmetric, reduceRange }: Scheme): [low: number, high: number] {
  if (target === 'uint8') return reduceRange ? [0, 127] : [0, 255];
  if (reduceRange) return [-64, 64];
  return symmetric ? [-127, 127] : [-128, 127];
}
