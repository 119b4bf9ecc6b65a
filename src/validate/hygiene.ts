import {
  causeOf,
  type HostActivity,
  median,
  percentile,
  QUOTA_SHARE,
  robustVariation,
  type Timings,
} from '../runtime/index.ts';
import type { HygieneFinding } from './types.ts';

/** A session call that computes one element takes 12 µs on a 2023 server core; nothing real is faster. */
const NEAR_ZERO_MS = 0.005;
/** Two groups of times this far apart are two different things: computing, and not computing. */
const BIMODAL_RATIO = 4;
/** Where other processes or machines take more than so many processors, an interruption explains groups up to the ratio. */
const CROWDED = 0.5;
const INTERRUPTED_RATIO = 100;
/** The smaller group must be more than outliers, such as runs that were preempted. */
const BIMODAL_SHARE = 0.15;
/** Runs below this are too few to speak of groups or of a drift. */
const ENOUGH_RUNS = 10;
/** The last third this much slower than the first: the clock went down. */
const DRIFT_RATIO = 1.25;
export const NOISY_VARIATION = 0.25;

/**
 * What looks wrong with measured times. `cached`: near zero, or two groups far apart (a cache that answered three calls
 * of four once turned 10.7 s into 2.9 s). `throttled`: a drift upwards, or time lost to a quota. `noisy`: the robust
 * coefficient of variation (1.4826 · MAD ÷ median) is over 0.25, so that a few preempted runs alone do not count; or two
 * groups that other processes explain.
 */
export function inspectTimings(timings: Pick<Timings, 'runs' | 'host'>): HygieneFinding[] {
  const { runs, host } = timings;
  const findings: HygieneFinding[] = [];
  const groups = groupsOf(runs);
  const cached = describeCached(runs, groups, host);
  if (cached) findings.push({ kind: 'cached', message: cached });
  const throttled = describeThrottled(runs, host?.throttledUs);
  if (throttled) findings.push({ kind: 'throttled', message: throttled });
  const variation = robustVariation(runs);
  if (!cached && runs.length >= ENOUGH_RUNS && (groups || variation > NOISY_VARIATION)) {
    const varies = groups
      ? describeGroups(groups)
      : `The times vary by ${(100 * variation).toFixed(0)} %, and ${100 * NOISY_VARIATION} % is calm`;
    findings.push({ kind: 'noisy', message: `${varies}: ${causeOf(host)}.` });
  }
  return findings;
}

/** Whether other processes or machines took so much that they may have made something slow. */
export function isCrowded(host: HostActivity | undefined): boolean {
  return host !== undefined && host.othersBusy + (host.stolen ?? 0) > CROWDED;
}

/** Two groups of times with nothing in between: how many runs each, and their medians, ms. */
interface Groups {
  low: { count: number; ms: number };
  high: { count: number; ms: number };
}

function groupsOf(runs: readonly number[]): Groups | undefined {
  if (runs.length < ENOUGH_RUNS) return undefined;
  const sorted = [...runs].sort((a, b) => a - b);
  const smallest = Math.ceil(sorted.length * BIMODAL_SHARE);
  let split = -1;
  let widest = 0;
  for (let i = smallest; i <= sorted.length - smallest; i++) {
    const gap = sorted[i]! / sorted[i - 1]!;
    if (gap > widest) [split, widest] = [i, gap];
  }
  const low = median(sorted.slice(0, split));
  const high = median(sorted.slice(split));
  // Far apart as groups, and empty in between: a long tail has the first but not the second.
  if (widest < 2 || high / low < BIMODAL_RATIO) return undefined;
  return { low: { count: split, ms: low }, high: { count: sorted.length - split, ms: high } };
}

function describeCached(
  runs: readonly number[],
  groups: Groups | undefined,
  host: HostActivity | undefined,
): string | undefined {
  const p50 = median(runs);
  if (p50 < NEAR_ZERO_MS) {
    return `The P50 of ${(1000 * p50).toFixed(1)} µs is less than an empty inference takes: something answers instead of the model.`;
  }
  if (!groups) return undefined;
  // Runs that were interrupted are a group of their own too, but not a hundred times slower: who is so short is seldom
  // interrupted.
  if (isCrowded(host) && groups.high.ms / groups.low.ms < INTERRUPTED_RATIO) return undefined;
  return `${describeGroups(groups)}: a cache seems to answer some of them.`;
}

const describeGroups = ({ low, high }: Groups): string =>
  `The times fall into two groups, ${low.count} runs of about ${show(low.ms)} ms and ${high.count} of about ${show(high.ms)} ms`;

function describeThrottled(runs: readonly number[], throttledUs: number | undefined): string | undefined {
  const wallMs = runs.reduce((sum, ms) => sum + ms, 0);
  if (throttledUs !== undefined && throttledUs / 1000 > wallMs * QUOTA_SHARE) {
    return `A CPU quota held the measurement back for ${show(throttledUs / 1000)} of ${show(wallMs)} ms: raise the quota of this container or runner.`;
  }
  if (runs.length < 3 * ENOUGH_RUNS) return undefined;
  const third = Math.floor(runs.length / 3);
  const first = runs.slice(0, third);
  const last = runs.slice(-third);
  // Slower as a whole, not in its tail: the last third's fast runs are slower than most of the first third.
  const slower = median(last) / median(first);
  if (slower < DRIFT_RATIO || percentile(last, 0.25) < percentile(first, 0.75)) return undefined;
  return `The last third of the runs is ${show(slower)} times slower than the first: the processor was throttled (heat, power, or another tenant); measure again when it is cool.`;
}

const show = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));
