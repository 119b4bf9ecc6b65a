import { median, type Samples } from '../runtime/index.ts';
import type { Side, Stage } from './stage.ts';
import { type Interval, MIN_VALUES, medianOfRatios, ratioOfMedians } from './statistics.ts';

/** How much faster the model is than its reference. */
export interface Speed {
  /**
   * `alternating`: pairs, both models loaded; `blocks`: runs of one model, then of the other, because both do not fit at
   * once; `stored`: against times of the reference that a baseline holds.
   */
  mode: 'alternating' | 'blocks' | 'stored';
  /** Reference time ÷ model time, the median of the pairs. */
  speedup: number;
  /** 95 % confidence interval; null for too few pairs to have one. */
  interval: { low: number; high: number } | null;
  /** Wall times of single inferences, ms, in the order they ran. */
  referenceMs: number[];
  modelMs: number[];
  referenceP50Ms: number;
  modelP50Ms: number;
  /** `pairs`: enough to judge by; `time`: `max-seconds` came first. */
  endedBy: 'pairs' | 'time';
}

export interface SpeedOptions {
  maxSeconds: number;
  /** Limits that the speed-up is held to: pairs are collected until its interval lies on one side of each. */
  limits: readonly number[];
  seed: number;
  signal?: AbortSignal;
  /** Monotonic clock, ms. */
  clock: () => number;
  progress: (pairs: number) => void;
}

/** Inferences after loading that do not count. */
const WARMUP = 2;
/** Pairs before anything is concluded. */
const ENOUGH = 10;
/** Pairs after which nothing new is to be learned. */
const MOST = 200;
/** Without a limit to hold against, an interval this narrow (high ÷ low − 1) is good enough. */
const NARROW = 0.1;
/** Pairs of a block. */
const BLOCK = 6;

/**
 * Times the reference and the model on the same samples, in pairs whose order alternates (ABBA), so that drift of the
 * machine hits both alike.
 */
export async function measureSpeed(stage: Stage, samples: Samples, options: SpeedOptions): Promise<Speed> {
  const mode = stage.together ? 'alternating' : 'blocks';
  const times: Record<Side, number[]> = { reference: [], model: [] };
  const start = options.clock();
  const secondsLeft = () => options.maxSeconds - (options.clock() - start) / 1000;
  let order: Side[] = stage.runs('model') > 0 ? ['model', 'reference'] : ['reference', 'model'];
  for (;;) {
    const [first, second] = order as [Side, Side];
    const before = times[first].length;
    const wanted = mode === 'blocks' ? BLOCK : 1;
    const half = secondsLeft() / 2;
    await warmUp(stage, first, samples);
    do {
      await time(stage, first, samples, times, options.signal);
    } while (times[first].length < before + wanted && secondsLeft() > half);
    await warmUp(stage, second, samples);
    while (times[second].length < times[first].length) await time(stage, second, samples, times, options.signal);
    order = [second, first];
    options.progress(times.model.length);
    // An interval takes its time, which is better spent on the next pair.
    if (times.model.length < ENOUGH && secondsLeft() > 0) continue;
    const speed = summarize(mode, times, options);
    if (settled(speed, options.limits)) return { ...speed, endedBy: 'pairs' };
    if (secondsLeft() <= 0) return speed;
  }
}

/** Times the model alone, against times of the reference that were taken before on the same machine. */
export async function measureAgainstStored(
  stage: Stage,
  samples: Samples,
  referenceMs: readonly number[],
  options: SpeedOptions,
): Promise<Speed> {
  const times: Record<Side, number[]> = { reference: [...referenceMs], model: [] };
  const start = options.clock();
  await warmUp(stage, 'model', samples);
  for (;;) {
    await time(stage, 'model', samples, times, options.signal);
    options.progress(times.model.length);
    const late = options.clock() - start >= options.maxSeconds * 1000;
    if (times.model.length < ENOUGH && !late) continue;
    const speed = summarize('stored', times, options);
    if (settled(speed, options.limits)) return { ...speed, endedBy: 'pairs' };
    if (late) return speed;
  }
}

async function warmUp(stage: Stage, side: Side, samples: Samples): Promise<void> {
  while (stage.runs(side) < WARMUP) await stage.run(side, await samples.get(stage.runs(side) % samples.length), {});
}

async function time(
  stage: Stage,
  side: Side,
  samples: Samples,
  times: Record<Side, number[]>,
  signal: AbortSignal | undefined,
): Promise<void> {
  signal?.throwIfAborted();
  const feeds = await samples.get(times[side].length % samples.length);
  times[side].push((await stage.run(side, feeds, {})).ms);
}

function summarize(mode: Speed['mode'], times: Record<Side, number[]>, { seed }: SpeedOptions): Speed {
  const enough = Math.min(times.reference.length, times.model.length) >= MIN_VALUES;
  const { value, low, high } = speedupOf(mode, times, seed);
  return {
    mode,
    speedup: value,
    interval: enough ? { low, high } : null,
    referenceMs: times.reference,
    modelMs: times.model,
    referenceP50Ms: median(times.reference),
    modelP50Ms: median(times.model),
    endedBy: 'time',
  };
}

function speedupOf(mode: Speed['mode'], times: Record<Side, number[]>, seed: number): Interval {
  if (mode === 'stored') return ratioOfMedians(times.reference, times.model, seed);
  const pairs = times.model.map((denominator, pair) => ({ numerator: times.reference[pair]!, denominator }));
  return medianOfRatios(pairs, seed);
}

function settled({ interval, modelMs }: Speed, limits: readonly number[]): boolean {
  if (modelMs.length >= MOST) return true;
  if (!interval || modelMs.length < ENOUGH) return false;
  if (limits.length === 0) return interval.high / interval.low - 1 <= NARROW || modelMs.length >= 4 * ENOUGH;
  return limits.every((limit) => interval.low >= limit || interval.high < limit);
}
