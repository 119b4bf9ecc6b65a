import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { entryPath } from '../entry.ts';
import type { AnswerOf, Job, Message } from './jobs.ts';

export interface PoolOptions {
  /** Threads; one per core, at most 6, unless given: each takes 8 MiB, and the room promises 128 MiB. */
  threads?: number | undefined;
  signal?: AbortSignal | undefined;
  /** Told the bytes that a thread has read since it last said so. */
  onBytes?: (bytes: number) => void;
  /** The thread's JavaScript file; ours unless given. */
  script?: string;
}

/** Threads that digest files. */
export interface Pool {
  readonly threads: number;
  /**
   * Performs `jobs` at the same time, each on a thread of its own (at most `threads` of them), once as many are idle.
   * Requests are served in the order they come. Rejects with the first job's error; `code` is that of the system call.
   */
  run<const J extends readonly Job[]>(jobs: J): Promise<{ -readonly [K in keyof J]: AnswerOf<J[K]> }>;
  /** Ends the threads, whatever they are doing. */
  close(): Promise<void>;
}

/** A thread failed to do a job: `code` is that of the system call, such as ENOENT. */
export class JobError extends Error {
  override readonly name = 'JobError';
  readonly code: string | undefined;

  constructor(message: string, code: string | undefined) {
    super(message);
    this.code = code;
  }
}

export function openPool({
  threads = Math.min(availableParallelism(), 6),
  signal,
  onBytes,
  script,
}: PoolOptions = {}): Pool {
  signal?.throwIfAborted();
  const idle: Thread[] = [];
  const all = new Set<Thread>();
  const queue: { jobs: readonly Job[]; start: (threads: Thread[]) => void; fail: (error: unknown) => void }[] = [];
  let broken: { reason: unknown } | undefined;

  const end = (reason: unknown): void => {
    broken ??= { reason };
    for (const request of queue.splice(0)) request.fail(broken.reason);
    for (const thread of all) thread.end(broken.reason);
  };
  const onAbort = (): void => end(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });

  const serve = (): void => {
    for (let next = queue[0]; next !== undefined; next = queue[0]) {
      // Threads start when there is work for them: a small file needs no more than one.
      while (idle.length < next.jobs.length && all.size < threads) {
        const thread = startThread(script ?? entryPath('checksum-worker'), end, onBytes);
        all.add(thread);
        idle.push(thread);
      }
      if (idle.length < next.jobs.length) return;
      queue.shift();
      next.start(idle.splice(0, next.jobs.length));
    }
  };

  const perform = async (thread: Thread, job: Job): Promise<unknown> => {
    try {
      return await thread.perform(job);
    } finally {
      idle.push(thread);
      serve();
    }
  };

  return {
    threads,
    async run(jobs) {
      if (broken !== undefined) throw broken.reason;
      if (jobs.length > threads) throw new RangeError(`${jobs.length} jobs at once need more than ${threads} threads`);
      const taken = await new Promise<Thread[]>((start, fail) => {
        queue.push({ jobs, start, fail });
        serve();
      });
      const answers = await Promise.allSettled(jobs.map((job, index) => perform(taken[index] as Thread, job)));
      const failures = answers.flatMap((answer) => (answer.status === 'rejected' ? [answer.reason] : []));
      // Of a pair, the one that failed by itself says more than the one that was woken by it.
      if (failures.length > 0) throw failures.find((error) => error.code !== undefined) ?? failures[0];
      return answers.map((answer) => (answer as PromiseFulfilledResult<unknown>).value) as never;
    },
    async close() {
      signal?.removeEventListener('abort', onAbort);
      broken ??= { reason: new Error('the pool is closed') };
      await Promise.all([...all].map((thread) => thread.end(broken?.reason)));
    },
  };
}

interface Thread {
  perform(job: Job): Promise<unknown>;
  end(reason: unknown): Promise<void>;
}

/** `onDeath` hears of a thread that ended without being asked. */
function startThread(
  script: string,
  onDeath: (reason: unknown) => void,
  onBytes: ((bytes: number) => void) | undefined,
): Thread {
  // Buffers lie outside the heap: a small one keeps many threads within the memory bound.
  const worker = new Worker(script, { resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 2 } });
  let current: { resolve: (answer: unknown) => void; reject: (error: unknown) => void } | undefined;
  let ended: { reason: unknown } | undefined;
  const die = (reason: unknown): void => {
    current?.reject(reason);
    current = undefined;
    if (ended !== undefined) return;
    ended = { reason };
    onDeath(reason);
  };
  worker.on('error', (cause) => die(new Error(`a checksum thread failed: ${cause.message}`, { cause })));
  worker.on('exit', (code) => die(new Error(`a checksum thread ended by itself with code ${code}`)));
  worker.on('message', (message: Message) => {
    if ('progress' in message) return onBytes?.(message.progress);
    const { resolve, reject } = current ?? {};
    current = undefined;
    if ('answer' in message) resolve?.(message.answer);
    else reject?.(new JobError(message.error.message, message.error.code));
  });
  return {
    perform: (job) =>
      new Promise((resolve, reject) => {
        if (ended !== undefined) return reject(ended.reason);
        current = { resolve, reject };
        worker.postMessage(job);
      }),
    async end(reason) {
      ended ??= { reason };
      current?.reject(reason);
      current = undefined;
      await worker.terminate();
    },
  };
}
