import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import type { Socket } from 'node:net';
import { constants, tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { stripVTControlCharacters } from 'node:util';
import { childEnvironment } from '../child-environment.ts';
import { entryPath } from '../entry.ts';
import { InputError } from '../errors.ts';
import { type Log, silentLog } from '../receipt/index.ts';
import { bytesOfFeeds, encode, viewAs } from './dtype.ts';
import { environment } from './environment.ts';
import { resolveRuntime } from './locate.ts';
import type { Tap } from './observe/types.ts';
import { releaseWith } from './operator-versions.ts';
import type {
  Answers,
  FromChild,
  GraphLevel,
  Inputs,
  MeasureOptions,
  ObserveAnswer,
  OpenAnswer,
  OutputMode,
  Request,
  RunAnswer,
  ToChild,
} from './protocol.ts';
import { coefficientOfVariation, mean, median, percentile } from './statistics.ts';
import {
  type Feeds,
  type ProcessMemory,
  type Provider,
  type ProviderChoice,
  type RuntimeLocation,
  SessionError,
  type SessionFailure,
  type Timings,
} from './types.ts';

export interface SessionOptions {
  /** Path of the graph file. */
  model: string;
  /** What messages call it, where it was made of the user's model. Default: its path. */
  label?: string;
  /** Where onnxruntime-node is; found by `resolveRuntime` when absent. */
  runtime?: RuntimeLocation;
  /** Default `auto`: the best that works here, at last `cpu`. */
  provider?: ProviderChoice;
  /** Threads within an operator; default: the physical cores this process may use. */
  threads?: number;
  /**
   * ONNX Runtime's CPU memory arena, default on. It keeps the largest outputs ever made until the session ends; off,
   * they go back to the system, at the price of fetching the pages again each time.
   */
  arena?: boolean;
  /** How far the graph is rewritten at load; default `all`. */
  graphLevel?: GraphLevel;
  /** Whether kernels keep copies of weights in the order they read them; default true. */
  prepacking?: boolean;
  /** A request that is silent for so long is a hang; ms, default 10 minutes. A measurement speaks after each inference. */
  timeoutMs?: number;
  /** A process started ahead; one is started when absent. */
  host?: SessionHost;
  log?: Log | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * A process without a model yet. Node and onnxruntime-node take a good fifth of a second to load, which may as well pass
 * while something else is done. It becomes that of the session opened in it; close it if none is.
 */
export interface SessionHost {
  /** Begins to load onnxruntime-node. Whether that works is for `openSession` to say. */
  preload(runtime: RuntimeLocation): void;
  /** Ends the process, with the session in it if there is one. Never throws. */
  close(): Promise<void>;
}

export interface RunOptions {
  /** Default `discard`. */
  outputs?: OutputMode;
  /** Outputs to compute, default all that are tensors. */
  fetch?: string[];
  /** Existing folder for the files of `spool`. The caller removes it. */
  spoolDirectory?: string;
}

/** A model loaded in a child process of its own. `close` it, whatever happened. */
export interface Session {
  readonly load: OpenAnswer;
  readonly runtime: RuntimeLocation;
  /** Threads within an operator, as pinned. */
  readonly threads: number;
  readonly arena: boolean;
  /** Process id of the child. */
  readonly pid: number;
  /**
   * Wall time so far, ms, of loading the runtime and the model, of inferences and of giving their outputs' memory back:
   * what no measurement can do without.
   */
  readonly ownMs: number;
  /** One inference. Throws `SessionError`. */
  run(feeds: Feeds, options?: RunOptions): Promise<RunAnswer>;
  /** One inference whose outputs, taps among them, are measured in the child. Throws `SessionError`. */
  observe(feeds: Feeds, taps: Tap[]): Promise<ObserveAnswer>;
  /**
   * Warm-up, then timed inferences that go through `feeds` in turn; outputs are dropped. `onRuns` hears now and then how
   * many there were, warm-up included. Throws `SessionError`.
   */
  measure(feeds: readonly Feeds[], options: MeasureOptions, onRuns?: (done: number) => void): Promise<Timings>;
  /**
   * Resolves once its threads no longer spin. ONNX Runtime's keep a processor busy for some 40 ms after an inference, in
   * case another follows; whoever runs beside them meanwhile is slowed down by half.
   */
  rest(): Promise<void>;
  /** Memory of the child with its outputs released. */
  memory(): Promise<ProcessMemory>;
  /** Ends the child and waits until it is gone. Never throws. */
  close(): Promise<void>;
}

const DEFAULT_TIMEOUT_MS = 600_000;
/** Inputs of at most so many bytes together stay in the child, so that they travel once. */
const KEPT_BYTES = 32 * 2 ** 20;
const CLOSE_GRACE_MS = 2000;
const STDERR_GRACE_MS = 500;
const STDERR_KEPT = 8192;

/** Starts the process of a session to come. */
export function startHost({ log = silentLog, signal }: Pick<SessionOptions, 'log' | 'signal'>): SessionHost {
  return new Child(log, signal);
}

/**
 * Loads a model in a child process.
 * @throws InputError when the provider asked for is not there or onnxruntime-node cannot be had
 * @throws SessionError when the model does not load, or takes the process down, or takes too long
 */
export async function openSession(options: SessionOptions): Promise<Session> {
  return open(options, undefined);
}

/** A node of the optimized graph and the provider that ran it. */
export interface PlacedNode {
  name: string;
  op: string;
  provider: Provider | string;
}

/**
 * Which provider runs each node, by one profiled inference in a session of its own (profiling slows the nodes down).
 * Nodes that a GPU provider could not take fall back to `cpu`.
 */
export async function placeNodes(
  options: SessionOptions,
  feeds: Feeds,
  readProfile: (file: string) => Promise<string>,
  profilePrefix: string,
): Promise<PlacedNode[]> {
  const session = await open(options, profilePrefix);
  try {
    await session.run(feeds);
    return parseProfile(await readProfile(await session.profile()));
  } finally {
    await session.close();
  }
}

/** The nodes in an ONNX Runtime profile (Chrome trace events of category `Node`), each once. */
export function parseProfile(json: string): PlacedNode[] {
  const events = JSON.parse(json) as { cat?: string; name?: string; args?: { op_name?: string; provider?: string } }[];
  const nodes = new Map<string, PlacedNode>();
  for (const { cat, name, args } of events) {
    if (cat !== 'Node' || !name?.endsWith('_kernel_time') || !args?.provider) continue;
    const node = name.slice(0, -'_kernel_time'.length);
    const provider = args.provider.replace(/ExecutionProvider$/, '').toLowerCase();
    nodes.set(node, { name: node, op: args.op_name ?? '', provider });
  }
  return [...nodes.values()];
}

/**
 * Time that each node of the optimized graph takes, µs in an inference, by a profile of `runs` inferences after one that
 * does not count. A node inside a loop counts as often as it runs. Fusing renames nodes: what computes in blocks of
 * channels is `<output>_nchwc`. `profilePrefix` names the profile, which the caller removes.
 */
export async function timeNodes(
  options: SessionOptions,
  feeds: Feeds,
  runs: number,
  profilePrefix: string,
): Promise<Map<string, number>> {
  const session = await open(options, profilePrefix);
  try {
    for (let run = 0; run <= runs; run++) await session.run(feeds);
    const durations = new Map<string, number[]>();
    // An event a line, so that a profile of many nodes is never in memory as a whole.
    for await (const line of createInterface({ input: createReadStream(await session.profile()) })) {
      if (!line.includes('_kernel_time"')) continue;
      const { name, dur } = JSON.parse(line.replace(/,\s*$/, '')) as { name: string; dur: number };
      const node = name.slice(0, -'_kernel_time'.length);
      durations.set(node, [...(durations.get(node) ?? []), dur]);
    }
    return new Map([...durations].map(([node, all]) => [node, (median(all) * all.length) / (runs + 1)]));
  } finally {
    await session.close();
  }
}

type ProfiledSession = Session & { profile(): Promise<string> };

async function open(options: SessionOptions, profilePrefix: string | undefined): Promise<ProfiledSession> {
  const log = options.log ?? silentLog;
  const runtime = options.runtime ?? (await resolveRuntime({ log, signal: options.signal }));
  const threads = options.threads ?? environment().physicalCores;
  const arena = options.arena ?? true;
  const provider = options.provider ?? 'auto';
  const child = options.host instanceof Child ? options.host : new Child(log, options.signal);
  child.take(options.label ?? options.model, options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  let load: OpenAnswer;
  try {
    load = await child.ask('open', {
      kind: 'open',
      runtime: runtime.directory,
      model: path.resolve(options.model),
      provider,
      threads,
      arena,
      graphLevel: options.graphLevel ?? 'all',
      prepacking: options.prepacking ?? true,
      ...(profilePrefix ? { profilePrefix } : {}),
    });
  } catch (error) {
    await child.close();
    if (error instanceof ProviderFailure) throw new InputError(absentProvider(provider, error, runtime));
    throw error;
  }
  let sent = new SentInputs(load.inputs);
  let ownMs = load.runtimeMs + load.ms;
  for (const { provider: name, reason } of load.provider.refused)
    log.info(`Provider ${name} does not work here: ${reason}`);
  return {
    load,
    runtime,
    threads,
    arena,
    pid: child.pid,
    get ownMs() {
      return ownMs;
    },
    async run(feeds, { outputs = 'discard', fetch, spoolDirectory } = {}) {
      const directory = spoolDirectory ?? tmpdir();
      if (outputs === 'spool' && !spoolDirectory) throw new TypeError('spooling needs a spoolDirectory');
      const inputs = sent.inputsOf(feeds);
      const answer = await child.ask('run', { kind: 'run', inputs, outputs, directory, ...(fetch ? { fetch } : {}) });
      ownMs += answer.ms + answer.releaseMs;
      return answer;
    },
    async observe(feeds, taps) {
      const answer = await child.ask('observe', { kind: 'observe', inputs: sent.inputsOf(feeds), taps });
      ownMs += answer.ms;
      return answer;
    },
    async measure(feeds, { minSeconds = 0, ...options }, onRuns) {
      if (feeds.length === 0) throw new TypeError('measuring needs at least one sample');
      const inputs = feeds.map((each) => sent.inputsOf(each));
      const request = { kind: 'measure', inputs, minSeconds, ...options } as const;
      const { ownMs: spent, ...answer } = await child.ask('measure', request, onRuns);
      ownMs += spent;
      return { ...answer, warmup: options.warmup, ...timingStatistics(answer.runs) };
    },
    async rest() {
      await child.ask('rest', { kind: 'rest' });
    },
    memory: () => {
      sent = new SentInputs(load.inputs);
      return child.ask('memory', { kind: 'memory' });
    },
    profile: () => child.ask('profile', { kind: 'profile' }),
    close: () => child.close(),
  };
}

/** Percentiles and spread of wall times in ms. */
export function timingStatistics(
  runs: readonly number[],
): Pick<Timings, 'p50' | 'p90' | 'p95' | 'p99' | 'mean' | 'variation'> {
  return {
    p50: percentile(runs, 0.5),
    p90: percentile(runs, 0.9),
    p95: percentile(runs, 0.95),
    p99: percentile(runs, 0.99),
    mean: mean(runs),
    variation: coefficientOfVariation(runs),
  };
}

/** The feeds that the child has. Whoever feeds the same object again means the same values. */
class SentInputs {
  readonly #ids = new WeakMap<Feeds, number>();
  readonly #halves: ReadonlySet<string>;
  #count = 0;
  #bytes = 0;

  constructor(inputs: OpenAnswer['inputs']) {
    this.#halves = new Set(inputs.filter(({ dtype }) => dtype === 'float16').map(({ name }) => name));
  }

  inputsOf(feeds: Feeds): Inputs {
    const known = this.#ids.get(feeds);
    if (known !== undefined) return { id: known };
    const taken = this.#taken(feeds);
    this.#bytes += bytesOfFeeds(taken);
    if (this.#bytes > KEPT_BYTES) return { feeds: taken };
    const id = this.#count++;
    this.#ids.set(feeds, id);
    return { id, feeds: taken };
  }

  /** A model that was made FP16 takes the samples of the one that it was made from: FLOAT values are rounded for it. */
  #taken(feeds: Feeds): Feeds {
    if (this.#halves.size === 0) return feeds;
    const taken = Object.entries(feeds).map(([name, tensor]) => {
      if (!this.#halves.has(name) || tensor.dtype !== 'float32') return [name, tensor] as const;
      const data = encode('float16', viewAs('float32', tensor.data));
      return [name, { ...tensor, dtype: 'float16', data }] as const;
    });
    return Object.fromEntries(taken);
  }
}

class ProviderFailure extends Error {
  readonly present: string[];

  constructor(message: string, present: string[]) {
    super(message);
    this.present = present;
  }
}

interface Waiting {
  what: Request['kind'];
  resolve(answer: unknown): void;
  reject(error: Error): void;
  timer: NodeJS.Timeout;
  onAlive: ((done: number) => void) | undefined;
}

/** The child process: requests with answers, timeouts and every way in which it can end. */
class Child implements SessionHost {
  readonly #process: ChildProcess;
  #model = '(no model)';
  #timeoutMs = DEFAULT_TIMEOUT_MS;
  readonly #waiting = new Map<number, Waiting>();
  readonly #gone: Promise<void>;
  readonly #stderrClosed: Promise<unknown>;
  #nextId = 1;
  #stderr = '';
  #ended: SessionError | undefined;

  constructor(log: Log, signal: AbortSignal | undefined) {
    const { NODE_OPTIONS: _, ...env } = childEnvironment();
    this.#process = fork(entryPath('session-process'), [], {
      serialization: 'advanced',
      execArgv: ['--expose-gc'],
      // NODE_OPTIONS of the parent (heap sizes, loaders) would be part of what is measured. ONNX Runtime reports to
      // Microsoft on Linux and macOS unless told not to, and leaves a log in the temporary folder for each process.
      env: { ORT_DISABLE_TELEMETRY: '1', ...env },
      // The fifth is the lifeline: it closes when this process ends, however it ends.
      stdio: ['ignore', 'pipe', 'pipe', 'ipc', 'pipe'],
    });
    const keep = (text: Buffer) => {
      this.#stderr = (this.#stderr + text.toString()).slice(-STDERR_KEPT);
      log.debug(text.toString().trimEnd());
    };
    this.#process.stdout?.on('data', keep);
    this.#process.stderr?.on('data', keep);
    this.#stderrClosed = once(this.#process.stderr!, 'close');
    // A pipe that breaks because the child died tells nothing that `exit` does not tell better.
    const lifeline = this.#process.stdio[4] as Socket | null;
    lifeline?.on('error', () => undefined).resume();
    this.#process.on('message', (message) => this.#receive(message as FromChild));
    const abort = () => this.#kill(new SessionError('aborted', `${this.#model}: the measurement was cancelled`));
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort, { once: true });
    this.#gone = new Promise((resolve) => {
      const ended = (error: SessionError) => {
        signal?.removeEventListener('abort', abort);
        this.#fail(error);
        resolve();
      };
      this.#process.on('error', (error) =>
        ended(new SessionError('exit', `The process of ${this.#model} did not start`, { cause: error })),
      );
      // `close` never comes with a descriptor beyond the IPC one, so the last of stderr is waited for by hand.
      this.#process.on('exit', async (code, exitSignal) => {
        // Unreferenced, or it would hold up the end of this process.
        await Promise.race([this.#stderrClosed, sleep(STDERR_GRACE_MS, undefined, { ref: false })]);
        ended(this.#describeEnd(code, exitSignal));
      });
    });
  }

  get pid(): number {
    return this.#process.pid ?? -1;
  }

  /** What this process is for from now on. */
  take(model: string, timeoutMs: number): void {
    this.#model = model;
    this.#timeoutMs = timeoutMs;
  }

  preload(runtime: RuntimeLocation): void {
    this.ask('preload', { kind: 'preload', runtime: runtime.directory }).catch(() => undefined);
  }

  ask<Kind extends keyof Answers>(
    what: Kind,
    request: Request,
    onAlive?: (done: number) => void,
  ): Promise<Answers[Kind]> {
    return new Promise((resolve, reject) => {
      if (this.#ended) {
        reject(this.#ended);
        return;
      }
      const id = this.#nextId++;
      const timer = setTimeout(() => this.#timeOut(what), this.#timeoutMs);
      this.#waiting.set(id, { what, resolve: resolve as (answer: unknown) => void, reject, timer, onAlive });
      const message: ToChild = { id, request };
      // An error here means that the child is gone; its `close` says why.
      this.#process.send(message, () => undefined);
    });
  }

  async close(): Promise<void> {
    if (!this.#ended) {
      const patience = setTimeout(() => this.#process.kill('SIGKILL'), CLOSE_GRACE_MS);
      this.#ended = new SessionError('exit', `The session of ${this.#model} is closed`);
      this.#process.disconnect?.();
      await this.#gone;
      clearTimeout(patience);
    }
    await this.#gone;
  }

  #receive(message: FromChild): void {
    const waiting = this.#waiting.get(message.id);
    if (!waiting) return;
    if (message.kind === 'alive') {
      waiting.timer.refresh();
      waiting.onAlive?.(message.done);
      return;
    }
    clearTimeout(waiting.timer);
    this.#waiting.delete(message.id);
    if (message.kind === 'answer') waiting.resolve(message.answer);
    else waiting.reject(this.#describeFailure(message));
  }

  #describeFailure({ failure, message, present }: Extract<FromChild, { kind: 'failure' }>): Error {
    if (failure === 'provider') return new ProviderFailure(message, present ?? []);
    if (failure === 'bug') return new Error(`session process: ${message}`);
    return new SessionError(failure, sentenceOf(failure, this.#model, message));
  }

  #timeOut(what: Request['kind']): void {
    const runs = what === 'run' || what === 'measure' || what === 'observe';
    const doing = what === 'open' ? 'load' : runs ? 'finish an inference' : what;
    const seconds = this.#timeoutMs / 1000;
    this.#kill(
      new SessionError(
        'timeout',
        `${this.#model} did not ${doing} within ${seconds} s and was stopped: it hangs, or needs a longer timeout`,
      ),
    );
  }

  #kill(error: SessionError): void {
    this.#fail(error);
    this.#process.kill('SIGKILL');
  }

  /** The first reason is the true one; what follows are its consequences. */
  #fail(error: SessionError): void {
    this.#ended ??= error;
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(this.#ended);
    }
    this.#waiting.clear();
  }

  #describeEnd(code: number | null, signal: NodeJS.Signals | null): SessionError {
    const doing = [...this.#waiting.values()].at(-1)?.what ?? 'idle';
    const when =
      { open: 'while loading', run: 'while running', observe: 'while running', measure: 'while being measured' }[
        doing as string
      ] ?? `(${doing})`;
    const tail = lastLine(this.#stderr);
    const said = tail ? `; its last words: ${tail}` : '';
    const oomText = /bad_alloc|out of memory|process OOM|Cannot allocate memory/i.test(this.#stderr);
    if (oomText) return new SessionError('out-of-memory', `${this.#model} ran out of memory ${when}${said}`);
    if (signal === 'SIGKILL') {
      return new SessionError(
        'out-of-memory',
        `${this.#model} was killed ${when} (SIGKILL), as the kernel does when memory runs out; use a machine or a limit with more memory, or a smaller model`,
      );
    }
    if (signal) {
      const number = constants.signals[signal];
      return new SessionError(
        'crash',
        `${this.#model} took its process down ${when} (${signal}, signal ${number})${said}`,
      );
    }
    return new SessionError('exit', `The process of ${this.#model} ended ${when} with code ${code}${said}`);
  }
}

function sentenceOf(failure: SessionFailure, model: string, message: string): string {
  const said = tidy(message);
  switch (failure) {
    case 'unsupported-operator':
      return `${model} needs an operator that this onnxruntime-node lacks (${said}); ${adviceFor(said)}`;
    case 'out-of-memory':
      return `${model} ran out of memory (${said}); use a machine or a limit with more memory, or smaller dims`;
    case 'load':
      return `${model} does not load: ${said}`;
    default:
      return `${model} does not run: ${said}`;
  }
}

function adviceFor(said: string): string {
  const release = releaseWith(said);
  if (release) return `${release} has it: name one at least as new in ort-path, or quantize with another method`;
  return 'name a newer one in ort-path, or export the model with operators of ONNX';
}

/** What ONNX Runtime says, without the places in its own source. */
function tidy(message: string): string {
  return message
    .replace(/^Load model from .*? failed:\s*/, '')
    .replace(/^Fatal error:\s*/, '')
    .replace(/^Non-zero status code returned while running (\S+) node\. Name:'(.*?)' Status Message: /, '$1 $2: ')
    .replace(/\S*[\\/]onnxruntime[\\/]\S+:\d+ .*?\) (?=\w)/g, '')
    .replace(/\s+:/g, ':')
    .replace(/\.$/, '');
}

/** Where a provider can come from: npm carries CPU everywhere, DirectML in the Windows packages and no CUDA at all. */
function absentProvider(
  asked: ProviderChoice,
  { message, present }: ProviderFailure,
  runtime: RuntimeLocation,
): string {
  const source =
    asked === 'cuda'
      ? 'npm carries no CUDA libraries: on Linux x64 install CUDA 12, cuDNN 9 and onnxruntime-node with --onnxruntime-node-install=cuda12, and name its folder in ort-path'
      : 'DirectML comes with onnxruntime-node on Windows only';
  const has = present.length > 0 ? present.join(', ') : 'none';
  return `execution-provider ${asked} does not work here (${message}): onnxruntime-node ${runtime.version} for ${process.platform}-${process.arch} has ${has}; ${source}; or use auto or cpu.`;
}

function lastLine(text: string): string {
  const lines = stripVTControlCharacters(text).split('\n');
  return (
    lines
      .findLast((line) => /\w/.test(line))
      ?.replace(/^#\s*/, '')
      .trim() ?? ''
  );
}
