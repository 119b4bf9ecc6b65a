import path from 'node:path';
import type { Log } from '../receipt/index.ts';
import {
  environment,
  type Feeds,
  type GraphLevel,
  openSession,
  percentile,
  SessionError,
  type SessionOptions,
} from '../runtime/index.ts';

/** The session options that are tried. */
export interface TunedOptions {
  /** Threads within an operator. */
  threads: number;
  arena: boolean;
  graphLevel: GraphLevel;
  prepacking: boolean;
}

export interface Tuning {
  /** P50 with the options that were measured, ms. */
  now: { options: TunedOptions; p50Ms: number };
  /** The best that was found, and how many times as fast; the same as `now` where nothing is faster. */
  best: { options: TunedOptions; p50Ms: number };
  /** P50 now ÷ P50 of the best. */
  gain: number;
  /** All that was tried, in order. */
  tried: { options: TunedOptions; p50Ms: number }[];
  /** What was not tried, and why. */
  notes: string[];
  /** How to set the best options. */
  snippets: { python: string; node: string };
  seconds: number;
}

export interface TuneOptions {
  /** What the model is measured with today; opens one session at a time. */
  session: SessionOptions;
  now: TunedOptions;
  feeds: Feeds[];
  /** Seconds after which nothing new is tried. */
  maxSeconds: number;
  /** Monotonic clock, ms. */
  clock: () => number;
  log: Log;
}

/** Runs of one measurement at most, and before any counts. */
const RUNS = 30;
const WARMUP = 2;
/** What is faster by less than this is noise: nobody should change a service for it. */
const WORTH = 1.03;
/** Measurements in turn of what is now and what seemed best. */
const ROUNDS = 3;

/**
 * Looks for session options with which the model is faster: first the number of threads (1, the physical cores, all),
 * then, with the best of them, each of arena, prepacking and graph level switched. What seems best is measured again in
 * turn with what is now, and only that counts.
 */
export async function tune({ session, now, feeds, maxSeconds, clock, log }: TuneOptions): Promise<Tuning> {
  const started = clock();
  const left = () => maxSeconds - (clock() - started) / 1000;
  const { physicalCores, cores } = environment();
  const threads = [...new Set([now.threads, 1, physicalCores, cores])];
  const switches: Partial<TunedOptions>[] = [
    { arena: !now.arena },
    { prepacking: !now.prepacking },
    ...(['all', 'extended', 'basic'] as const)
      .filter((level) => level !== now.graphLevel)
      .map((graphLevel) => ({ graphLevel })),
  ];
  const steps = threads.length + switches.length + 2 * ROUNDS;
  const tried: Tuning['tried'] = [];
  const notes: string[] = [];
  const measure = async (options: TunedOptions): Promise<number> => {
    const opened = await openSession({ ...session, ...options });
    try {
      return (await opened.measure(feeds, { warmup: WARMUP, runs: RUNS, maxSeconds: maxSeconds / steps })).p50;
    } finally {
      await opened.close();
    }
  };
  let best = { options: now, p50Ms: Number.POSITIVE_INFINITY };
  const attempt = async (options: TunedOptions): Promise<void> => {
    if (tried.length > 0 && left() <= 0) {
      notes.push(`${describe(options)} was not tried: the time was up.`);
      return;
    }
    try {
      const p50Ms = await measure(options);
      tried.push({ options, p50Ms });
      log.info(`Tuning: ${describe(options)}: P50 ${show(p50Ms)} ms.`);
      if (p50Ms < best.p50Ms) best = { options, p50Ms };
    } catch (error) {
      if (!(error instanceof SessionError) || error.kind === 'aborted') throw error;
      notes.push(`${describe(options)} does not work: ${error.message}.`);
    }
  };
  for (const count of threads) await attempt({ ...now, threads: count });
  for (const change of switches) await attempt({ ...best.options, ...change });
  const found = await confirm(now, best.options, measure, tried[0]?.p50Ms ?? best.p50Ms, best.p50Ms, left);
  const file = path.basename(session.model);
  const snippets = { python: pythonSnippet(file, found.best.options), node: nodeSnippet(file, found.best.options) };
  return { ...found, tried, notes, snippets, seconds: (clock() - started) / 1000 };
}

/** Measures both in turn; the times of a first try may be those of another moment. */
async function confirm(
  now: TunedOptions,
  best: TunedOptions,
  measure: (options: TunedOptions) => Promise<number>,
  nowMs: number,
  bestMs: number,
  left: () => number,
): Promise<Pick<Tuning, 'now' | 'best' | 'gain'>> {
  const before: number[] = [];
  const after: number[] = [];
  if (describe(best) !== describe(now)) {
    for (let round = 0; round < ROUNDS && (round === 0 || left() > 0); round++) {
      before.push(await measure(now));
      after.push(await measure(best));
    }
  }
  const [unchanged, changed] = before.length > 0 ? [percentile(before, 0.5), percentile(after, 0.5)] : [nowMs, bestMs];
  const measured = { options: now, p50Ms: unchanged };
  const gain = unchanged / changed;
  if (before.length === 0 || gain < WORTH) return { now: measured, best: measured, gain: 1 };
  return { now: measured, best: { options: best, p50Ms: changed }, gain };
}

/** `2 threads, no arena`: options in words, those that are as usual left out. */
export function describe({ threads, arena, graphLevel, prepacking }: TunedOptions): string {
  const parts = [
    `${threads} ${threads === 1 ? 'thread' : 'threads'}`,
    ...(arena ? [] : ['no arena']),
    ...(graphLevel === 'all' ? [] : [`graph level ${graphLevel}`]),
    ...(prepacking ? [] : ['no prepacking']),
  ];
  return parts.join(', ');
}

/** One sentence for people. */
export function tuningSentence({ now, best, gain }: Tuning): string {
  if (gain === 1)
    return `Tuning: nothing that was tried is faster than ${describe(now.options)} (P50 ${show(now.p50Ms)} ms).`;
  return `Tuning: ${describe(best.options)} is ${gain.toFixed(2)} times as fast as ${describe(now.options)}: P50 ${show(best.p50Ms)} ms instead of ${show(now.p50Ms)} ms.`;
}

function pythonSnippet(file: string, { threads, arena, graphLevel, prepacking }: TunedOptions): string {
  return [
    'options = onnxruntime.SessionOptions()',
    `options.intra_op_num_threads = ${threads}`,
    'options.inter_op_num_threads = 1',
    ...(arena ? [] : ['options.enable_cpu_mem_arena = False']),
    ...(graphLevel === 'all'
      ? []
      : [
          `options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_${graphLevel.toUpperCase()}`,
        ]),
    ...(prepacking ? [] : ['options.add_session_config_entry("session.disable_prepacking", "1")']),
    `session = onnxruntime.InferenceSession(${JSON.stringify(file)}, options, providers=["CPUExecutionProvider"])`,
  ].join('\n');
}

function nodeSnippet(file: string, { threads, arena, graphLevel, prepacking }: TunedOptions): string {
  return [
    `const session = await ort.InferenceSession.create(${JSON.stringify(file)}, {`,
    `  intraOpNumThreads: ${threads},`,
    '  interOpNumThreads: 1,',
    ...(arena ? [] : ['  enableCpuMemArena: false,']),
    ...(graphLevel === 'all' ? [] : [`  graphOptimizationLevel: '${graphLevel}',`]),
    ...(prepacking ? [] : ["  extra: { session: { disable_prepacking: '1' } },"]),
    '});',
  ].join('\n');
}

const show = (ms: number): string => String(Number(ms.toPrecision(3)));
