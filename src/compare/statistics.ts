/** A figure with the bounds that hold its true value in 95 of 100 cases. */
export interface Interval {
  value: number;
  low: number;
  high: number;
}

/**
 * Fewest values whose range covers the median they were drawn around with 95 %: it misses when all lie on one side,
 * 2 · ½ⁿ, which is 6.3 % for five and 3.1 % for six.
 */
export const MIN_VALUES = 6;

const RESAMPLES = 2000;

/**
 * Median of ratios of pairs with its percentile-bootstrap interval (Efron & Tibshirani, An Introduction to the
 * Bootstrap, 1993, §13.3): pairs are drawn with replacement, seeded, so the same values give the same interval.
 */
export function medianOfRatios(pairs: readonly { numerator: number; denominator: number }[], seed: number): Interval {
  const ratios = pairs.map(({ numerator, denominator }) => numerator / denominator);
  const random = seededRandom(seed);
  return interval(median(ratios), () => median(resample(ratios, random)));
}

/** Ratio of two medians with its percentile-bootstrap interval, for figures that were not taken in pairs. */
export function ratioOfMedians(numerators: readonly number[], denominators: readonly number[], seed: number): Interval {
  const random = seededRandom(seed);
  const ratio = (above: readonly number[], below: readonly number[]) => median(above) / median(below);
  return interval(ratio(numerators, denominators), () =>
    ratio(resample(numerators, random), resample(denominators, random)),
  );
}

/** Middle value, or the mean of the two middle ones; NaN for none. */
export function median(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function interval(value: number, draw: () => number): Interval {
  const draws = Float64Array.from({ length: RESAMPLES }, draw).sort();
  return { value, low: draws[Math.floor(RESAMPLES * 0.025)]!, high: draws[Math.ceil(RESAMPLES * 0.975) - 1]! };
}

function resample(values: readonly number[], random: () => number): number[] {
  return values.map(() => values[Math.floor(random() * values.length)]!);
}

/** Uniform numbers in [0, 1) (mulberry32). */
function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
