import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { InputError } from '../errors.ts';
import { declaredOutputs, weightForms } from '../model/index.ts';
import {
  createReceipt,
  type FileIdentity,
  inputsOf,
  pathInReceipt,
  type Receipt,
  receiptPath,
  silentLog,
  writeReceipt,
} from '../receipt/index.ts';
import {
  availableMemory,
  digestSamples,
  environment,
  resolveRuntime,
  type Samples,
  SessionError,
  withScratch,
} from '../runtime/index.ts';
import { acceptBaseline, refuseBaseline, type StoredTiming, stageOutputs, storeOutputs } from './baseline.ts';
import { type Diagnosis, diagnose, type Ranking } from './diagnosis/index.ts';
import { type Execution, Hosts, openModel } from './execution.ts';
import { outputFigures, overallFigures } from './figures.ts';
import { fitsTogether, type Load, separateWhereTight } from './fit.ts';
import { type Gate, judge, ungatedNotes, verdictOf, warningsOf } from './gates.ts';
import { type Metric, MetricCommand } from './metric.ts';
import type { CompareContext, CompareFigures, CompareOptions, CompareResult, SideFigures } from './options.ts';
import { assertPast, type Past, readPast, remember, speedLimits } from './past.ts';
import { assertOutputs, compareQuality, type Quality } from './quality.ts';
import { isOfReference } from './recheck.ts';
import { measureAgainstStored, measureSpeed, type Speed, type SpeedOptions } from './speed.ts';
import { type Side, type SideRecord, Stage } from './stage.ts';
import {
  assertSameSignature,
  readSubject,
  type Subject,
  type Subjects,
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

/** What is compared, on what, how, and with which earlier runs: settled before a model is loaded. */
interface Setup {
  subjects: Subjects;
  samples: Samples;
  samplesDigest: string;
  execution: Execution;
  past: Past;
}

async function compareModels(options: CompareOptions, context: Context): Promise<CompareResult> {
  const hosts = new Hosts(context);
  try {
    return await compareIn(hosts, options, context);
  } finally {
    await hosts.close();
  }
}

async function compareIn(hosts: Hosts, options: CompareOptions, context: Context): Promise<CompareResult> {
  const started = context.clock();
  const setup = await prepare(hosts, options, context);
  const { subjects, samples, past } = setup;
  return withScratch(context.temporaryFolder, 'onnx-compare', async (folder) => {
    const { quality, metric, speed, records } = await measure(setup, hosts, folder, options, context);
    const outputs = outputFigures(quality.samples, quality.channels);
    const figures = overallFigures(outputs);
    const evidence = {
      figures,
      outputs,
      metric: metric?.value ?? null,
      weights: weightForms(subjects.model.model),
      speed,
      maxSeconds: secondsOf(options),
    };
    const gates = judge(evidence, options, past.references);
    const verdict = verdictOf(gates);
    const failing = gates.filter(
      (gate) => gate.verdict === 'fail' || (gate.verdict === 'inconclusive' && !options.allowInconclusive),
    );
    const beforeDiagnosis = context.clock();
    const rankBy = options.diagnose === false ? null : rankingFor(gates);
    const diagnosis = rankBy ? await diagnoseLayers(setup, rankBy, folder, figures.worst.sample, context) : null;
    const worst = await saveWorst(setup, figures.worst.sample, options);
    const seconds = {
      total: (context.clock() - started) / 1000,
      own: (records.reference.ownMs + records.model.ownMs) / 1000,
      spooling: (records.reference.spoolMs + records.model.spoolMs) / 1000,
      comparing: quality.comparingMs / 1000,
      diagnosis: (context.clock() - beforeDiagnosis) / 1000,
    };
    const results: CompareFigures = {
      ...figures,
      outputs,
      reference: sideFigures(subjects.reference, records.reference, speed.referenceP50Ms),
      model: sideFigures(subjects.model, records.model, speed.modelP50Ms),
      metric,
      speed,
      samples: { count: samples.length, digest: setup.samplesDigest, notes: [...samples.notes, ...past.notes] },
      worstSample: { ...worst, output: figures.worst.output, cosine: figures.worst.cosine },
      notes: [...quality.notes, ...ungatedNotes(evidence, options)],
      gates,
      warnings: warningsOf(evidence, options.warn, gates),
      failures: failing.map(({ sentence }) => sentence),
      regressions: gates.flatMap(({ source, verdict: judged, sentence }) =>
        judged === 'fail' && (source === 'baseline' || source === 'history') ? [sentence] : [],
      ),
      diagnosis,
      history: past.history,
      seconds,
    };
    const receipt = receiptOf(setup, results, verdict, records.model, options, context);
    await remember(past, options, context, subjects, receipt, records.reference);
    const report = receiptPath(options.model, 'compare', options.report);
    await writeReceipt(receipt, report);
    return { verdict, failures: results.failures, figures: results, receipt, report };
  });
}

async function prepare(hosts: Hosts, options: CompareOptions, context: Context): Promise<Setup> {
  assertPast(options);
  if (options.minMetric !== undefined && !options.metricCommand) {
    throw new InputError('min-metric needs a program that measures it: give metric-command too.');
  }
  // onnxruntime-node is found, and loaded by the children, while the models are read.
  const finding = executionOf(options, context);
  finding.then(
    ({ runtime }) => hosts.preload(runtime),
    () => undefined,
  );
  const subjects = { reference: await readSubject(options.reference), model: await readSubject(options.model) };
  const { reference, model } = subjects;
  assertSameSignature(reference.model, model.model);
  assertOutputs(model.model);
  const execution = await finding;
  const samples = await samplesFor(reference.model, options, { ...context, runtime: async () => execution.runtime });
  const samplesDigest = await digestSamples(samples);
  const key = {
    reference: reference.root,
    samples: samplesDigest,
    ort: execution.runtime.version,
    provider: options.executionProvider ?? 'auto',
  };
  const shape = { samples: samples.length, outputs: declaredOutputs(reference.model).map(({ name }) => name) };
  return { subjects, samples, samplesDigest, execution, past: await readPast(options, key, shape, context) };
}

async function executionOf(options: CompareOptions, { log, signal, cache }: Context): Promise<Execution> {
  const { ortPath, registryUrl, executionProvider: provider, threads, timeoutSeconds } = options;
  const runtime = await resolveRuntime({ log, signal, cache, ortPath, registryUrl });
  return { runtime, provider, threads, timeoutSeconds, log, ...(signal ? { signal } : {}) };
}

interface Measured {
  quality: Quality;
  metric: Metric | null;
  speed: Speed;
  records: Record<Side, SideRecord>;
}

/** Runs both models: first every sample for quality, then pairs for speed. */
async function measure(
  { subjects, samples, execution, past }: Setup,
  hosts: Hosts,
  folder: string,
  options: CompareOptions,
  context: Context,
): Promise<Measured> {
  const { baseline, timing } = past;
  const sizes = await symbolicSizes(subjects.reference.model, samples);
  const load: Load = { subjects, sizes, runsReference: timing === undefined, folder, ...context };
  const together = await fitsTogether(load);
  if (!together) await hosts.take('model')?.close();
  const stage = new Stage((side) => openModel(execution, subjects[side].model.path, hosts.take(side)), together);
  if (baseline) await recheck(baseline, stage, samples, folder, context);
  const stored = baseline?.stored.outputs ?? null;
  const keep = baseline && !stored ? await stageOutputs(baseline.directory) : undefined;
  try {
    const program = options.metricCommand ? new MetricCommand(options.metricCommand, folder, samples) : null;
    const quality = await compareQuality(stage, samples, {
      reference: subjects.reference.model,
      rows: { named: options.agreementOutputs ?? [], wanted: options.minAgreement !== undefined },
      folder,
      stored,
      ...(keep ? { keep } : {}),
      ...(context.signal ? { signal: context.signal } : {}),
      sized: (bytes) => separateWhereTight(load, stage, bytes),
      ...(program ? { answered: (index, expected, actual) => program.add(index, expected, actual) } : {}),
      progress: (done) => context.log.progress({ label: 'Comparing', done, total: samples.length, unit: 'runs' }),
    });
    const metric = program ? await program.run(options.timeoutSeconds ?? 600, context.signal) : null;
    const timingSince = context.clock();
    const speedOptions: SpeedOptions = {
      maxSeconds: secondsOf(options),
      limits: speedLimits(options, past),
      seed: options.seed ?? 0,
      clock: context.clock,
      // Its end is known only by the clock: it stops sooner where the figures allow it.
      progress: () => {
        const done = Math.round((context.clock() - timingSince) / 1000);
        context.log.progress({ label: 'Timing', done, total: secondsOf(options), unit: 's' });
      },
      ...(context.signal ? { signal: context.signal } : {}),
    };
    const speed = timing
      ? await measureAgainstStored(stage, samples, timing.ms, speedOptions)
      : await measureSpeed(stage, samples, speedOptions);
    // Together: waiting for freed memory to be given back is idle time.
    await Promise.all([stage.note('reference'), stage.note('model')]);
    if (baseline && keep) await storeOutputs(baseline.stored, baseline.key, keep, quality.kept);
    return {
      quality,
      metric,
      speed,
      records: { reference: referenceRecord(stage, timing), model: stage.records.model! },
    };
  } finally {
    await stage.close();
    if (keep) await rm(keep, { recursive: true, force: true });
  }
}

/** What came out of the cache service counts once the reference has answered like it. */
async function recheck(
  baseline: NonNullable<Past['baseline']>,
  stage: Stage,
  samples: Samples,
  folder: string,
  { log, signal }: Context,
): Promise<void> {
  const { stored, key } = baseline;
  if (!stored.unchecked || !stored.outputs) return;
  const answer = path.join(folder, 'recheck');
  if (await isOfReference(stage, samples, stored.outputs, answer, signal)) await acceptBaseline(stored, key);
  else baseline.stored = await refuseBaseline(stored, log);
  await rm(answer, { recursive: true, force: true });
}

/** The reference as it was seen now or, where it need not run, then. */
function referenceRecord(stage: Stage, timing: StoredTiming | undefined): SideRecord {
  if (stage.records.reference) return stage.records.reference;
  const { loadMs, residentBytes, peakBytes, threads } = timing!;
  return { loadMs: [loadMs], residentBytes, peakBytes, threads, ownMs: 0, spoolMs: 0, provider: '' };
}

/** What layers are to be ranked by, where a gate on what the outputs are fails: by channels where only they tell. */
function rankingFor(gates: readonly Gate[]): Ranking | null {
  const failed = gates.filter(({ name, verdict }) => name !== 'speedup' && verdict === 'fail');
  if (failed.length === 0) return null;
  return failed.every(({ name }) => name === 'channelSimilarity') ? 'channels' : 'error';
}

/** Ranks layers on the worst sample and some others. */
async function diagnoseLayers(
  { subjects, samples, execution }: Setup,
  rankBy: Ranking,
  folder: string,
  worst: number,
  { log, clock }: Context,
): Promise<Diagnosis> {
  const others = Array.from({ length: samples.length }, (_, index) => index).filter((index) => index !== worst);
  const chosen = [worst, ...others].slice(0, DIAGNOSED_SAMPLES);
  const found = await diagnose(
    subjects.reference.model,
    subjects.model.model,
    chosen.map((index) => () => samples.get(index)),
    {
      folder,
      rankBy,
      openSession: (file) => openModel({ ...execution, provider: 'cpu' }, file),
      log,
      maxSeconds: DIAGNOSIS_SECONDS,
      clock,
    },
  );
  if (found.excludeNodes.length > 0) log.info(`Try exclude-nodes: ${found.excludeNodes.join(', ')}`);
  return found;
}

/** Samples that layers are ranked on: an odd number, so that the median is one of them. */
const DIAGNOSED_SAMPLES = 5;
/** No further sample starts after so long. */
const DIAGNOSIS_SECONDS = 60;

async function saveWorst({ subjects, samples }: Setup, index: number, options: CompareOptions) {
  const receipt = receiptPath(options.model, 'compare', options.report);
  const saved = receipt.replace(/\.json$/, '-worst');
  await saveSample(saved, await samples.get(index), subjects.reference.model);
  return { name: samples.name(index), saved };
}

function receiptOf(
  { subjects: { reference, model }, execution }: Setup,
  results: CompareFigures,
  verdict: Receipt['verdict'],
  { provider }: SideRecord,
  options: CompareOptions,
  context: Context,
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
    environment: { ...environment(), ort: execution.runtime.version, provider },
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

const secondsOf = ({ maxSeconds }: CompareOptions): number => maxSeconds ?? 120;
