import { type Bins, edgesOf } from '../../../../runtime/index.ts';
import type { ValueObservation } from '../observe/observe.ts';
import { entropyRange } from './entropy.ts';
import { mseRange } from './mse.ts';
import { percentileRange } from './percentile.ts';
import type { ValueRange } from './value-range.ts';

export const CALIBRATION_METHODS = ['percentile', 'minmax', 'entropy', 'mse'] as const;
export type CalibrationMethod = (typeof CALIBRATION_METHODS)[number];

/** Bins of a histogram of percentiles and of rounding errors: those of onnxruntime.quantization's percentile. */
export const BINS = 2048;
/** Bins that `entropy` compares distributions over, and the levels it expects of 8 bits. */
export const ENTROPY_BINS = 2048;
export const ENTROPY_LEVELS = 128;

/** The bins that a method needs of a value; undefined where its range says all. */
export function binsOf(method: CalibrationMethod, { min, max, smallest }: ValueObservation): Bins | undefined {
  const largest = Math.max(Math.abs(min), Math.abs(max));
  if (method === 'minmax' || !Number.isFinite(largest) || min === max) return undefined;
  switch (method) {
    case 'percentile':
      return { low: smallest, high: largest, count: BINS, absolute: true };
    case 'entropy':
      return { low: -largest, high: largest, count: ENTROPY_BINS, absolute: false };
    case 'mse':
      return { low: min, high: max, count: BINS, absolute: false };
  }
}

/** The range that 8 bits are spread over, by what was observed. `percentile` in percent, 99.99 say. */
export function rangeOf(method: CalibrationMethod, value: ValueObservation, percentile: number): ValueRange {
  const { min, max, histogram } = value;
  if (!histogram || method === 'minmax') return { low: min, high: max };
  if (method === 'mse') return mseRange(value, histogram);
  const { counts } = histogram;
  const edges = edgesOf(histogram);
  const { low, high } =
    method === 'percentile' ? percentileRange(counts, edges, percentile) : entropyRange(counts, edges, ENTROPY_LEVELS);
  return { low: Math.max(min, low), high: Math.min(max, high) };
}
