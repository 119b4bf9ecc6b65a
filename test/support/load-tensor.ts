import { closeSync, openSync, readSync } from 'node:fs';
import type { TensorRef } from '../../src/model/index.ts';

/** The bytes of a tensor, loaded: for tests on small models. */
export function loadTensor({ source, length }: TensorRef): Buffer {
  if (source.kind === 'bytes') return Buffer.from(source.bytes);
  const bytes = Buffer.alloc(length);
  const file = openSync(source.path, 'r');
  try {
    readSync(file, bytes, 0, length, source.offset);
  } finally {
    closeSync(file);
  }
  return bytes;
}
