import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { entryPath } from '../../entry.ts';
import { explainReadError } from '../../model/stamp.ts';
import { compileKernels } from '../kernels/kernels.ts';
import { SourceFiles, shrank } from './sources.ts';
import type { Answer, Failure, Outcome, Task } from './tasks.ts';
import type { WorkerData } from './worker.ts';

export interface PoolOptions {
  /** Worker threads; by default one per core, at most 3: each takes 9 MiB of the 128, and disks end before cores do. */
  threads?: number | undefined;
  /** Ends all work; what was pending rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

const MOST_THREADS = 3;

/** A worker's JavaScript heap is small and stays so; its buffers are WASM memory. MiB. */
const LIMITS = { maxOldGenerationSizeMb: 24, maxYoungGenerationSizeMb: 2 };

/** The worker threads and the source files they read. Close it, whatever happened. */
export class Pool {
  readonly sources = new SourceFiles();
  readonly #threads: Thread[];
  readonly #signal: AbortSignal | undefined;

  constructor({ threads, signal }: PoolOptions = {}) {
    this.#signal = signal;
    const kernels = compileKernels();
    const count = threads ?? Math.min(availableParallelism(), MOST_THREADS);
    this.#threads = Array.from({ length: count }, () => new Thread({ kernels }));
  }

  /**
   * Runs tasks on the workers, taking the next one only when a worker is free, so that nothing piles up; `done` hears
   * each outcome in the order they come. A list of steps is done by one worker, one step after another, each made when
   * the one before is done; the outcome is that of the last. The first error stops every worker and is thrown once all of them have ended;
   * the pool is then of no more use.
   */
  async runAll<T extends Task, Context>(
    tasks: Iterable<[T | Iterable<T>, Context]>,
    done: (context: Context, outcome: Outcome<T>) => void,
  ): Promise<void> {
    this.#signal?.throwIfAborted();
    const source = tasks[Symbol.iterator]();
    const { promise: failed, reject: fail } = withRejection();
    const abort = () => fail(this.#signal?.reason);
    this.#signal?.addEventListener('abort', abort);
    try {
      await Promise.race([failed, Promise.all(this.#threads.map((thread) => serve(thread, source, done)))]);
    } catch (error) {
      await this.stop();
      throw error;
    } finally {
      this.#signal?.removeEventListener('abort', abort);
    }
  }

  /** Ends the workers and closes the sources. */
  async close(): Promise<void> {
    await this.stop();
    this.sources.close();
  }

  /** Ends the workers; when this returns none of them reads or writes any more. */
  async stop(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.stop()));
  }
}

/** Feeds one worker until there are no more tasks. */
async function serve<T extends Task, Context>(
  thread: Thread,
  tasks: Iterator<[T | Iterable<T>, Context]>,
  done: (context: Context, outcome: Outcome<T>) => void,
): Promise<void> {
  for (let next = tasks.next(); !next.done; next = tasks.next()) {
    const [work, context] = next.value;
    let outcome: Outcome | undefined;
    for (const task of Symbol.iterator in work ? work : [work]) outcome = await thread.run(task);
    done(context, outcome as Outcome<T>);
  }
}

/** One worker, which does one task at a time. */
class Thread {
  readonly #worker: Worker;
  #waiting: { resolve: (outcome: Outcome) => void; reject: (reason: unknown) => void } | undefined;
  #broken: Error | undefined;

  constructor(workerData: WorkerData) {
    this.#worker = new Worker(entryPath('quantize-worker'), { workerData, execArgv: [], resourceLimits: LIMITS });
    this.#worker
      .on('message', (answer: Answer) => {
        if ('failure' in answer) this.#waiting?.reject(errorOf(answer.failure));
        else this.#waiting?.resolve(answer.outcome);
      })
      .on('error', (error: NodeJS.ErrnoException) =>
        this.#break(error.code === OUT_OF_MEMORY ? outOfMemory(error) : error),
      )
      .on('exit', (code) => this.#break(new Error(`A quantization worker ended early (exit ${code})`)));
  }

  run(task: Task): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      if (this.#broken) return reject(this.#broken);
      this.#waiting = { resolve, reject };
      this.#worker.postMessage(task);
    });
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }

  #break(error: Error): void {
    this.#broken ??= error;
    this.#waiting?.reject(this.#broken);
  }
}

const OUT_OF_MEMORY = 'ERR_WORKER_OUT_OF_MEMORY';

/** No task is that large, whatever the model: a bug. */
function outOfMemory(cause: Error): Error {
  const { maxOldGenerationSizeMb } = LIMITS;
  return new Error(`A quantization worker used up its ${maxOldGenerationSizeMb} MiB of heap`, { cause });
}

function withRejection(): { promise: Promise<never>; reject: (reason: unknown) => void } {
  let reject!: (reason: unknown) => void;
  const promise = new Promise<never>((_, refuse) => {
    reject = refuse;
  });
  return { promise, reject };
}

/** Rebuilds an error from another thread: a source's becomes a sentence, an output's keeps its code and system call. */
function errorOf({ message, stack, code, syscall, source }: Failure): Error {
  if (source !== undefined && code === undefined) return shrank(source);
  const error = Object.assign(new Error(message), { stack, ...(code ? { code, syscall } : {}) });
  return source === undefined ? error : explainReadError(error, `The file "${source}"`);
}
