import { randomBytes } from 'node:crypto';
import { chmod, copyFile, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { makeFolder } from '../make-folder.ts';

/**
 * Writes a file so that a reader, and a run after a crash, sees the old one or the new one: to a temporary file beside
 * it, synced, then renamed. Makes the folder. Nothing is left behind where it fails; what a killed process left is
 * removed by the next write of the same file.
 * @param content the text, or the file whose bytes are copied.
 */
export async function replaceFile(file: string, content: string | { copyOf: string }): Promise<void> {
  const folder = path.dirname(path.resolve(file));
  const temporary = `${file}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`;
  makeFolder(folder);
  await removeLeftovers(folder, path.basename(file));
  try {
    if (typeof content === 'string') await writeFile(temporary, content, { flag: 'wx' });
    else await copyWritable(content.copyOf, temporary);
    const handle = await open(temporary, 'r+');
    await handle.sync().finally(() => handle.close());
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
}

/** A copy keeps its source's permissions, and one that nobody may write cannot be synced either. */
async function copyWritable(source: string, target: string): Promise<void> {
  await copyFile(source, target);
  await chmod(target, (await stat(target)).mode | 0o200);
}

/** Removes temporary files of `replaceFile` whose writers are gone: of the file `name`, or of any in the folder. */
export async function removeLeftovers(folder: string, name?: string): Promise<void> {
  for (const entry of await readdir(folder)) {
    const [, of, pid] = /^(.+)\.(\d+)\.[0-9a-f]{8}\.tmp$/.exec(entry) ?? [];
    if (of === undefined || (name !== undefined && of !== name)) continue;
    if (!isRunning(Number(pid))) await rm(path.join(folder, entry), { force: true });
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
