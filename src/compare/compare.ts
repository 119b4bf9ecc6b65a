import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { InputError } from '../errors.ts';
import { declaredOutputs } from '../model/index.ts';
import {
  createReceipt,
  type FileIdentity,
  pathInReceipt,
  type Receipt,
  receiptPath,
  silentLog,
  writeReceipt,
} from '../receipt/index.ts';
import {
  availableMemory,
  environment,
  openSession,
  type RuntimeLocation,
  resolveRuntime,
  type Samples,
  SessionError,
  type SessionHost,
  startHost,
  withScratch,
} from '../runtime/index.ts';
import {
  type Baseline,
  type BaselineKey,
  cacheBaseline,
  openBaseline,
  type StoredTiming,
  stageOutputs,
  storeOutputs,
  timingFor,
  updateBaseline,
} from './baseline.ts';
import { type Diagnosis, diagnose } from './diagnosis/index.ts';
import { outputFigures, overallFigures } from './figures.ts';
import { type FigureName, judge, type Limits, type Reference, regressionLimit, verdictOf } from './gates.ts';
import { appendHistory, type HistoryEntry, medianFigures, readHistory } from './history.ts';
import { assertFits, declaredBytes, megabytes, memoryNeed } from './memory.ts';
import type { CompareContext, CompareFigures, CompareOptions, CompareResult, SideFigures } from './options.ts';
import { assertOutputs, assertRoom, compareQuality, type Quality } from './quality.ts';
import { measureAgainstStored, measureSpeed, type Speed, type SpeedOptions } from './speed.ts';
import { spoolSpace } from './spool.ts';
import { type Side, type SideRecord, Stage } from './stage.ts';
import {
  assertSameSignature,
  digestSamples,
  readSubject,
  type Subject,
  samplesFor,
  symbolicSizes,
} from './subjects.ts';
import { saveSample } from './worst.ts';

/**
 * Compares a quantized model with its reference on the same samples: how alike their outputs are, and how much faster it
 * is. Each model runs in a process of its own; outputs are spooled to files and compared in chunks, so this process
 * stays small whatever they weigh. Writes the receipt `<model stem>.compare.json` and the worst sample beside it.
 * @throws InputError for models that cannot be compared, samples that do not fit, too little memory or disk
 */
export async function compare(options: CompareOptions, context: Partial<CompareContext> = {}): Promise<CompareResult> {
  try {
    return await compareModels(options, {
      log: silentLog,
      now: () => new Date(),
      clock: () => performance.now(),
      temporaryFolder: tmpdir(),
      availableMemory,
      ...context,
    });
  } catch (error) {
    // A model that does not load or run leaves nothing to compare: the user's to know, in a sentence.
    if (error instanceof SessionError && !context.signal?.aborted)
      throw new InputError(`${error.message}.`, { cause: error });
    throw error;
  }
}

type Context = CompareContext & Required<Pick<CompareContext, 'now' | 'clock' | 'temporaryFolder' | 'availableMemory'>>;

/** A process for each model, started before it is known whether they can be compared: they take a while. */
type Hosts = Partial<Record<Side, SessionHost>>;

/** All that is settled before a model is loaded. */
interface Setup {
  hosts: Hosts;
  options: CompareOptions;
  context: Context;
  reference: Subject;
  model: Subject;
  samples: Samples;
  samplesDigest: string;
  runtime: RuntimeLocation;
  baseline: { directory: string; key: BaselineKey; stored: Baseline } | null;
  /** A time of the reference on this machine, from the baseline. */
  timing: StoredTiming | undefined;
  history: HistoryEntry[];
  references: Reference[];
  notes: string[];
}

async function compareModels(options: CompareOptions, context: Context): Promise<CompareResult> {
  const hosts: Hosts = { reference: startHost(context), model: startHost(context) };
  const started = Object.values(hosts);
  try {
    return await compareIn(hosts, options, context);
  } finally {
    await Promise.all(started.map((host) => host.close()));
  }
}

async function compareIn(hosts: Hosts, options: CompareOptions, context: Context): Promise<CompareResult> {
  const started = context.clock();
  const setup = await prepare(hosts, options, context);
  return withScratch(context.temporaryFolder, 'onnx-compare', async (folder) => {
    const measured = await measure(setup, folder);
    const outputs = outputFigures(measured.quality.samples);
    const figures = overallFigures(outputs);
    const limits = limitsOf(options);
    const evidence = { figures, outputs, speed: measured.speed, maxSeconds: secondsOf(options) };
    const gates = judge(evidence, limits, setup.references);
    const verdict = verdictOf(gates);
    const failing = gates.filter(
      (gate) => gate.verdict === 'fail' || (gate.verdict === 'inconclusive' && !options.allowInconclusive),
    );
    const beforeDiagnosis = context.clock();
    const wanted =
      (options.diagnose ?? true) && gates.some((gate) => gate.name !== 'speedup' && gate.verdict === 'fail');
    const diagnosis = wanted ? await diagnoseLayers(setup, folder, figures.worst.sample) : null;
    const worst = await saveWorst(setup, figures.worst.sample);
    const seconds = {
      total: (context.clock() - started) / 1000,
      own: (measured.records.reference.ownMs + measured.records.model.ownMs) / 1000,
      spooling: (measured.records.reference.spoolMs + measured.records.model.spoolMs) / 1000,
      comparing: measured.quality.comparingMs / 1000,
      diagnosis: (context.clock() - beforeDiagnosis) / 1000,
    };
    const results: CompareFigures = {
      ...figures,
      outputs,
      reference: sideFigures(setup.reference, measured.records.reference, measured.speed.referenceP50Ms),
      model: sideFigures(setup.model, measured.records.model, measured.speed.modelP50Ms),
      speed: measured.speed,
      samples: { count: setup.samples.length, digest: setup.samplesDigest, notes: setup.notes },
      worstSample: { ...worst, output: figures.worst.output, cosine: figures.worst.cosine },
      gates,
      failures: failing.map(({ sentence }) => sentence),
      regressions: gates.flatMap(({ source, verdict: judged, sentence }) =>
        judged === 'fail' && (source === 'baseline' || source === 'history') ? [sentence] : [],
      ),
      diagnosis,
      history: setup.history,
      seconds,
    };
    const receipt = receiptOf(setup, results, verdict, measured.records);
    await remember(setup, receipt, measured.speed, measured.records.reference);
    const report = receiptPath(options.model, 'compare', options.report);
    await writeReceipt(receipt, report);
    return { verdict, failures: results.failures, figures: results, receipt, report };
  });
}

async function prepare(hosts: Hosts, options: CompareOptions, context: Context): Promise<Setup> {
  const { log } = context;
  const signal = context.signal ? { signal: context.signal } : {};
  if (options.maxRegressionPercent !== undefined && !options.baseline && !options.history) {
    throw new InputError('max-regression-percent needs figures to hold against: give baseline or history too.');
  }
  const reference = await readSubject(options.reference);
  const model = await readSubject(options.model);
  assertSameSignature(reference.model, model.model);
  assertOutputs(model.model);
  const runtime = await resolveRuntime({
    log,
    ...signal,
    ...(context.cache ? { cache: context.cache } : {}),
    ...(options.ortPath ? { ortPath: options.ortPath } : {}),
    ...(options.registryUrl ? { registryUrl: options.registryUrl } : {}),
  });
  for (const host of Object.values(hosts)) host.preload(runtime);
  const samples = await samplesFor(reference.model, options);
  const samplesDigest = await digestSamples(samples);
  const provider = options.executionProvider ?? 'auto';
  const key = { reference: reference.root, samples: samplesDigest, ort: runtime.version, provider };
  const baseline = options.baseline
    ? {
        directory: options.baseline,
        key,
        stored: await openBaseline(options.baseline, key, log, context.cache),
      }
    : null;
  const history = options.history ? await readHistory(options.history) : [];
  const notes = [...samples.notes];
  const setup = {
    hosts,
    options,
    context,
    reference,
    model,
    samples,
    samplesDigest,
    runtime,
    baseline,
    history,
    notes,
  };
  return { ...setup, timing: usableTiming(setup), references: pastFigures(setup) };
}

/** Stored times of the reference, if they were taken on this CPU with these threads. */
function usableTiming({ baseline, options, notes }: Pick<Setup, 'baseline' | 'options' | 'notes'>) {
  if (!baseline?.stored.outputs) return undefined;
  const machine = environment();
  const timing = timingFor(baseline.stored, { ...machine, threads: options.threads ?? machine.physicalCores });
  const [other] = baseline.stored.timings;
  if (!timing && other) {
    notes.push(
      `The stored times of the reference are of ${other.cpu} with ${other.threads} threads, not of this machine (${machine.cpu}): they are measured anew.`,
    );
  }
  return timing;
}

/** What `max-regression-percent` holds against. Speed counts only where it was measured on this CPU. */
function pastFigures({
  baseline,
  history,
  options,
  reference,
  notes,
}: Omit<Setup, 'timing' | 'references'>): Reference[] {
  const percent = options.maxRegressionPercent;
  if (percent === undefined) return [];
  const references: Reference[] = [];
  const { cpu } = environment();
  const stored = baseline?.stored.figures;
  if (stored) {
    const { speedup, ...others } = stored.figures;
    const sameCpu = stored.cpu === cpu;
    if (!sameCpu) notes.push(`The baseline's speedup was measured on ${stored.cpu}; on this ${cpu} it is no limit.`);
    const figures = sameCpu && speedup !== undefined ? { ...others, speedup } : others;
    references.push({ source: 'baseline', percent, figures });
  }
  const past = history.filter(({ referenceRoot }) => referenceRoot === reference.root);
  if (past.length > 0) references.push({ source: 'history', percent, figures: medianFigures(past, cpu) });
  return references;
}

interface Measured {
  quality: Quality;
  speed: Speed;
  records: Record<Side, SideRecord>;
}

/** Runs both models: first every sample for quality, then pairs for speed. */
async function measure(setup: Setup, folder: string): Promise<Measured> {
  const { context, options, samples, baseline, timing } = setup;
  const together = await planMemory(setup, folder);
  if (!together) {
    await setup.hosts.model?.close();
    delete setup.hosts.model;
  }
  const stage = new Stage((side) => open(setup, side), together);
  const stored = baseline?.stored.outputs ?? null;
  const keep = baseline && !stored ? await stageOutputs(baseline.directory) : undefined;
  try {
    const quality = await compareQuality(stage, samples, {
      reference: setup.reference.model,
      agreementWanted: options.minAgreement !== undefined,
      folder,
      stored,
      ...(keep ? { keep } : {}),
      ...(context.signal ? { signal: context.signal } : {}),
      sized: (bytes) => replan(setup, stage, folder, bytes),
      progress: (done) => context.log.progress({ label: 'Comparing', done, total: samples.length, unit: 'runs' }),
    });
    const speedOptions: SpeedOptions = {
      maxSeconds: secondsOf(options),
      limits: speedLimits(setup),
      seed: options.seed ?? 0,
      clock: context.clock,
      progress: (done) => context.log.progress({ label: 'Timing', done, total: done, unit: 'runs' }),
      ...(context.signal ? { signal: context.signal } : {}),
    };
    const speed = timing
      ? await measureAgainstStored(stage, samples, timing.ms, speedOptions)
      : await measureSpeed(stage, samples, speedOptions);
    // Together: waiting for freed memory to be given back is idle time.
    await Promise.all([stage.note('reference'), stage.note('model')]);
    if (baseline && keep) await storeOutputs(baseline.stored, baseline.key, keep, quality.kept);
    return { quality, speed, records: { reference: referenceRecord(stage, timing), model: stage.records.model! } };
  } finally {
    await stage.close();
    if (keep) await rm(keep, { recursive: true, force: true });
  }
}

/** The reference as it was seen now or, where it need not run, then. */
function referenceRecord(stage: Stage, timing: StoredTiming | undefined): SideRecord {
  if (stage.records.reference) return stage.records.reference;
  const { loadMs, residentBytes, peakBytes, threads } = timing!;
  return { loadMs: [loadMs], residentBytes, peakBytes, threads, ownMs: 0, spoolMs: 0, provider: '' };
}

/** @returns whether both models fit at once. @throws InputError where one of them does not fit alone */
async function planMemory(setup: Setup, folder: string): Promise<boolean> {
  const { reference, model, samples, context, timing } = setup;
  const sizes = await symbolicSizes(reference.model, samples);
  const outputBytes = declaredBytes(declaredOutputs(reference.model), sizes);
  await assertRoom(folder, outputBytes);
  // Outputs that are spooled to a file system in memory lie there as well.
  const spooled = (await spoolSpace(folder)).inMemory ? 2 * outputBytes : 0;
  const available = context.availableMemory() - spooled;
  const needs = {
    reference: memoryNeed(reference.model, outputBytes, sizes),
    model: memoryNeed(model.model, outputBytes, sizes),
  };
  if (!timing) assertFits('reference', needs.reference, available);
  assertFits('model', needs.model, available);
  const sum = needs.reference.expected + needs.model.expected;
  const together = timing !== undefined || sum <= available * 0.9;
  const figures = `${megabytes(needs.reference.expected)} for the reference and ${megabytes(needs.model.expected)} for the model, ${megabytes(available)} available`;
  context.log.info(`Memory: about ${figures}; ${together ? 'both are loaded at once' : 'one is loaded at a time'}.`);
  return together;
}

/**
 * Holds the plan against what the first run has shown, before the second model is loaded: the real size of the outputs,
 * and memory of the reference beyond its prediction, such as intermediate results, which the model will take as well.
 */
async function replan(setup: Setup, stage: Stage, folder: string, outputBytes: number): Promise<void> {
  const { reference, model, samples, context, timing } = setup;
  await assertRoom(folder, outputBytes);
  if (!stage.together || timing) return;
  const sizes = await symbolicSizes(reference.model, samples);
  const seen = stage.peakBytes('reference') ?? 0;
  const beyond = Math.max(0, seen - memoryNeed(reference.model, outputBytes, sizes).expected);
  const expected = memoryNeed(model.model, outputBytes, sizes).expected + beyond;
  const available = context.availableMemory();
  if (expected <= available) return;
  context.log.info(
    `Memory: the model is expected to take ${megabytes(expected)} and ${megabytes(available)} are left; one is loaded at a time.`,
  );
  await stage.separate();
}

async function open({ hosts, options, context, runtime, reference, model }: Setup, side: Side) {
  const subject = side === 'reference' ? reference : model;
  const host = hosts[side];
  // A model that is loaded again needs a process of its own again.
  delete hosts[side];
  return openSession({
    ...(host ? { host } : {}),
    model: subject.model.path,
    runtime,
    provider: options.executionProvider ?? 'auto',
    ...(options.threads === undefined ? {} : { threads: options.threads }),
    timeoutMs: (options.timeoutSeconds ?? 600) * 1000,
    log: context.log,
    ...(context.signal ? { signal: context.signal } : {}),
  });
}

/** Ranks layers on the worst sample and some others. */
async function diagnoseLayers(setup: Setup, folder: string, worst: number): Promise<Diagnosis> {
  const { reference, model, samples, options, context, runtime } = setup;
  const session = (file: string) =>
    openSession({
      model: file,
      runtime,
      provider: 'cpu',
      ...(options.threads === undefined ? {} : { threads: options.threads }),
      timeoutMs: (options.timeoutSeconds ?? 600) * 1000,
      log: context.log,
      ...(context.signal ? { signal: context.signal } : {}),
    });
  const others = Array.from({ length: samples.length }, (_, index) => index).filter((index) => index !== worst);
  const chosen = [worst, ...others].slice(0, DIAGNOSED_SAMPLES);
  const found = await diagnose(
    reference.model,
    model.model,
    chosen.map((index) => () => samples.get(index)),
    { folder, openSession: session, log: context.log, maxSeconds: DIAGNOSIS_SECONDS, clock: context.clock },
  );
  if (found.excludeNodes.length > 0) context.log.info(`Try exclude-nodes: ${found.excludeNodes.join(', ')}`);
  return found;
}

/** Samples that layers are ranked on: an odd number, so that the median is one of them. */
const DIAGNOSED_SAMPLES = 5;
/** No further sample starts after so long. */
const DIAGNOSIS_SECONDS = 60;

async function saveWorst({ options, reference, samples }: Setup, index: number) {
  const receipt = receiptPath(options.model, 'compare', options.report);
  const saved = receipt.replace(/\.json$/, '-worst');
  await saveSample(saved, await samples.get(index), reference.model);
  return { name: samples.name(index), saved };
}

/** Adds this run to the baseline and the history. */
async function remember(
  { baseline, timing, context, options, model, reference, history }: Setup,
  receipt: Receipt<CompareFigures>,
  speed: Speed,
  record: SideRecord,
): Promise<void> {
  const { results, createdAt, environment: machine } = receipt;
  const { similarity, agreement, mse, mae } = results;
  const figures: Partial<Record<FigureName, number>> = {
    similarity,
    mse,
    mae,
    speedup: speed.speedup,
    ...(agreement === null ? {} : { agreement }),
  };
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
    await updateBaseline(baseline.stored, {
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
    figures,
    referenceP50Ms: speed.referenceP50Ms,
    modelP50Ms: speed.modelP50Ms,
    residentBytes: results.model.residentBytes,
    size: results.model.size,
  };
  await appendHistory(options.history, entry);
  history.push(entry);
}

function receiptOf(
  { options, context, reference, model, runtime }: Setup,
  results: CompareFigures,
  verdict: Receipt['verdict'],
  records: Record<Side, SideRecord>,
): Receipt<CompareFigures> {
  const report = receiptPath(options.model, 'compare', options.report);
  const files = [...reference.files, ...model.files].map(
    ({ path: file, digest: { size, root } }): FileIdentity => ({
      path: pathInReceipt(file, report),
      role: 'read',
      size,
      root,
    }),
  );
  return createReceipt({
    action: 'compare',
    now: context.now(),
    inputs: inputsOf(options),
    modelRoot: model.root,
    files,
    environment: { ...environment(), ort: runtime.version, provider: records.model.provider },
    results,
    verdict,
  });
}

function sideFigures(subject: Subject, { loadMs, residentBytes, peakBytes, threads }: SideRecord, p50Ms: number) {
  const { root, size, model } = subject;
  return {
    path: model.path,
    root,
    size,
    loadMs: loadMs[0]!,
    p50Ms,
    residentBytes,
    peakBytes,
    threads,
  } satisfies SideFigures;
}

function limitsOf({ minSimilarity, minAgreement, maxMse, maxMae, minSpeedup }: CompareOptions): Limits {
  const similarity = minSimilarity === undefined ? 0.98 : minSimilarity;
  return {
    ...(similarity === null ? {} : { minSimilarity: similarity }),
    ...(minAgreement === undefined ? {} : { minAgreement }),
    ...(maxMse === undefined ? {} : { maxMse }),
    ...(maxMae === undefined ? {} : { maxMae }),
    ...(minSpeedup === undefined ? {} : { minSpeedup }),
  };
}

/** Every limit that the speed-up is held to. */
function speedLimits({ options, references }: Setup): number[] {
  const relative = references.flatMap(({ percent, figures: { speedup } }) =>
    speedup === undefined ? [] : [regressionLimit('speedup', speedup, percent)],
  );
  return options.minSpeedup === undefined ? relative : [options.minSpeedup, ...relative];
}

const secondsOf = ({ maxSeconds }: CompareOptions): number => maxSeconds ?? 120;

/** The options by their input names, as text. */
function inputsOf(options: CompareOptions): Record<string, string> {
  const given = Object.entries(options).filter(([, value]) => value !== undefined && value !== null);
  return Object.fromEntries(
    given.map(([key, value]) => [
      key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
      Array.isArray(value) ? value.join(',') : String(value),
    ]),
  );
}
