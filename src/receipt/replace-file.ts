import { randomBytes } from 'node:crypto';
import { open, readdir, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { makeFolder } from '../make-folder.ts';

/**
 * Writes a text file so that a reader, and a run after a crash, sees the old one or the new one: to a temporary file
 * beside it, synced, then renamed. Makes the folder. Nothing is left behind where it fails; what a killed process left
 * is removed by the next write of the same file.
 */
export async function replaceFile(file: string, text: string): Promise<void> {
  const folder = path.dirname(path.resolve(file));
  const temporary = `${file}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`;
  makeFolder(folder);
  await removeLeftovers(folder, path.basename(file));
  try {
    const handle = await open(temporary, 'wx');
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
}

/** Temporary files of `name` whose writers are gone. */
async function removeLeftovers(folder: string, name: string): Promise<void> {
  for (const entry of await readdir(folder)) {
    const pid = entry.startsWith(`${name}.`) && /^\.(\d+)\.[0-9a-f]{8}\.tmp$/.exec(entry.slice(name.length))?.[1];
    if (pid && !isRunning(Number(pid))) await rm(path.join(folder, entry), { force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}
