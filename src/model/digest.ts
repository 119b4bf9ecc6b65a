import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { explainReadError, stampFile } from './stamp.ts';

/** Length of a digest chunk: 64 MiB. Chunk k of a file covers bytes [k·CHUNK, (k+1)·CHUNK). */
export const CHUNK_BYTES = 64 * 2 ** 20;

const READ_BYTES = 2 ** 20;

/** SHA-256 of one chunk, lower-case hex. An empty file has no chunks. */
export type ChunkDigest = string;

/** A file's identity. */
export interface FileDigest {
  /** Bytes. */
  size: number;
  chunks: ChunkDigest[];
  root: string;
}

/**
 * The identity of a file or of a model of several files: SHA-256 over the raw (32-byte) digests of all their 64 MiB
 * chunks, in order, as lower-case hex. A model's order is the graph file first, then its external data files sorted by
 * location (code-unit order).
 */
export function rootOf(chunks: Iterable<ChunkDigest>): string {
  const hash = createHash('sha256');
  for (const chunk of chunks) hash.update(Buffer.from(chunk, 'hex'));
  return hash.digest('hex');
}

/** Digests bytes as they pass. */
export interface Digester {
  update(bytes: Uint8Array): void;
  finish(): FileDigest;
}

export function digester(): Digester {
  const chunks: ChunkDigest[] = [];
  let hash = createHash('sha256');
  let size = 0;
  return {
    update(bytes) {
      for (let from = 0; from < bytes.length; ) {
        const count = Math.min(bytes.length - from, CHUNK_BYTES - (size % CHUNK_BYTES));
        hash.update(bytes.subarray(from, from + count));
        from += count;
        size += count;
        if (size % CHUNK_BYTES === 0) {
          chunks.push(hash.digest('hex'));
          hash = createHash('sha256');
        }
      }
    },
    finish() {
      if (size % CHUNK_BYTES !== 0) chunks.push(hash.digest('hex'));
      return { size, chunks, root: rootOf(chunks) };
    },
  };
}

/** Digests a file in this thread, reading 1 MiB at a time. */
export async function digestFile(path: string): Promise<FileDigest> {
  const subject = `The file "${path}"`;
  stampFile(path, subject);
  const digest = digester();
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  try {
    const descriptor = openSync(path, 'r');
    try {
      for (let count = -1; count !== 0; ) {
        count = readSync(descriptor, buffer, 0, READ_BYTES, null);
        digest.update(buffer.subarray(0, count));
      }
    } finally {
      closeSync(descriptor);
    }
  } catch (cause) {
    throw explainReadError(cause, subject);
  }
  return digest.finish();
}

/** Digests the files of a model, in the order that `modelFiles` gives, and returns the model's root with them. */
export async function digestFiles(paths: readonly string[]): Promise<{ root: string; files: FileDigest[] }> {
  const files: FileDigest[] = [];
  for (const path of paths) files.push(await digestFile(path));
  return { root: rootOf(files.flatMap(({ chunks }) => chunks)), files };
}
