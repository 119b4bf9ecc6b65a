import { stat } from 'node:fs/promises';
import { InputError, messageOf } from '../errors.ts';
import { CHUNK_BYTES, type ChunkDigest, rootOf } from '../model/index.ts';
import type { Pool } from './pool.ts';
import { createRing } from './ring.ts';

/** A file's identity, whole and by chunk. Sizes in bytes, digests as lower-case hex. */
export interface FileDigests {
  size: number;
  /** SHA-256 of the whole file: what `sha256sum` says. */
  sha256: string;
  /** SHA-256 of each 64 MiB chunk. */
  chunks: ChunkDigest[];
  /** Root over `chunks`. */
  root: string;
}

/** Chunk digests that somebody has computed already, and the receipt they stand in. */
export interface KnownChunks {
  chunks: ChunkDigest[];
  receipt: string;
}

/**
 * Digests a file, whole and by chunk, in one read. The whole-file SHA-256 is serial, so the chunks are digested by a
 * second thread from the same memory, in the same time; a file of one chunk, or with `known` chunks, needs one thread.
 * @throws InputError where the file changes meanwhile, or does not begin as `known` says.
 */
export async function digestFile(file: string, pool: Pool, known?: KnownChunks): Promise<FileDigests> {
  const before = await stat(file);
  const { size } = before;
  const job = { kind: 'file', path: file, size } as const;
  let digests: { sha256: string; chunks: ChunkDigest[] };
  if (known !== undefined || size <= CHUNK_BYTES) {
    const [{ sha256, firstChunk }] = await pool.run([job]);
    const chunks = known?.chunks ?? (size === 0 ? [] : [sha256]);
    if (chunks.length > 0 && chunks[0] !== firstChunk) {
      throw new InputError(
        `${file} is not what ${known?.receipt} says was written (its first 64 MiB differ): quantize again, or remove that receipt.`,
      );
    }
    digests = { sha256, chunks };
  } else if (pool.threads === 1) {
    [digests] = await pool.run([{ ...job, chunks: true }]);
  } else {
    const ring = createRing();
    const [whole, follower] = await pool.run([
      { ...job, ring },
      { kind: 'follow', size, ring },
    ]);
    digests = { sha256: whole.sha256, chunks: follower.chunks };
  }
  const after = await stat(file);
  if (after.size !== size || after.mtimeMs !== before.mtimeMs) {
    throw new InputError(`${file} changed while it was hashed: wait until nothing writes it, then run again.`);
  }
  return { size, sha256: digests.sha256, chunks: digests.chunks, root: rootOf(digests.chunks) };
}

/** What is wrong with reading `file`, as a user's mistake; errors that are none come back as they are. */
export function readError(file: string, error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === undefined || error instanceof InputError) return error;
  return new InputError(`${file} cannot be read (${messageOf(error)}): check that it is there, whole and readable.`, {
    cause: error,
  });
}
