import { CHUNK_BYTES, type FileDigest, rootOf } from '../../model/digest.ts';
import type { FileStamp } from '../../model/types.ts';
import type { Pool } from './pool.ts';
import type { Task } from './tasks.ts';

/**
 * Digests files chunk by chunk on all workers, at the size they had when they were read; the order is that of `files`.
 * `onBytes` hears how many more bytes were read.
 */
export async function digestSources(
  files: readonly Pick<FileStamp, 'path' | 'size'>[],
  pool: Pool,
  onBytes: (bytes: number) => void = () => {},
): Promise<FileDigest[]> {
  const chunks = files.map((): string[] => []);
  await pool.runAll(tasks(files, pool), ({ file, index, length }, digest) => {
    chunks[file]![index] = digest;
    onBytes(length);
  });
  return files.map(({ size }, i) => ({ size, chunks: chunks[i]!, root: rootOf(chunks[i]!) }));
}

type DigestTask = Extract<Task, { kind: 'digest' }>;

function* tasks(
  files: readonly Pick<FileStamp, 'path' | 'size'>[],
  pool: Pool,
): Generator<[DigestTask, { file: number; index: number; length: number }]> {
  for (const [file, { path, size }] of files.entries()) {
    for (let index = 0, offset = 0; offset < size; index++, offset += CHUNK_BYTES) {
      const length = Math.min(CHUNK_BYTES, size - offset);
      yield [
        { kind: 'digest', input: { fd: pool.sources.fd(path), path, offset }, length },
        { file, index, length },
      ];
    }
  }
}
