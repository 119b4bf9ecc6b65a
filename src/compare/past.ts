import path from 'node:path';
import { InputError } from '../errors.ts';
import type { Receipt } from '../receipt/index.ts';
import { environment } from '../runtime/index.ts';
import {
  type Baseline,
  type BaselineKey,
  cacheBaseline,
  openBaseline,
  type StoredTiming,
  timingFor,
  updateBaseline,
} from './baseline.ts';
import { FIGURES, type FigureName, type Reference, regressionLimit } from './gates.ts';
import { appendHistory, type HistoryEntry, medianFigures, readHistory } from './history.ts';
import type { CompareContext, CompareFigures, CompareOptions } from './options.ts';
import type { SideRecord } from './stage.ts';
import type { Subjects } from './subjects.ts';

/** What earlier runs have left: the reference's outputs and times, and figures to be held against. */
export interface Past {
  baseline: { directory: string; key: BaselineKey; stored: Baseline } | null;
  /** A time of the reference on this machine, from the baseline. */
  timing: StoredTiming | undefined;
  history: HistoryEntry[];
  references: Reference[];
  /** What of it does not count here, and why. */
  notes: string[];
}

/** @throws InputError for options that contradict each other, and for files that are none of ours */
export async function readPast(
  options: CompareOptions,
  key: BaselineKey,
  shape: { samples: number; outputs: readonly string[] },
  context: CompareContext,
): Promise<Past> {
  const baseline = options.baseline
    ? {
        directory: options.baseline,
        key,
        stored: await openBaseline(options.baseline, key, shape, context.log, context.cache),
      }
    : null;
  const history = options.history ? await readHistory(options.history, context.log) : [];
  const notes: string[] = [];
  if (baseline?.stored.unchecked) {
    notes.push(
      "The reference's outputs come from the cache service (from-cache): it answers to one sample itself, and its times are measured anew.",
    );
  }
  const timing = baseline ? usableTiming(baseline.stored, options.threads, notes) : undefined;
  const references = pastFigures(baseline?.stored, history, key.reference, options.maxRegressionPercent, notes);
  return { baseline, timing, history, references, notes };
}

/** @throws InputError where `max-regression-percent` has nothing to hold against */
export function assertPast({ maxRegressionPercent, baseline, history }: CompareOptions): void {
  if (maxRegressionPercent === undefined || baseline || history) return;
  throw new InputError('max-regression-percent needs figures to hold against: give baseline or history too.');
}

/** Every limit that the speed-up is held to. */
export function speedLimits({ minSpeedup }: CompareOptions, { references }: Past): number[] {
  const relative = references.flatMap(({ percent, figures: { speedup } }) =>
    speedup === undefined ? [] : [regressionLimit('speedup', speedup, percent)],
  );
  return minSpeedup === undefined ? relative : [minSpeedup, ...relative];
}

/** Adds this run to the baseline and the history. `record` is what was seen of the reference. */
export async function remember(
  { baseline, timing, history }: Past,
  options: CompareOptions,
  context: CompareContext,
  { reference, model }: Subjects,
  receipt: Receipt<CompareFigures>,
  record: SideRecord,
): Promise<void> {
  const { results, createdAt, environment: machine } = receipt;
  const { speed } = results;
  const figures = figuresOf(results);
  if (baseline) {
    const fresh: StoredTiming = {
      cpu: machine.cpu,
      cores: machine.cores,
      threads: record.threads,
      measuredAt: createdAt,
      ms: speed.referenceMs,
      loadMs: results.reference.loadMs,
      residentBytes: record.residentBytes,
      peakBytes: record.peakBytes,
    };
    const first = !baseline.stored.figures && receipt.verdict === 'pass';
    const stored = { cpu: machine.cpu, measuredAt: createdAt, modelRoot: model.root, figures };
    await updateBaseline(baseline.stored, baseline.key, {
      ...(timing ? {} : { timing: fresh }),
      ...(first ? { figures: stored } : {}),
    });
    if (!baseline.stored.outputs && context.cache) await cacheBaseline(baseline.stored, context.cache, context.log);
  }
  if (!options.history) return;
  const entry: HistoryEntry = {
    createdAt,
    model: path.basename(options.model),
    modelRoot: model.root,
    referenceRoot: reference.root,
    cpu: machine.cpu,
    verdict: receipt.verdict,
    ...(results.regressions.length > 0 ? { regressed: true } : {}),
    figures,
    referenceP50Ms: speed.referenceP50Ms,
    modelP50Ms: speed.modelP50Ms,
    residentBytes: results.model.residentBytes,
    size: results.model.size,
  };
  await appendHistory(options.history, entry);
  history.push(entry);
}

/** Stored times of the reference, if they were taken on this CPU with these threads. */
function usableTiming(stored: Baseline, threads: number | undefined, notes: string[]): StoredTiming | undefined {
  if (!stored.outputs || stored.unchecked) return undefined;
  const machine = environment();
  const timing = timingFor(stored, { ...machine, threads: threads ?? machine.physicalCores });
  const [other] = stored.timings;
  if (!timing && other) {
    notes.push(
      `The stored times of the reference are of ${other.cpu} with ${other.threads} threads, not of this machine (${machine.cpu}): they are measured anew.`,
    );
  }
  return timing;
}

/** What `max-regression-percent` holds against. Speed counts only where it was measured on this CPU. */
function pastFigures(
  baseline: Baseline | undefined,
  history: readonly HistoryEntry[],
  referenceRoot: string,
  percent: number | undefined,
  notes: string[],
): Reference[] {
  if (percent === undefined) return [];
  const references: Reference[] = [];
  const { cpu } = environment();
  const stored = baseline?.figures;
  if (stored) {
    const { speedup, ...others } = stored.figures;
    const sameCpu = stored.cpu === cpu;
    if (!sameCpu) notes.push(`The baseline's speedup was measured on ${stored.cpu}; on this ${cpu} it is no limit.`);
    const figures = sameCpu && speedup !== undefined ? { ...others, speedup } : others;
    references.push({ source: 'baseline', percent, figures });
  }
  const past = history.filter((entry) => entry.referenceRoot === referenceRoot);
  if (past.length > 0) references.push({ source: 'history', percent, figures: medianFigures(past, cpu) });
  return references;
}

/** The figures that later runs are held against; those that this run does not have are absent. */
function figuresOf(results: CompareFigures): Partial<Record<FigureName, number>> {
  const figures = { ...results, speedup: results.speed.speedup, metric: results.metric?.value ?? null };
  const all = FIGURES.map((name) => [name, figures[name]] as const);
  return Object.fromEntries(all.filter(([, value]) => value !== null));
}
