import type { ByteSource, TensorRef } from '../../model/types.ts';
import { product } from './geometry.ts';
import type { Pool } from './pool.ts';
import type { Input } from './tasks.ts';

/**
 * A source as a worker reads it. File ranges travel as numbers; of bytes in memory only [offset, offset + length) does.
 */
export function inputOf(source: ByteSource, offset: number, length: number, pool: Pool): Input {
  if (source.kind === 'file') return { fd: pool.sources.fd(source.path), path: source.path, offset: source.offset };
  return { bytes: sendable(source.bytes, offset, length), from: offset };
}

/** A part of some bytes as it best travels in a message: shared if they are, else a copy, as a view would drag all along. */
export function sendable(bytes: Uint8Array, offset: number, length: number): Uint8Array {
  return bytes.buffer instanceof SharedArrayBuffer
    ? bytes.subarray(offset, offset + length)
    : bytes.slice(offset, offset + length);
}

/** Bytes of one element. */
export function elementBytes({ length, dims }: TensorRef): number {
  return length / Math.max(product(dims), 1);
}
