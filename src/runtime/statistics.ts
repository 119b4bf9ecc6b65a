/**
 * Percentile by linear interpolation between closest ranks (NIST/NumPy "linear"): position (n − 1)·q of the sorted
 * values. `q` in [0, 1]. NaN for no values.
 */
export function percentile(values: readonly number[], q: number): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const position = (sorted.length - 1) * q;
  const low = Math.floor(position);
  const high = Math.ceil(position);
  return sorted[low]! + (sorted[high]! - sorted[low]!) * (position - low);
}

export const median = (values: readonly number[]): number => percentile(values, 0.5);

export function mean(values: readonly number[]): number {
  return values.length === 0 ? Number.NaN : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Sample standard deviation ÷ mean; 0 for fewer than two values. */
export function coefficientOfVariation(values: readonly number[]): number {
  if (values.length < 2) return 0;
  const center = mean(values);
  const variance = values.reduce((sum, value) => sum + (value - center) ** 2, 0) / (values.length - 1);
  return Math.sqrt(variance) / center;
}

/**
 * The coefficient of variation as the middle half of the values sees it: 1.4826 · median absolute deviation ÷ median
 * (1.4826 makes it equal the plain one for a normal distribution). A few preempted runs do not move it.
 */
export function robustVariation(values: readonly number[]): number {
  if (values.length < 2) return 0;
  const center = median(values);
  return (1.4826 * median(values.map((value) => Math.abs(value - center)))) / center;
}
