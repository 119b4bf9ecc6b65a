import type { ValueRange } from './value-range.ts';

/**
 * The range that holds `percentile` % of the magnitudes, as the percentile calibrator of onnxruntime.quantization 1.32
 * finds it (`HistogramCollector.compute_percentile`, symmetric): the left edge of the bin in which the cumulated share is
 * reached.
 */
export function percentileRange(counts: Float64Array, edges: Float32Array, percentile: number): ValueRange {
  const total = counts.reduce((sum, count) => sum + count, 0);
  let share = 0;
  let bin = 0;
  // Summed as shares, each rounded, because that is how the release sums them.
  for (; bin < counts.length; bin += 1) {
    share += counts[bin]! / total;
    if (share >= percentile / 100) break;
  }
  const bound = edges[Math.min(bin, counts.length)]!;
  return { low: -bound, high: bound };
}
