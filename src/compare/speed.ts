import {
  combinedActivity,
  FEWEST_FOR_MEDIAN,
  type Feeds,
  type HostActivity,
  type Interval,
  median,
  medianInterval,
  percentile,
  ratioOfMedians,
  type Samples,
  seededRandom,
  standing,
  type Timings,
  timedFeeds,
} from '../runtime/index.ts';
import type { Side, Stage } from './stage.ts';

/** How much faster the model is than its reference. */
export interface Speed {
  /**
   * `alternating`: both models loaded, a block of runs of one, then of the other; `blocks`: the same, loading each anew,
   * because both do not fit at once; `stored`: against times of the reference that a baseline holds.
   */
  mode: 'alternating' | 'blocks' | 'stored';
  /** Reference time ÷ model time: the median over pairs of adjacent blocks of the ratio of their medians. */
  speedup: number;
  /** Its 95 % interval; below ten pairs from the lowest to the highest, of one pair that of its runs, of two runs null. */
  interval: { low: number; high: number } | null;
  /** Medians of adjacent blocks, ms, in the order they ran; none for `stored`. */
  pairs: { referenceMs: number; modelMs: number }[];
  /** Wall times of single inferences, ms, in the order they ran; of a block at most fifty, evenly. */
  referenceMs: number[];
  modelMs: number[];
  /** Over all runs, so not paired: their ratio need not be the speed-up. */
  referenceP50Ms: number;
  modelP50Ms: number;
  /** `pairs`: enough to judge by; `time`: `max-seconds` came first. */
  endedBy: 'pairs' | 'time';
  /** What else the machine did meanwhile. */
  host?: HostActivity;
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

/** The part of a `Stage` that timing needs. */
export type TimedStage = Pick<Stage, 'together' | 'runs' | 'measure' | 'rest' | 'lastMs'>;

/** Inferences after loading that do not count. */
const WARMUP = 2;
/** A block: at least so many runs and seconds. */
const BLOCK_RUNS = 6;
const BLOCK_SECONDS = 0.3;
/** Before a block: runs that do not count, while the other model's threads come to rest. */
const LEAD_SECONDS = 0.1;
/** Of longer runs none is spent on that: what spins at their beginning is nothing against them. */
const LONG_MS = 1000;
/** Runs of one block of which the extremes say nothing. */
const MANY_RUNS = 20;
/** Runs of a block that are kept. */
const KEPT_RUNS = 50;
/** Pairs, or blocks against stored times, before anything is concluded. */
const ENOUGH = FEWEST_FOR_MEDIAN;
/** Pairs after which nothing new is to be learned; without a limit to hold against, few are good enough. */
const MOST = 100;
const MOST_WITHOUT_LIMIT = 10;
/** Without a limit, an interval this narrow (high ÷ low − 1) is good enough at once. */
const NARROW = 0.1;

/**
 * Times the reference and the model on the same samples in alternating blocks, whose order alternates too (ABBA), so
 * that drift of the machine hits both alike. Not in single runs: after an inference ONNX Runtime's threads spin for some
 * 40 ms in wait for the next, as they should in production, and would take half the machine from the other model. So a
 * block begins with runs that do not count, until the other process has come to rest.
 */
export async function measureSpeed(stage: TimedStage, samples: Samples, options: SpeedOptions): Promise<Speed> {
  const mode = stage.together ? 'alternating' : 'blocks';
  const feeds = await timedFeeds(samples);
  const taken = new Taken();
  const start = options.clock();
  const secondsLeft = () => options.maxSeconds - (options.clock() - start) / 1000;
  const block = blockOf(feeds);
  let order: [Side, Side] = stage.runs('model') > 0 ? ['model', 'reference'] : ['reference', 'model'];
  for (;;) {
    const [first, second] = order;
    options.signal?.throwIfAborted();
    // A burst may cut this block short, but leaves time for as many pairs as it takes; loading anew is worth long blocks.
    const missing = mode === 'blocks' ? 1 : Math.max(1, ENOUGH - taken.pairs.length);
    const share = (shareOf(stage, first, second) * secondsLeft()) / missing;
    const until = options.clock() + 1000 * Math.max(BLOCK_SECONDS, share);
    await leadIn(stage, first, second, feeds);
    const maxSeconds = Math.min((until - options.clock()) / 1000, secondsLeft() / 2);
    const one = await stage.measure(first, feeds, { ...block, maxSeconds });
    await leadIn(stage, second, first, feeds);
    // As many where the first was cut short: both go through the same samples.
    const rest = one.runs.length < block.runs ? { ...block, runs: one.runs.length, minSeconds: 0 } : block;
    const two = await stage.measure(second, feeds, { ...rest, maxSeconds: Number.POSITIVE_INFINITY });
    taken.add(first, one, second, two);
    order = [second, first];
    options.progress(taken.pairs.length);
    // An interval takes its time, which is better spent on the next pair.
    if (taken.pairs.length < ENOUGH && secondsLeft() > 0) continue;
    const speed = summarize(mode, taken, options.seed);
    if (settled(speed, options.limits)) return { ...speed, endedBy: 'pairs' };
    if (secondsLeft() <= 0) return speed;
  }
}

/** Times the model alone, against times of the reference that were taken before on the same machine. */
export async function measureAgainstStored(
  stage: TimedStage,
  samples: Samples,
  referenceMs: readonly number[],
  options: SpeedOptions,
): Promise<Speed> {
  const feeds = await timedFeeds(samples);
  const taken = new Taken(referenceMs);
  const start = options.clock();
  await leadIn(stage, 'model', undefined, feeds);
  for (;;) {
    options.signal?.throwIfAborted();
    const left = options.maxSeconds - (options.clock() - start) / 1000;
    taken.addModel(await stage.measure('model', feeds, { ...blockOf(feeds), maxSeconds: left }));
    options.progress(taken.runs.model.length);
    const late = options.clock() - start >= options.maxSeconds * 1000;
    const speed = summarize('stored', taken, options.seed);
    if (settled(speed, options.limits)) return { ...speed, endedBy: 'pairs' };
    if (late) return speed;
  }
}

/** What was measured so far. */
class Taken {
  readonly runs: Record<Side, number[]>;
  readonly pairs: Speed['pairs'] = [];
  readonly host: HostActivity[] = [];

  constructor(referenceMs: readonly number[] = []) {
    this.runs = { reference: [...referenceMs], model: [] };
  }

  add(first: Side, one: Timings, second: Side, two: Timings): void {
    const medians = { [first]: median(one.runs), [second]: median(two.runs) } as Record<Side, number>;
    this.pairs.push({ referenceMs: medians.reference, modelMs: medians.model });
    this.#keep(first, one);
    this.#keep(second, two);
  }

  addModel(timings: Timings): void {
    this.#keep('model', timings);
  }

  #keep(side: Side, { runs, host }: Timings): void {
    const step = Math.ceil(runs.length / KEPT_RUNS);
    this.runs[side].push(...runs.filter((_, index) => index % step === 0));
    if (host) this.host.push(host);
  }
}

/** Runs that do not count: until the model is warm, and the other one, whose threads still spin, is at rest. */
async function leadIn(stage: TimedStage, side: Side, other: Side | undefined, feeds: readonly Feeds[]): Promise<void> {
  const lead = async () => {
    const cold = WARMUP - stage.runs(side);
    if (cold > 0) await stage.measure(side, feeds, { warmup: cold - 1, runs: 1, maxSeconds: Infinity });
    if ((stage.lastMs(side) ?? 0) > LONG_MS) return;
    await stage.measure(side, feeds, { warmup: 0, runs: Number.MAX_SAFE_INTEGER, maxSeconds: LEAD_SECONDS });
  };
  await Promise.all([lead(), other && stage.rest(other)]);
}

/** What part of a pair's time the first takes where both run as often; half where that is not known. */
function shareOf(stage: TimedStage, first: Side, second: Side): number {
  const [one, two] = [stage.lastMs(first), stage.lastMs(second)];
  return one === undefined || two === undefined ? 0.5 : one / (one + two);
}

/** At least `BLOCK_RUNS` and `BLOCK_SECONDS`, in whole turns through the samples, whose sizes may differ. */
const blockOf = (feeds: readonly Feeds[]) => ({
  warmup: 0,
  runs: Math.ceil(BLOCK_RUNS / feeds.length) * feeds.length,
  minSeconds: BLOCK_SECONDS,
});

function summarize(mode: Speed['mode'], { pairs, runs, host }: Taken, seed: number): Speed {
  const { value, low, high } = speedupOf(mode, pairs, runs, seed);
  const activity = combinedActivity(host);
  return {
    mode,
    speedup: value,
    interval: pairs.length === 1 ? withinPair(runs) : { low, high },
    pairs,
    referenceMs: runs.reference,
    modelMs: runs.model,
    referenceP50Ms: median(runs.reference),
    modelP50Ms: median(runs.model),
    endedBy: 'time',
    ...(activity ? { host: activity } : {}),
  };
}

/** Where time ended after one pair: as slow against as fast as its runs were. */
function withinPair({ reference, model }: Record<Side, number[]>): Speed['interval'] {
  if (Math.min(reference.length, model.length) < 2) return null;
  const [above, below] = [spanOf(reference), spanOf(model)];
  return { low: above.low / below.high, high: above.high / below.low };
}

/** From the fastest to the slowest; of many, whose slowest was interrupted for as long as ever, the middle nine tenths. */
function spanOf(runs: readonly number[]): { low: number; high: number } {
  const outside = runs.length < MANY_RUNS ? 0 : 0.05;
  return { low: percentile(runs, outside), high: percentile(runs, 1 - outside) };
}

function speedupOf(mode: Speed['mode'], pairs: Speed['pairs'], runs: Record<Side, number[]>, seed: number): Interval {
  const random = seededRandom(seed);
  if (mode === 'stored') return ratioOfMedians(runs.reference, runs.model, random);
  return medianInterval(
    pairs.map(({ referenceMs, modelMs }) => referenceMs / modelMs),
    random,
  );
}

function settled({ mode, interval, pairs, modelMs }: Speed, limits: readonly number[]): boolean {
  const count = mode === 'stored' ? Math.floor(modelMs.length / BLOCK_RUNS) : pairs.length;
  if (count >= MOST) return true;
  if (!interval || count < ENOUGH) return false;
  if (limits.length === 0) return interval.high / interval.low - 1 <= NARROW || count >= MOST_WITHOUT_LIMIT;
  return limits.every((limit) => standing(interval, limit, 'lowest') !== 'undecided');
}
