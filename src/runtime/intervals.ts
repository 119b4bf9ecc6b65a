import { median, percentile } from './statistics.ts';

/** A figure with the bounds that hold its true value in 95 of 100 cases. */
export interface Interval {
  value: number;
  low: number;
  high: number;
}

/** Where a figure stands against a limit once its uncertainty is counted in. */
export type Standing = 'pass' | 'fail' | 'undecided';

/** Values below this are too few to draw from: their minimum and maximum are the bounds. */
const FEWEST_TO_DRAW = 10;
/**
 * Fewest values whose range covers the median they were drawn around with 95 %: it misses when all lie on one side,
 * 2 · ½ⁿ, which is 6.3 % for five and 3.1 % for six.
 */
export const FEWEST_FOR_MEDIAN = 6;

const MOST_DRAWS = 2000;
const FEWEST_DRAWS = 200;
/** Values drawn in all, so that a hundred thousand runs take a second and not a minute. */
const DRAWN_VALUES = 20e6;

/**
 * Passed or failed only where the whole interval lies on one side of the limit; a figure that equals it passes.
 * @param bound whether the limit is the `highest` or the `lowest` value allowed
 */
export function standing(
  { low, high }: Pick<Interval, 'low' | 'high'>,
  limit: number,
  bound: 'highest' | 'lowest',
): Standing {
  if (bound === 'highest') return high <= limit ? 'pass' : low > limit ? 'fail' : 'undecided';
  return low >= limit ? 'pass' : high < limit ? 'fail' : 'undecided';
}

/**
 * Percentile of values taken one after the other, with its interval by the circular block bootstrap (Politis & Romano,
 * 1992): blocks of about √n neighbours are drawn, because what disturbs one run disturbs the next, and draws of single
 * runs would take a burst of twenty for twenty independent witnesses. Fewer than ten values: minimum to maximum.
 * @param q in [0, 1]
 * @param random uniform in [0, 1); a seeded one makes the interval reproducible
 */
export function percentileInterval(values: readonly number[], q: number, random: () => number): Interval {
  return bounded(percentile(values, q), values, percentileOfDraws(values, q, blockLength(values), random));
}

/** Median of independent values, such as a ratio from each pair of blocks, with its interval (Efron & Tibshirani, 1993, §13.3). */
export function medianInterval(values: readonly number[], random: () => number): Interval {
  return bounded(median(values), values, percentileOfDraws(values, 0.5, 1, random));
}

/** Ratio of the medians of two series that were taken apart, each drawn in blocks of neighbours. */
export function ratioOfMedians(
  numerators: readonly number[],
  denominators: readonly number[],
  random: () => number,
): Interval {
  const value = median(numerators) / median(denominators);
  if (Math.min(numerators.length, denominators.length) < FEWEST_TO_DRAW) {
    const [above, below] = [range(numerators), range(denominators)];
    return { value, low: above.low / below.high, high: above.high / below.low };
  }
  const above = percentileOfDraws(numerators, 0.5, blockLength(numerators), random);
  const below = percentileOfDraws(denominators, 0.5, blockLength(denominators), random);
  return { value, ...middle(() => above() / below(), drawsFor(numerators.length + denominators.length)) };
}

/** Uniform numbers in [0, 1), the same for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function bounded(value: number, values: readonly number[], draw: () => number): Interval {
  if (values.length < FEWEST_TO_DRAW) return { value, ...range(values) };
  return { value, ...middle(draw, drawsFor(values.length)) };
}

/** The bounds of the middle 95 % of what is drawn. */
function middle(draw: () => number, draws: number): { low: number; high: number } {
  const drawn = Float64Array.from({ length: draws }, draw).sort();
  return { low: drawn[Math.floor(draws * 0.025)]!, high: drawn[Math.ceil(draws * 0.975) - 1]! };
}

function range(values: readonly number[]): { low: number; high: number } {
  const sorted = Float64Array.from(values).sort();
  return { low: sorted[0] ?? Number.NaN, high: sorted.at(-1) ?? Number.NaN };
}

const blockLength = (values: readonly number[]): number => Math.max(1, Math.round(Math.sqrt(values.length)));

const drawsFor = (values: number): number =>
  Math.max(FEWEST_DRAWS, Math.min(MOST_DRAWS, Math.floor(DRAWN_VALUES / Math.max(1, values))));

/**
 * Draws percentiles of as many values, taken with replacement in blocks of neighbours, the last and the first being
 * neighbours too. Values are sorted once: a draw only counts their ranks.
 */
function percentileOfDraws(values: readonly number[], q: number, length: number, random: () => number): () => number {
  const count = values.length;
  const order = values.map((_, index) => index).sort((a, b) => values[a]! - values[b]!);
  const ranks = new Uint32Array(count);
  for (const [rank, index] of order.entries()) ranks[index] = rank;
  const counts = new Uint32Array(count);
  const position = (count - 1) * q;
  const [below, above] = [Math.floor(position), Math.ceil(position)];
  return () => {
    counts.fill(0);
    for (let drawn = 0; drawn < count; ) {
      const start = Math.floor(random() * count);
      for (let step = 0; step < length && drawn < count; step++, drawn++) counts[ranks[(start + step) % count]!]!++;
    }
    let rank = 0;
    let seen = counts[0]!;
    while (seen <= below) seen += counts[++rank]!;
    const low = values[order[rank]!]!;
    while (seen <= above) seen += counts[++rank]!;
    return low + (values[order[rank]!]! - low) * (position - below);
  };
}
