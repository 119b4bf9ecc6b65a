import type { Measured } from './journal.ts';
import type { Gates } from './options.ts';

/** A gate that does not hold. */
export interface Lack {
  /** Half a sentence: `similarity 0.9412 below 0.98`. */
  text: string;
  /** Whether giving layers back can mend it. */
  quality: boolean;
  /** How far from the limit, in units of what the limit leaves. */
  gap: number;
}

/**
 * Of what a limit leaves (1 − limit), the part that a model must keep clear of it on the samples that choose. Channels
 * take more: variants with .920 to .933 on the samples that chose them fell to .879 to .897 on others.
 */
const MARGIN = { similarity: 0.25, channels: 0.5 };

/**
 * The gates that figures do not pass. `margin`: with a distance from the limits of quality, for figures that decide what
 * comes next. A time fails only where the interval says so: what only stores weights is as fast as FP32, and noise must
 * not decide.
 */
export function lacksOf(measured: Measured, gates: Gates, margin: boolean): Lack[] {
  const lacks: Lack[] = [];
  const { similarity, channelSimilarity, notFinite, unequal, metric, sizeRatio, slowdown } = measured;
  const least = (name: string, figure: number, limit: number, share: number) => {
    const held = margin ? limit + share * (1 - limit) : limit;
    if (figure >= held) return;
    const clear = figure >= limit ? ` by less than the margin (${round(held)})` : '';
    const text = clear ? `${name} ${round(figure)} above ${limit}${clear}` : `${name} ${round(figure)} below ${limit}`;
    lacks.push({ text, quality: true, gap: (held - figure) / (1 - limit) });
  };
  if (notFinite > 0) lacks.push({ text: `${notFinite} values NaN or infinite`, quality: true, gap: 1e3 });
  if (unequal > 0) {
    const text = `${round(100 * unequal)} % of an output that holds no floats differ`;
    lacks.push({ text, quality: true, gap: unequal });
  }
  least('similarity', similarity, gates.minSimilarity, MARGIN.similarity);
  if (channelSimilarity !== null) {
    least('channel-similarity', channelSimilarity, gates.minChannelSimilarity, MARGIN.channels);
  } else if (gates.channelsGiven && margin) {
    lacks.push({ text: 'no output has channels for min-channel-similarity', quality: false, gap: 1 });
  }
  if (gates.minMetric !== undefined && !(metric !== null && metric >= gates.minMetric)) {
    const gap = metric === null ? 1 : (gates.minMetric - metric) / Math.max(1e-9, Math.abs(gates.minMetric));
    lacks.push({ text: `metric ${metric} below ${gates.minMetric}`, quality: true, gap });
  }
  if (sizeRatio > gates.maxSizeRatio) {
    lacks.push({ text: `${round(sizeRatio)} of the size, above ${gates.maxSizeRatio}`, quality: false, gap: 1 });
  }
  if (slowdown && slowdown.low > gates.maxSlowdown) {
    const text = `${round(slowdown.value)} of the time, above ${gates.maxSlowdown}`;
    lacks.push({ text, quality: false, gap: 1 });
  }
  return lacks;
}

/** How far a model is from the limits of quality, all together; 0 where it passes them. */
export function gapOf(measured: Measured, gates: Gates): number {
  const lacks = lacksOf(measured, gates, true).filter(({ quality }) => quality);
  return lacks.reduce((sum, { gap }) => sum + gap, 0);
}

/** Within 5 % of the best figure the next one decides: the size, and for `size` the time. */
const NEAR = 1.05;

/**
 * The models in the order in which they are to be taken. A time that cannot be told from the best one is as good, so that
 * noise does not decide; not so where `promising`, which asks what is worth trying.
 */
export function preferred<T extends Measured>(
  trials: readonly T[],
  { prefer }: Gates,
  { promising = false }: { promising?: boolean } = {},
): T[] {
  const timeOf = ({ slowdown }: Measured) => slowdown?.value ?? Number.POSITIVE_INFINITY;
  const sizeOf = ({ sizeRatio }: Measured) => sizeRatio;
  const memoryOf = ({ residentBytes }: Measured) => residentBytes ?? Number.POSITIVE_INFINITY;
  const first = { speed: timeOf, size: sizeOf, memory: memoryOf }[prefer];
  const second = prefer === 'size' ? timeOf : sizeOf;
  const isNear = (trial: Measured, best: number) =>
    first(trial) <= best * NEAR ||
    (!promising && prefer === 'speed' && trial.slowdown !== null && trial.slowdown.low <= best);
  const left = [...trials].sort((a, b) => first(a) - first(b) || second(a) - second(b));
  const ordered: T[] = [];
  while (left.length > 0) {
    const near = left.filter((trial) => isNear(trial, first(left[0]!)));
    const next = near.reduce((best, trial) => (second(trial) < second(best) ? trial : best), near[0]!);
    ordered.push(next);
    left.splice(left.indexOf(next), 1);
  }
  return ordered;
}

/** Those whose times noise alone makes as good as the best one's, and the time that each would have to beat. */
export function undecided<T extends Measured>(trials: readonly T[]): { trial: T; slowdown: number }[] {
  const timed = trials.flatMap((trial) => (trial.slowdown ? [{ trial, ...trial.slowdown }] : []));
  const best = Math.min(...timed.map(({ value }) => value));
  return timed
    .filter(({ value, low }) => value > best * NEAR && low <= best * NEAR)
    .map(({ trial }) => ({ trial, slowdown: best * NEAR }));
}

export const round = (figure: number): number => Number(figure.toFixed(4));
