import { rmSync } from 'node:fs';
import { mkdtemp, rm, statfs } from 'node:fs/promises';
import path from 'node:path';

/**
 * Gives `body` a new folder under `base` and removes it with all that is in it, however `body` ends. Should the process
 * exit meanwhile, it goes too.
 */
export async function withTemporaryFolder<T>(base: string, body: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(path.join(base, 'onnx-compare-'));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  process.once('exit', remove);
  try {
    return await body(folder);
  } finally {
    process.off('exit', remove);
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** What can be written to a folder's file system, and whether it takes memory instead of disk. */
export interface SpoolSpace {
  freeBytes: number;
  inMemory: boolean;
}

export async function spoolSpace(folder: string): Promise<SpoolSpace> {
  const { bavail, bsize, type } = await statfs(folder);
  return { freeBytes: bavail * bsize, inMemory: MEMORY_FILE_SYSTEMS.has(type) };
}

/** `f_type` of tmpfs and ramfs (statfs(2)). */
const MEMORY_FILE_SYSTEMS = new Set([0x01021994, 0x858458f6]);
