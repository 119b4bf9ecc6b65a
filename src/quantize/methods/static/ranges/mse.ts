import type { Histogram, ValueObservation } from '../observe/observe.ts';
import type { ValueRange } from './value-range.ts';

/** Steps between the whole range and none, per bound. */
const STEPS = 64;

/**
 * The range whose 8 bits make the least squared error on what was seen: rounding adds Δ² ÷ 12 to every value within
 * (Δ the step), clipping the square of what is cut off. Both bounds are moved in turn until neither helps.
 */
export function mseRange({ min, max }: Pick<ValueObservation, 'min' | 'max'>, histogram: Histogram): ValueRange {
  const low = Math.min(min, 0);
  const high = Math.max(max, 0);
  let best = { low, high };
  let least = errorOf(best, histogram);
  for (let improved = true; improved; ) {
    improved = false;
    for (const bound of ['high', 'low'] as const) {
      for (let step = 1; step < STEPS; step += 1) {
        const candidate = { ...best, [bound]: ((bound === 'high' ? high : low) * step) / STEPS };
        const error = errorOf(candidate, histogram);
        if (!(error < least * (1 - 1e-9))) continue;
        least = error;
        best = candidate;
        improved = true;
      }
    }
  }
  return best;
}

function errorOf({ low, high }: ValueRange, { low: first, high: last, count, counts }: Histogram): number {
  const step = (high - low) / 255;
  const width = (last - first) / count;
  let error = 0;
  for (let bin = 0; bin < count; bin += 1) {
    const seen = counts[bin]!;
    if (seen === 0) continue;
    const value = first + (bin + 0.5) * width;
    const beyond = value > high ? value - high : value < low ? low - value : 0;
    error += seen * (beyond === 0 ? (step * step) / 12 : beyond * beyond);
  }
  return error;
}
