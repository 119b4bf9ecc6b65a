import { median } from '../runtime/index.ts';

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
  return interval(median(ratios), resampledMedian(ratios, seededRandom(seed)));
}

/** Ratio of two medians with its percentile-bootstrap interval, for figures that were not taken in pairs. */
export function ratioOfMedians(numerators: readonly number[], denominators: readonly number[], seed: number): Interval {
  const random = seededRandom(seed);
  const above = resampledMedian(numerators, random);
  const below = resampledMedian(denominators, random);
  return interval(median(numerators) / median(denominators), () => above() / below());
}

function interval(value: number, draw: () => number): Interval {
  const draws = Float64Array.from({ length: RESAMPLES }, draw).sort();
  return { value, low: draws[Math.floor(RESAMPLES * 0.025)]!, high: draws[Math.ceil(RESAMPLES * 0.975) - 1]! };
}

/** Draws medians of as many values, taken with replacement. Values are sorted once: a draw only counts them. */
function resampledMedian(values: readonly number[], random: () => number): () => number {
  const sorted = Float64Array.from(values).sort();
  const counts = new Uint32Array(sorted.length);
  const middle = (sorted.length - 1) / 2;
  const valueAt = (rank: number) => {
    let index = 0;
    for (let seen = counts[0]!; seen <= rank; seen += counts[index]!) index++;
    return sorted[index]!;
  };
  return () => {
    counts.fill(0);
    for (let i = 0; i < sorted.length; i++) counts[Math.floor(random() * sorted.length)]!++;
    return (valueAt(Math.floor(middle)) + valueAt(Math.ceil(middle))) / 2;
  };
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
