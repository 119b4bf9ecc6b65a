/**
 * The child process of one session: it loads onnxruntime-node, so that a crash, a hang or a full memory is its own and
 * not the action's. It speaks `protocol.ts` over IPC and ends with its parent.
 */
import { createHash } from 'node:crypto';
import { closeSync, constants, existsSync, ftruncateSync, openSync, readdirSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { bytesOf, declaredSize, type NumericArray, viewAs } from './dtype.ts';
import { activityBetween, type HostActivity, type HostCounters, hostCounters } from './host-activity.ts';
import { ownMemory } from './memory.ts';
import { createObserver, type Observer } from './observe/observer.ts';
import { releaseWith } from './operator-versions.ts';
import type {
  Answers,
  ChildFailure,
  FromChild,
  Inputs,
  MeasureAnswer,
  ObserveAnswer,
  OpenAnswer,
  OpenRequest,
  Request,
  RunAnswer,
  ToChild,
} from './protocol.ts';
import { summarize } from './summary.ts';
import type { DType, Feeds, OutputSummary, Provider, ProviderReport, SpooledTensor, ValueInfo } from './types.ts';

/** The part of onnxruntime-node that we use; it is loaded at run time, so its own types are not imported. */
interface Ort {
  InferenceSession: { create(model: string, options: Record<string, unknown>): Promise<OrtSession> };
  Tensor: new (dtype: string, data: NumericArray, dims: readonly number[]) => unknown;
  listSupportedBackends(): { name: string; bundled: boolean }[];
}

interface OrtMetadata {
  name: string;
  isTensor: boolean;
  type?: string;
  shape?: (number | string)[];
}

interface OrtTensor {
  type: string;
  dims: readonly number[];
  data: NumericArray | string[];
}

interface OrtSession {
  inputMetadata: readonly OrtMetadata[];
  outputMetadata: readonly OrtMetadata[];
  run(feeds: Record<string, unknown>, fetches: readonly string[]): Promise<Record<string, OrtTensor>>;
  release(): Promise<void>;
  endProfiling(): void;
}

/** Bytes written to a spool file at a time. */
const SPOOL_BYTES = 8 * 2 ** 20;
/** Outputs larger than this are collected at once instead of when V8 sees fit, which would be after several. */
const LARGE_OUTPUT_BYTES = 16 * 2 ** 20;
/** Of outputs larger than this two may not fit: they have to be gone before the next inference. */
const HUGE_OUTPUT_BYTES = 256 * 2 ** 20;
/** A sign of life is due this often while a measurement takes its time; timeouts are longer. */
const ALIVE_MS = 500;
/** Memory has settled when it did not fall in so many looks at it. */
const SETTLE_POLL_MS = 5;
const STILL_POLLS = 3;
const MOST_SETTLE_MS = 3000;
/** What else the machine did is told from so long on. */
const WATCHED_MS = 200;
/** How often a process that should come to rest looks at what it takes, and how long it is waited for at most. */
const REST_POLL_MS = 8;
const MOST_REST_MS = 1000;
/** The parent keeps the other end of this descriptor open as long as it lives. */
const LIFELINE_FD = 4;

class Failure extends Error {
  readonly failure: ChildFailure;
  readonly present: string[];

  constructor(failure: ChildFailure, message: string, present: string[] = []) {
    super(message);
    this.failure = failure;
    this.present = present;
  }
}

class SessionProcess {
  #ort: Ort | undefined;
  #session: OrtSession | undefined;
  #profilePrefix: string | undefined;
  #firstMs: number | undefined;
  #runtimeMs = 0;
  #loadedAt: HostCounters | undefined;
  #observer: Observer | undefined;
  readonly #kept = new Map<number, Record<string, unknown>>();

  async handle(request: Request, alive: () => void): Promise<Answers[keyof Answers]> {
    switch (request.kind) {
      case 'preload':
        this.#load(request.runtime);
        return null;
      case 'open':
        return this.#open(request);
      case 'run':
        return this.#run(request);
      case 'measure':
        return this.#measure(request, alive);
      case 'rest':
        await untilIdle();
        return null;
      case 'observe':
        return this.#observe(request);
      case 'memory':
        this.#kept.clear();
        return settledMemory();
      case 'profile':
        return this.#endProfile();
      case 'close':
        return null;
    }
  }

  #load(directory: string): Ort {
    if (this.#ort) return this.#ort;
    const before = performance.now();
    this.#ort = loadRuntime(directory);
    this.#runtimeMs = performance.now() - before;
    return this.#ort;
  }

  async #open(request: OpenRequest): Promise<OpenAnswer> {
    const ort = this.#load(request.runtime);
    const baselineBytes = ownMemory().residentBytes;
    this.#profilePrefix = request.profilePrefix;
    const before = hostCounters();
    const { session, provider, ms } = await createSession(ort, request);
    this.#session = session;
    this.#loadedAt = hostCounters();
    return {
      runtimeMs: this.#runtimeMs,
      ms,
      host: activityBetween(before, this.#loadedAt),
      baselineBytes,
      residentBytes: ownMemory().residentBytes,
      inputs: session.inputMetadata.map(valueInfo),
      outputs: session.outputMetadata.map(valueInfo),
      provider,
    };
  }

  async #run(request: Extract<Request, { kind: 'run' }>): Promise<RunAnswer> {
    const { ort, session } = this.#opened();
    const fetches = request.fetch ?? readableOutputs(session);
    const { ms, outputs } = await timedRun(session, this.#feeds(ort, request.inputs), fetches);
    this.#firstMs ??= ms;
    const before = performance.now();
    const summaries: OutputSummary[] = [];
    const spooled: SpooledTensor[] = [];
    let bytes = 0;
    for (const [index, name] of fetches.entries()) {
      const output = outputs[name]!;
      bytes += Array.isArray(output.data) ? 0 : output.data.byteLength;
      if (request.outputs === 'summary') summaries.push(describe(name, output));
      if (request.outputs === 'spool') spooled.push(spool(name, output, path.join(request.directory!, `${index}.bin`)));
      delete outputs[name];
    }
    const handlingMs = performance.now() - before;
    await release(bytes);
    return { ms, summaries, spooled, handlingMs, releaseMs: performance.now() - before - handlingMs };
  }

  async #observe({ inputs, taps }: Extract<Request, { kind: 'observe' }>): Promise<ObserveAnswer> {
    const { ort, session } = this.#opened();
    this.#observer ??= createObserver();
    const names = taps.map(({ name }) => name);
    const { ms, outputs } = await timedRun(session, this.#feeds(ort, inputs), names);
    const before = performance.now();
    const observed = [];
    let bytes = 0;
    for (const tap of taps) {
      const output = outputs[tap.name]!;
      bytes += Array.isArray(output.data) ? 0 : output.data.byteLength;
      observed.push(this.#observer.observe(tap, output));
      delete outputs[tap.name];
    }
    const handlingMs = performance.now() - before;
    await release(bytes);
    return { ms, handlingMs, observed };
  }

  #feeds(ort: Ort, inputs: Inputs): Record<string, unknown> {
    if (!('feeds' in inputs)) return this.#kept.get(inputs.id)!;
    const feeds = toOrt(ort, inputs.feeds);
    if (inputs.id !== undefined) this.#kept.set(inputs.id, feeds);
    return feeds;
  }

  async #measure(request: Extract<Request, { kind: 'measure' }>, alive: () => void): Promise<MeasureAnswer> {
    const { ort, session } = this.#opened();
    const samples = request.inputs.map((inputs) => this.#feeds(ort, inputs));
    const fetches = readableOutputs(session);
    let index = 0;
    let ownMs = 0;
    const once = async (): Promise<number> => {
      const { ms, outputs } = await timedRun(session, samples[index++ % samples.length]!, fetches);
      const bytes = Object.values(outputs).reduce(
        (sum, { data }) => sum + (Array.isArray(data) ? 0 : data.byteLength),
        0,
      );
      for (const name of fetches) delete outputs[name];
      const before = performance.now();
      await release(bytes);
      ownMs += ms + performance.now() - before;
      this.#firstMs ??= ms;
      alive();
      return ms;
    };
    const started = performance.now();
    const elapsed = () => (performance.now() - started) / 1000;
    for (let i = 0; i < request.warmup && elapsed() < request.maxSeconds; i++) await once();
    const before = hostCounters();
    const counting = performance.now();
    const longEnough = () => (performance.now() - counting) / 1000 >= request.minSeconds;
    const runs: number[] = [];
    // At least one run counts, however short the time: no figure at all would help nobody.
    do runs.push(await once());
    while (
      elapsed() < request.maxSeconds &&
      (runs.length < request.runs || (request.minSeconds > 0 && !(longEnough() && runs.length % samples.length === 0)))
    );
    return {
      ownMs,
      firstMs: this.#firstMs!,
      runs,
      endedBy: runs.length < request.runs ? 'time' : 'runs',
      host: this.#activitySince(before),
    };
  }

  /** The system counts in hundredths of a second: short measurements are told by what happened since the model was loaded. */
  #activitySince(before: HostCounters): HostActivity {
    const now = hostCounters();
    const long = now.atMs - before.atMs >= WATCHED_MS;
    return activityBetween(long ? before : (this.#loadedAt ?? before), now);
  }

  #endProfile(): string {
    // InferenceSession.endProfiling is the only way to have the file written whole; its name carries a time stamp.
    this.#opened().session.endProfiling();
    const prefix = path.resolve(this.#profilePrefix!);
    const name = readdirSync(path.dirname(prefix)).find((file) => file.startsWith(path.basename(prefix)));
    if (!name) throw new Failure('bug', `onnxruntime wrote no profile at ${prefix}*`);
    return path.join(path.dirname(prefix), name);
  }

  #opened(): { ort: Ort; session: OrtSession } {
    if (!this.#ort || !this.#session) throw new Failure('bug', 'the session was not opened');
    return { ort: this.#ort, session: this.#session };
  }
}

function loadRuntime(directory: string): Ort {
  try {
    return createRequire(path.join(directory, 'package.json'))(directory) as Ort;
  } catch (error) {
    throw new Failure('load', `onnxruntime-node in ${directory} does not load: ${String(error)}`);
  }
}

async function createSession(
  ort: Ort,
  request: OpenRequest,
): Promise<{ session: OrtSession; provider: ProviderReport; ms: number }> {
  const present = presentProviders(ort, request.runtime);
  if (request.provider !== 'auto' && !present.includes(request.provider)) {
    throw new Failure('provider', `${request.provider} is not part of it`, present);
  }
  const candidates = request.provider === 'auto' ? present : [request.provider];
  const refused: ProviderReport['refused'] = [];
  for (const candidate of candidates) {
    const before = performance.now();
    try {
      const session = await ort.InferenceSession.create(request.model, {
        executionProviders: [candidate],
        intraOpNumThreads: request.threads,
        interOpNumThreads: 1,
        enableCpuMemArena: request.arena,
        graphOptimizationLevel: request.graphLevel,
        ...(request.prepacking ? {} : { extra: { session: { disable_prepacking: '1' } } }),
        logSeverityLevel: 3,
        ...(request.profilePrefix ? { enableProfiling: true, profileFilePrefix: request.profilePrefix } : {}),
      });
      const ms = performance.now() - before;
      return { session, provider: { asked: request.provider, got: candidate, present, refused }, ms };
    } catch (error) {
      const message = firstLine(error);
      if (candidate === 'cpu') throw new Failure(kindOfLoadFailure(message), message);
      if (request.provider !== 'auto') throw new Failure('provider', message, present);
      refused.push({ provider: candidate, reason: message });
    }
  }
  throw new Failure('bug', 'no execution provider at all');
}

/** The providers that can be tried here, best first. CUDA counts only where its library lies beside the binding. */
function presentProviders(ort: Ort, directory: string): Provider[] {
  const listed = new Set(ort.listSupportedBackends().map(({ name }) => name));
  const order: Provider[] = ['cuda', 'dml', 'cpu'];
  return order.filter((name) => listed.has(name) && (name !== 'cuda' || hasCudaLibrary(directory)));
}

function hasCudaLibrary(directory: string): boolean {
  const bin = path.join(directory, 'bin');
  const library = process.platform === 'win32' ? 'onnxruntime_providers_cuda.dll' : 'libonnxruntime_providers_cuda.so';
  if (!existsSync(bin)) return false;
  return readdirSync(bin).some((napi) => existsSync(path.join(bin, napi, process.platform, process.arch, library)));
}

function kindOfLoadFailure(message: string): ChildFailure {
  const unknown = /No Op registered|No opset import|Could not find an implementation|not a registered function/i;
  if (unknown.test(message) || releaseWith(message) !== undefined) return 'unsupported-operator';
  return outOfMemory(message) ? 'out-of-memory' : 'load';
}

const outOfMemory = (message: string): boolean =>
  /bad.?alloc|failed to allocate memory|Cannot allocate memory|out of memory|Array buffer allocation failed/i.test(
    message,
  );

async function timedRun(
  session: OrtSession,
  feeds: Record<string, unknown>,
  fetches: readonly string[],
): Promise<{ ms: number; outputs: Record<string, OrtTensor> }> {
  const before = performance.now();
  try {
    const outputs = await session.run(feeds, fetches);
    return { ms: performance.now() - before, outputs: { ...outputs } };
  } catch (error) {
    const message = firstLine(error);
    throw new Failure(outOfMemory(message) ? 'out-of-memory' : 'run', message);
  }
}

function toOrt(ort: Ort, feeds: Feeds): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(feeds).map(([name, { dtype, dims, data }]) => {
      if (dtype === 'string') throw new Failure('run', `input ${name} is of strings, which cannot be fed here`);
      return [name, new ort.Tensor(dtype, viewAs(dtype, data), dims)];
    }),
  );
}

const readableOutputs = (session: OrtSession): string[] =>
  session.outputMetadata.filter(({ isTensor }) => isTensor).map(({ name }) => name);

function valueInfo({ name, isTensor, type, shape }: OrtMetadata): ValueInfo {
  return { name, dtype: isTensor ? (type as DType) : 'other', dims: (shape ?? []).map(declaredSize) };
}

function describe(name: string, output: OrtTensor): OutputSummary {
  const dtype = output.type as DType;
  const dims = [...output.dims];
  if (Array.isArray(output.data)) {
    const digest = createHash('sha256').update(JSON.stringify(output.data)).digest('hex');
    const range = { notANumber: 0, infinite: 0, min: 0, max: 0 };
    return { name, dtype, dims, length: 0, elements: output.data.length, ...range, digest };
  }
  return {
    name,
    dtype,
    dims,
    length: output.data.byteLength,
    elements: output.data.length,
    ...summarize(dtype, output.data),
    digest: digestOf(bytesOf(output.data)),
  };
}

function digestOf(bytes: Uint8Array): string {
  const hash = createHash('sha256');
  // In pieces: a hash takes less than 2 GiB at once.
  for (let offset = 0; offset < bytes.length; offset += SPOOL_BYTES) {
    hash.update(bytes.subarray(offset, offset + SPOOL_BYTES));
  }
  return hash.digest('hex');
}

function spool(name: string, output: OrtTensor, file: string): SpooledTensor {
  const bytes = Array.isArray(output.data) ? Buffer.from(JSON.stringify(output.data)) : bytesOf(output.data);
  // Written over where it is there already: memory that the system has given to a file once costs half as much.
  const descriptor = openSync(file, constants.O_RDWR | constants.O_CREAT);
  try {
    ftruncateSync(descriptor, bytes.length);
    for (let offset = 0; offset < bytes.length; ) {
      offset += writeSync(descriptor, bytes, offset, Math.min(SPOOL_BYTES, bytes.length - offset));
    }
  } finally {
    closeSync(descriptor);
  }
  return { name, dtype: output.type as DType, dims: [...output.dims], path: file, length: bytes.length };
}

/** Gives back the memory of outputs of so many bytes that were dropped. */
async function release(bytes: number): Promise<void> {
  if (bytes > HUGE_OUTPUT_BYTES) await collect();
  else if (bytes > LARGE_OUTPUT_BYTES) globalThis.gc?.();
}

/** Collects garbage and lets finalizers run, so that dropped outputs are really gone. */
async function collect(): Promise<void> {
  globalThis.gc?.();
  await sleep(1);
  globalThis.gc?.();
}

/** Memory once it no longer falls: V8 hands freed outputs back from a thread of its own. */
async function settledMemory(): Promise<Answers['memory']> {
  await collect();
  let previous = ownMemory();
  const until = performance.now() + MOST_SETTLE_MS;
  for (let still = 0; still < STILL_POLLS && performance.now() < until; ) {
    await sleep(SETTLE_POLL_MS);
    const current = ownMemory();
    still = current.residentBytes > previous.residentBytes * 0.995 ? still + 1 : 0;
    previous = current;
  }
  return previous;
}

/** Waits until the threads of this process no longer spin: until they take less than a fifth of a processor. */
async function untilIdle(): Promise<void> {
  const until = performance.now() + MOST_REST_MS;
  for (let quiet = 0; quiet < 2 && performance.now() < until; ) {
    const [cpu, wall] = [process.cpuUsage(), performance.now()];
    await sleep(REST_POLL_MS);
    const { user, system } = process.cpuUsage(cpu);
    quiet = (user + system) / 1000 < 0.2 * (performance.now() - wall) ? quiet + 1 : 0;
  }
}

const firstLine = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split('\n')[0]!.trim();

/**
 * A thread that kills this process when the parent is gone. The main thread cannot: an inference blocks it, and one
 * that never ends would outlive everyone.
 */
function endWithParent(): void {
  const watch = `
    const socket = new (require('node:net').Socket)({ fd: ${LIFELINE_FD}, readable: true, writable: false });
    const end = () => process.kill(process.pid, 'SIGKILL');
    socket.on('end', end).on('error', end).on('close', end).resume();
  `;
  new Worker(watch, { eval: true, stdout: false, resourceLimits: { maxOldGenerationSizeMb: 8 } }).unref();
}

function send(message: FromChild): void {
  process.send?.(message);
}

function serve(): void {
  endWithParent();
  const session = new SessionProcess();
  process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
  process.on('message', async ({ id, request }: ToChild) => {
    let spoken = performance.now();
    let done = 0;
    const alive = () => {
      done++;
      if (performance.now() - spoken < ALIVE_MS) return;
      spoken = performance.now();
      send({ id, kind: 'alive', done });
    };
    try {
      const answer = await session.handle(request, alive);
      send({ id, kind: 'answer', answer });
    } catch (error) {
      const failure = error instanceof Failure ? error : undefined;
      const message = failure?.message ?? (error instanceof Error ? (error.stack ?? error.message) : String(error));
      const kind = failure?.failure ?? (outOfMemory(message) ? 'out-of-memory' : 'bug');
      send({ id, kind: 'failure', failure: kind, message, ...(failure ? { present: failure.present } : {}) });
    }
  });
}

serve();
