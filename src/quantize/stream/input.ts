import type { ByteSource, TensorRef } from '../../model/types.ts';
import { product } from './geometry.ts';
import type { Pool } from './pool.ts';
import type { Input } from './tasks.ts';

/**
 * A source as a worker reads it. File ranges travel as numbers; of bytes in memory only [offset, offset + length) does.
 */
export function inputOf(source: ByteSource, offset: number, length: number, pool: Pool): Input {
  if (source.kind === 'file') return { fd: pool.sources.fd(source.path), path: source.path, offset: source.offset };
  // A copy: a view would drag its whole buffer through the message.
  return { bytes: source.bytes.slice(offset, offset + length), from: offset };
}

/** Bytes of one element. */
export function elementBytes({ length, dims }: TensorRef): number {
  return length / Math.max(product(dims), 1);
}
