import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { settleInputs } from '../inputs/index.ts';
import { declaredInputs, type Model, weightForms } from '../model/index.ts';
import {
  createReceipt,
  type FileIdentity,
  inputsOf,
  pathInReceipt,
  receiptPath,
  silentLog,
  type Verdict,
  writeReceipt,
} from '../receipt/index.ts';
import {
  ELEMENT_BYTES,
  elementCount,
  environment,
  type Feeds,
  loadSamples,
  openSession,
  placeNodes,
  type RuntimeLocation,
  resolveRuntime,
  type Session,
  SessionError,
  type SessionHost,
  type SessionOptions,
  startHost,
  TIMED_SAMPLES,
  timedFeeds,
  type ValueInfo,
  valueInfoOf,
  withScratch,
} from '../runtime/index.ts';
import { applyGates } from './gates.ts';
import { checkInference } from './inference.ts';
import { checkIntegrity, type Integrity } from './integrity.ts';
import { checkLatency } from './latency.ts';
import { repeatLoad } from './load.ts';
import { type Tuning, tune, tuningSentence } from './tune.ts';
import type { Check, CheckName, ValidateContext, ValidateOptions, ValidateResult, ValidateResults } from './types.ts';

const DEFAULT_TIMEOUT_SECONDS = 600;
/** Outputs from this size on are not kept in the arena unless told so. */
const LARGE_OUTPUT_BYTES = 256 * 2 ** 20;
const TUNE_SECONDS = 60;
const MB = 1e6;

/**
 * Checks one model: integrity, load, inference, latency, resources, each with its limits. The model's faults are the
 * result's; the receipt is written whatever the verdict.
 * @throws InputError for options, samples or a provider that do not fit, and where there is no model at all
 */
export async function validate(options: ValidateOptions, context: ValidateContext = {}): Promise<ValidateResult> {
  const started = performance.now();
  // It starts while the files are looked at.
  const host = startHost(context);
  try {
    return await validateIn(host, started, options, context);
  } finally {
    await host.close();
  }
}

async function validateIn(
  host: SessionHost,
  started: number,
  options: ValidateOptions,
  context: ValidateContext,
): Promise<ValidateResult> {
  return withScratch(context.temporaryFolder ?? tmpdir(), 'onnx-validate', async (scratch) => {
    // onnxruntime-node is found, and loaded by the child, while the files are read.
    const finding = findRuntime(options, context);
    finding.then(
      (runtime) => host.preload(runtime),
      () => undefined,
    );
    const integrity = await checkIntegrity(options, context, scratch);
    const results: ValidateResults = {
      checks: [integrity.check],
      warnings: [],
      hygiene: [],
      sizeMb: integrity.files.reduce((sum, { digest }) => sum + digest.size, 0) / MB,
      seconds: 0,
    };
    if (integrity.model) results.weights = weightForms(integrity.model);
    if (integrity.model && integrity.check.status === 'pass') {
      await checkSession({ host, finding, options, context, scratch, model: integrity.model, results });
    }
    completeChecks(results);
    applyGates(results, options);
    results.seconds = (performance.now() - started) / 1000;
    return report(options, context, integrity, results);
  });
}

function findRuntime(options: ValidateOptions, { log, signal, cache }: ValidateContext): Promise<RuntimeLocation> {
  return resolveRuntime({ log, signal, cache, ortPath: options.ortPath, registryUrl: options.registryUrl });
}

interface Work {
  host: SessionHost;
  finding: Promise<RuntimeLocation>;
  options: ValidateOptions;
  context: ValidateContext;
  scratch: string;
  model: Model;
  results: ValidateResults;
}

/** Everything that takes a session. A session that fails fails the check it was in; later ones are skipped. */
async function checkSession(work: Work): Promise<void> {
  const { options, context, results } = work;
  const { log = silentLog } = context;
  const runtime = await work.finding;
  results.runtime = { version: runtime.version, source: runtime.source };
  const load = addCheck(results, 'load');
  let current = load;
  try {
    const settled = options.samples ? undefined : await settle(work, runtime);
    const opening = openSession({ ...sessionOptions(work, runtime), host: work.host });
    // Samples are made while the model loads; what loading says is heard afterwards.
    opening.catch(() => undefined);
    const samples = await loadSamples(options.samples, declaredInputs(work.model).map(valueInfoOf), {
      ...(options.dims ? { dims: options.dims } : {}),
      ...(options.ranges ? { ranges: options.ranges } : {}),
      ...(options.seed === undefined ? {} : { seed: options.seed }),
      ...(settled ? { settled } : {}),
      count: TIMED_SAMPLES,
    });
    const feeds = await timedFeeds(samples);
    const session = await opening;
    recordLoad(session, load, results);
    results.samples = { count: samples.length, notes: samples.notes };
    log.info(`Loaded in ${session.load.ms.toFixed(0)} ms; looking at what it answers.`);
    current = addCheck(results, 'inference');
    const inference = await checkInference(session, samples, work.model, work.scratch, options);
    Object.assign(current, inference.check);
    results.outputs = inference.outputs.map(({ digest: _, ...output }) => output);
    current = addCheck(results, 'latency');
    await checkLatency(session, feeds, current, { options, results, log, clock: () => performance.now() });
    current = addCheck(results, 'resources');
    await checkResources(session, current, results);
    // The process ends while the receipt is written; whoever started it waits for that.
    const closed = session.close();
    results.ownSeconds = session.ownMs / 1000;
    current = load;
    const loadAgain = async () => {
      await closed;
      const again = await openSession(sessionOptions(work, runtime));
      await again.close();
      return again.load;
    };
    await repeatLoad(session.load, loadAgain, load, { options, results, log });
    const onCpu = session.load.provider.got === 'cpu';
    if (onCpu && !options.tune) return;
    await closed;
    if (options.tune) results.tuning = await tuneSession(work, runtime, session, feeds);
    if (!onCpu) await checkPlacement(work, runtime, await samples.get(0), load);
  } catch (error) {
    if (!(error instanceof SessionError) || error.kind === 'aborted') throw error;
    current.status = 'fail';
    current.failures.push(`${error.message}.`);
    // The operators are part of a model's integrity, though only loading it tells.
    if (error.kind === 'unsupported-operator') {
      const integrity = results.checks[0]!;
      integrity.status = 'fail';
      integrity.findings.push('An operator of the model is missing in this runtime: see load.');
    }
  }
}

/** What the model is fed where nobody brings samples. */
function settle({ model, options, context, scratch }: Work, runtime: RuntimeLocation) {
  const { settled, spell, log = silentLog, signal } = context;
  return settleInputs(
    model,
    { ...options, count: TIMED_SAMPLES },
    {
      runtime: async () => runtime,
      temporaryFolder: scratch,
      log,
      settled,
      spell,
      signal,
    },
  );
}

function sessionOptions({ options, context, model }: Work, runtime: RuntimeLocation): SessionOptions {
  const { log = silentLog, signal } = context;
  return {
    model: options.model,
    runtime,
    provider: options.executionProvider ?? 'auto',
    arena: options.arena === 'off' ? false : options.arena === 'on' || declaredOutputBytes(model) < LARGE_OUTPUT_BYTES,
    timeoutMs: (options.timeoutSeconds ?? DEFAULT_TIMEOUT_SECONDS) * 1000,
    log,
    ...(options.threads === undefined ? {} : { threads: options.threads }),
    ...(signal ? { signal } : {}),
  };
}

/** Looks for better session options, once the session of the checks is closed. */
async function tuneSession(
  work: Work,
  runtime: RuntimeLocation,
  { threads, arena }: Session,
  feeds: Feeds[],
): Promise<Tuning> {
  const { options, context } = work;
  const { log = silentLog } = context;
  const tuning = await tune({
    session: sessionOptions(work, runtime),
    now: { threads, arena, graphLevel: 'all', prepacking: true },
    feeds,
    maxSeconds: options.maxSeconds ?? TUNE_SECONDS,
    clock: () => performance.now(),
    log,
  });
  log.info(tuningSentence(tuning));
  return tuning;
}

/** Bytes of all outputs whose shapes are fixed; symbolic sizes count as 1. */
function declaredOutputBytes(model: Model): number {
  let bytes = 0;
  for (const { type } of model.proto.graph?.output ?? []) {
    if (type?.value.case !== 'tensorType') continue;
    const dims = type.value.value.shape?.dim ?? [];
    const sizes = dims.map(({ value }) => (value.case === 'dimValue' ? Number(value.value) : 1));
    bytes += elementCount(sizes) * ELEMENT_BYTES.float32;
  }
  return bytes;
}

function recordLoad(session: Session, check: Check, results: ValidateResults): void {
  const { ms, baselineBytes, provider, outputs } = session.load;
  results.loadMs = ms;
  results.baselineMb = baselineBytes / MB;
  results.provider = provider;
  results.threads = session.threads;
  results.arena = session.arena;
  check.figures.push({ name: 'Resident after loading', value: session.load.residentBytes / MB, unit: 'MB' });
  for (const { provider: name, reason } of provider.refused)
    check.findings.push(`Provider ${name} was tried in vain: ${reason}.`);
  if (!session.arena) {
    check.findings.push(
      `The memory arena is off, because it would keep the large outputs (${outputs.map(signature).join(', ')}).`,
    );
  }
}

const signature = ({ name, dtype, dims }: ValueInfo): string => `${name} ${dtype}[${dims.join(',')}]`;

async function checkResources(session: Session, check: Check, results: ValidateResults): Promise<void> {
  const { residentBytes, peakBytes } = await session.memory();
  results.memoryMb = residentBytes / MB;
  results.peakMemoryMb = peakBytes / MB;
  check.figures.push({
    name: 'Node and onnxruntime without the model',
    value: session.load.baselineBytes / MB,
    unit: 'MB',
  });
  const { firstMs, p50 } = results.timings!;
  check.figures.push({ name: 'First run ÷ P50: what a warm-up is worth', value: firstMs / p50, unit: 'x' });
}

/** Says which nodes a GPU provider left to the CPU; one profiled inference in a session of its own. */
async function checkPlacement(work: Work, runtime: RuntimeLocation, feeds: Feeds, check: Check): Promise<void> {
  const { results, scratch } = work;
  const nodes = await placeNodes(
    sessionOptions(work, runtime),
    feeds,
    (file) => readFile(file, 'utf8'),
    path.join(scratch, 'profile'),
  );
  const placement: Record<string, number> = {};
  for (const { provider } of nodes) placement[provider] = (placement[provider] ?? 0) + 1;
  results.placement = placement;
  results.fallbacks = nodes.filter(({ provider }) => provider !== results.provider?.got);
  check.figures.push({ name: 'Nodes on the CPU', value: results.fallbacks.length, unit: 'nodes' });
  if (results.fallbacks.length > 0) {
    const operators = [...new Set(results.fallbacks.map(({ op }) => op))].join(', ');
    check.findings.push(`${results.fallbacks.length} of ${nodes.length} nodes fell back to the CPU (${operators}).`);
  }
}

const ALL_CHECKS: readonly CheckName[] = ['integrity', 'load', 'inference', 'latency', 'resources'];

function addCheck(results: ValidateResults, name: CheckName): Check {
  const check: Check = { name, status: 'pass', figures: [], failures: [], findings: [] };
  results.checks.push(check);
  return check;
}

/** The checks that were never reached stand in the table too. */
function completeChecks(results: ValidateResults): void {
  for (const name of ALL_CHECKS) {
    if (results.checks.some((check) => check.name === name)) continue;
    results.checks.push({ name, status: 'skipped', figures: [], failures: [], findings: ['An earlier check failed.'] });
  }
}

async function report(
  options: ValidateOptions,
  context: ValidateContext,
  integrity: Integrity,
  results: ValidateResults,
): Promise<ValidateResult> {
  const verdict = verdictOf(results.checks);
  const file = receiptPath(options.model, 'validate', options.report);
  const files = integrity.files.map(
    ({ path: each, digest }): FileIdentity => ({
      path: pathInReceipt(each, file),
      role: 'read',
      size: digest.size,
      root: digest.root,
      chunks: digest.chunks,
    }),
  );
  const receipt = createReceipt<ValidateResults>({
    now: (context.now ?? (() => new Date()))(),
    action: 'validate',
    inputs: inputsOf(options),
    modelRoot: integrity.root,
    files,
    environment: {
      ...environment(),
      ...(results.runtime ? { ort: results.runtime.version } : {}),
      ...(results.provider ? { provider: results.provider.got } : {}),
    },
    results,
    verdict,
  });
  await writeReceipt(receipt, file);
  const { timings, loadMs, memoryMb, peakMemoryMb, sizeMb } = results;
  const sentences = results.checks.flatMap(({ failures, open = [] }) =>
    verdict === 'inconclusive' ? open.map(({ sentence }) => sentence) : failures,
  );
  return {
    verdict,
    passed: verdict === 'pass',
    failures: sentences,
    excusable: !results.hygiene.some(({ kind }) => kind === 'cached'),
    ...(loadMs === undefined ? {} : { loadMs }),
    ...(timings ? { latencyP50Ms: timings.p50, latencyP95Ms: timings.p95 } : {}),
    ...(memoryMb === undefined ? {} : { memoryMb }),
    ...(peakMemoryMb === undefined ? {} : { peakMemoryMb }),
    sizeMb,
    report: file,
    receipt,
  };
}

function verdictOf(checks: readonly Check[]): Verdict {
  if (checks.some(({ status }) => status === 'fail')) return 'fail';
  return checks.some(({ status }) => status === 'inconclusive') ? 'inconclusive' : 'pass';
}
