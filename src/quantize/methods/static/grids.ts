import { DataType, makeTensor, type TensorProto } from '../../../model/index.ts';
import { roundHalfEven } from '../../../round.ts';
import type { ValueRange } from './ranges/value-range.ts';

export const ACTIVATION_TYPES = ['uint8', 'int8'] as const;
export type ActivationType = (typeof ACTIVATION_TYPES)[number];

/** Where the 256 levels of an activation lie: real = scale × (level − zeroPoint). */
export interface Grid {
  type: ActivationType;
  /** An f32. */
  scale: number;
  zeroPoint: number;
}

/** Least and greatest level of each type. */
export const LEVELS: Readonly<Record<ActivationType, readonly [low: number, high: number]>> = {
  uint8: [0, 255],
  int8: [-128, 127],
};

const SMALLEST_SCALE = 2 ** -126;

/**
 * The grid that spreads the levels over a range, 0 among them, as `compute_scale_zp` of onnxruntime.quantization 1.32
 * computes it for activations: both types asymmetric.
 */
export function gridOf({ low, high }: ValueRange, type: ActivationType): Grid {
  const [least, greatest] = LEVELS[type];
  const [rmin, rmax] = [Math.min(Math.fround(low), 0), Math.max(Math.fround(high), 0)];
  const scale = (rmax - rmin) / (greatest - least);
  if (scale < SMALLEST_SCALE) return { type, scale: 1, zeroPoint: 0 };
  return { type, scale: Math.fround(scale), zeroPoint: roundHalfEven(least - rmin / scale) };
}

/**
 * The grid for a value that goes through clip(alpha × x + ½, 0, 1): the same range or a little more, on whose levels both
 * bounds lie exactly. Then that function is a clip of levels, read on a grid of its own.
 */
export function gatedGrid({ low, high }: ValueRange, alpha: number, type: ActivationType): Grid {
  const [least, greatest] = LEVELS[type];
  const bound = 0.5 / alpha;
  const range = { low: Math.min(low, -bound), high: Math.max(high, bound) };
  const steps = Math.max(1, Math.floor(bound / ((range.high - range.low) / (greatest - least))));
  const scale = Math.fround(bound / steps);
  const zeroPoint = Math.min(greatest - steps, Math.max(least + steps, roundHalfEven(least - range.low / scale)));
  return { type, scale, zeroPoint };
}

/**
 * Where clip(alpha × x + ½, 0, 1) lies for an x on a `gatedGrid`: the levels between `low` and `high`, on a grid of their
 * own, exactly.
 */
export function gateOf(x: Grid, alpha: number): { grid: Grid; low: number; high: number } {
  const steps = Math.round(0.5 / alpha / x.scale);
  const [low, high] = [x.zeroPoint - steps, x.zeroPoint + steps];
  return { grid: { type: x.type, scale: Math.fround(alpha * x.scale), zeroPoint: low }, low, high };
}

/** The level of a real value. */
export function levelOf(value: number, { type, scale, zeroPoint }: Grid): number {
  const [least, greatest] = LEVELS[type];
  return Math.min(greatest, Math.max(least, roundHalfEven(value / scale) + zeroPoint));
}

/** A level as a scalar tensor. */
export function levelTensor(name: string, level: number, type: ActivationType): TensorProto {
  const [least, greatest] = LEVELS[type];
  if (level < least || level > greatest) throw new Error(`${name}: ${level} is no ${type}`);
  return makeTensor(name, type === 'uint8' ? DataType.UINT8 : DataType.INT8, [], Uint8Array.of(level & 0xff));
}
