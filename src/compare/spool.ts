import { statfs } from 'node:fs/promises';

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
