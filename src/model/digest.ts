import { createHash } from 'node:crypto';

/** Length of a digest chunk: 64 MiB. Chunk k of a file covers bytes [k·CHUNK, (k+1)·CHUNK). */
export const CHUNK_BYTES = 64 * 2 ** 20;

/** SHA-256 of one chunk, lower-case hex. An empty file has no chunks. */
export type ChunkDigest = string;

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
