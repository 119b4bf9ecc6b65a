import { edgesOf } from '../../../../runtime/index.ts';
import type { Histogram, ValueObservation } from '../observe/observe.ts';
import type { ValueRange } from './value-range.ts';

/**
 * The range that holds `percentile` % of the magnitudes, within what was seen, as the percentile calibrator of
 * onnxruntime.quantization 1.32 finds it (`HistogramCollector.compute_percentile`, symmetric): the left edge of the bin in
 * which the cumulated share is reached.
 */
export function percentileRange(
  { min, max }: Pick<ValueObservation, 'min' | 'max'>,
  histogram: Histogram,
  percentile: number,
): ValueRange {
  const { counts } = histogram;
  const edges = edgesOf(histogram);
  const total = counts.reduce((sum, count) => sum + count, 0);
  let share = 0;
  let bin = 0;
  // Summed as shares, each rounded, because that is how the release sums them.
  for (; bin < counts.length; bin += 1) {
    share += counts[bin]! / total;
    if (share >= percentile / 100) break;
  }
  const bound = edges[Math.min(bin, counts.length)]!;
  return { low: Math.max(min, -bound), high: Math.min(max, bound) };
}
