import type { RingMemory } from './ring.ts';

/** What a thread can be asked to do, and what it answers. Sizes and offsets in bytes, digests as lower-case hex. */
export interface Jobs {
  /** SHA-256 of one range of a file. */
  range: { job: { path: string; offset: number; length: number }; answer: { sha256: string } };
  /**
   * SHA-256 of a whole file, and of its first 64 MiB, which the same pass knows. With a ring, every block goes there
   * too; with `chunks`, this thread digests the chunks as well.
   */
  file: {
    job: { path: string; size: number; ring?: RingMemory; chunks?: boolean };
    answer: { sha256: string; firstChunk: string; chunks: string[] };
  };
  /** The chunk digests of the file that another thread reads into `ring`. */
  follow: { job: { size: number; ring: RingMemory }; answer: { chunks: string[] } };
}

export type JobKind = keyof Jobs;

/** A job on its way to a thread. */
export type Job = { [Kind in JobKind]: { kind: Kind } & Jobs[Kind]['job'] }[JobKind];
export type AnswerOf<J extends Job> = Jobs[J['kind']]['answer'];

/** What a thread sends back: bytes read so far since the last such message, then an answer or an error. */
export type Message =
  | { progress: number }
  | { answer: Jobs[JobKind]['answer'] }
  | { error: { message: string; code?: string } };
