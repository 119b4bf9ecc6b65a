import type { Log } from '../receipt/index.ts';
import {
  causeOf,
  combinedActivity,
  type Feeds,
  type Interval,
  percentileInterval,
  robustVariation,
  type Session,
  seededRandom,
  standing,
  type Timings,
} from '../runtime/index.ts';
import { latencyLimits } from './gates.ts';
import { inspectTimings } from './hygiene.ts';
import type { Check, LatencyWindow, OpenQuestion, ValidateOptions, ValidateResults } from './types.ts';

const DEFAULTS = { warmup: 3, runs: 100, maxSeconds: 60 };
/** Runs that a P95 needs: five values beyond it. */
const RUNS_FOR_P95 = 100;
/** Windows in all while a cache seems to answer: noise goes away, a cache does not. */
const MOST_CACHED_WINDOWS = 3;
/** Windows in all, so that a receipt stays readable. */
const MOST_WINDOWS = 50;
/** A window of fewer runs can say nothing about its own variation. */
const FEWEST_RUNS = 10;

/**
 * Measures, and goes on in further windows while noise could turn a gate and there is time. The window that varies least
 * counts, however fast or slow it is; all of them are kept.
 */
export async function checkLatency(
  session: Pick<Session, 'measure'>,
  feeds: readonly Feeds[],
  check: Check,
  {
    options,
    results,
    log,
    clock,
  }: { options: ValidateOptions; results: ValidateResults; log: Log; clock: () => number },
): Promise<void> {
  const runs = options.runs ?? DEFAULTS.runs;
  const maxSeconds = options.maxSeconds ?? DEFAULTS.maxSeconds;
  const started = clock();
  const secondsLeft = () => maxSeconds - (clock() - started) / 1000;
  const windows: (LatencyWindow & { timings: Timings })[] = [];
  let chosen = 0;
  for (let again = true; again; ) {
    log.info(
      windows.length === 0
        ? `Measuring ${runs} runs, ${maxSeconds} s at most.`
        : `${windows[chosen]!.hygiene[0]?.message ?? ''} Measuring again.`,
    );
    const warmup = windows.length === 0 ? (options.warmup ?? DEFAULTS.warmup) : 0;
    const timings = await session.measure(feeds, { warmup, runs, maxSeconds: secondsLeft() }, (done) => {
      log.progress({ label: 'Measuring', done: Math.min(done, warmup + runs), total: warmup + runs, unit: 'runs' });
    });
    windows.push(windowOf(timings, options.seed ?? 0));
    if (varies(windows.at(-1)!) < varies(windows[chosen]!)) chosen = windows.length - 1;
    const { p50, hygiene } = windows[chosen]!;
    const cached = hygiene.some(({ kind }) => kind === 'cached');
    again =
      (cached ? windows.length < MOST_CACHED_WINDOWS : openLimits(windows[chosen]!, options).length > 0) &&
      windows.length < MOST_WINDOWS &&
      secondsLeft() * 1000 > Math.min(runs, FEWEST_RUNS) * p50.value;
  }
  const window = windows[chosen]!;
  results.timings = window.timings;
  results.hygiene = window.hygiene;
  results.windows = windows.map(({ timings, ...kept }, index) => ({
    ...kept,
    chosen: index === chosen,
    // The chosen one's runs stand in `timings`.
    ...(index === chosen ? {} : { runs: timings.runs }),
  }));
  report(check, window, windows, { runs, maxSeconds });
  const open: OpenQuestion[] = window.hygiene
    .filter(({ kind }) => kind === 'cached')
    .map(({ message }) => ({ sentence: message }));
  const spent = `${windows.length} ${windows.length === 1 ? 'window' : 'windows'} in ${((clock() - started) / 1000).toFixed(0)} s`;
  for (const { name, limit, input, percentile } of openLimits(window, options)) {
    const { value, low, high } = window[percentile];
    const cause = causeOf(combinedActivity(windows.flatMap(({ host }) => host ?? [])));
    const sentence = `${name} is ${show(value)} ms, between ${show(low)} and ${show(high)} ms, so noise could turn the limit of ${show(limit)} ms (${input}) either way. Of ${spent} the calmest varies by ${percent(window.variation)} (${cause}): give max-seconds more than ${maxSeconds}, or measure when the machine is quieter.`;
    open.push({ input, sentence });
  }
  if (open.length === 0) return;
  check.status = 'inconclusive';
  check.open = open;
}

/** The limits that noise could turn: the figure's interval reaches beyond them, and the times are noisy or throttled. */
function openLimits(window: LatencyWindow, options: ValidateOptions) {
  if (!window.hygiene.some(({ kind }) => kind === 'noisy' || kind === 'throttled')) return [];
  return latencyLimits(options).filter(
    ({ percentile, limit }) => standing(window[percentile], limit, 'highest') === 'undecided',
  );
}

function windowOf(timings: Timings, seed: number): LatencyWindow & { timings: Timings } {
  const interval = (q: number): Interval => percentileInterval(timings.runs, q, seededRandom(seed));
  return {
    p50: interval(0.5),
    p95: interval(0.95),
    variation: robustVariation(timings.runs),
    hygiene: inspectTimings(timings),
    ...(timings.host ? { host: timings.host } : {}),
    timings,
  };
}

/** What windows are chosen by. One that time has cut short, or that a cache answered, comes last. */
function varies({ variation, hygiene, timings }: LatencyWindow & { timings: Timings }): number {
  if (timings.endedBy === 'time' && timings.runs.length < FEWEST_RUNS) return Number.POSITIVE_INFINITY;
  return hygiene.some(({ kind }) => kind === 'cached') ? Number.MAX_VALUE : variation;
}

function report(
  check: Check,
  { timings, variation, hygiene }: LatencyWindow & { timings: Timings },
  windows: readonly LatencyWindow[],
  { runs, maxSeconds }: { runs: number; maxSeconds: number },
): void {
  check.figures.push(
    { name: 'First run', value: timings.firstMs, unit: 'ms' },
    { name: 'P90 latency', value: timings.p90, unit: 'ms' },
    { name: 'P99 latency', value: timings.p99, unit: 'ms' },
    { name: 'Runs', value: timings.runs.length, unit: 'runs' },
  );
  if (windows.length > 1) {
    check.findings.push(
      `${windows.length} windows were measured; the one that varies least (${percent(variation)}) counts.`,
    );
  }
  if (timings.runs.length < RUNS_FOR_P95) {
    const why = timings.endedBy === 'time' ? `max-seconds (${maxSeconds}) ended the measurement` : `runs is ${runs}`;
    check.findings.push(`The P95 is of ${timings.runs.length} runs only and needs ${RUNS_FOR_P95}: ${why}.`);
  }
  check.findings.push(...hygiene.map(({ message }) => message));
}

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
const show = (value: number): string => String(Number(value.toFixed(value >= 1000 ? 1 : 3)));
