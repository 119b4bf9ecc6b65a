import { createHash } from 'node:crypto';
import { rmSync } from 'node:fs';
import { lstat, mkdtemp, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { InputError, messageOf } from '../errors.ts';
import { isGone, type ProcessIdentity, thisProcess } from '../process-identity.ts';

/**
 * Gives `body` a new folder under `base` and removes it with all that is in it, however `body` ends. Should the process
 * exit meanwhile, it goes too; should it be killed, the next call with that `prefix` removes it.
 * @throws InputError where `base` takes no folder
 */
export async function withScratch<T>(base: string, prefix: string, body: (folder: string) => Promise<T>): Promise<T> {
  const folder = await makeScratch(base, prefix).catch((error: unknown) => {
    throw new InputError(
      `The temporary folder ${base} cannot be written (${messageOf(error)}): name another one (TMPDIR, on a runner RUNNER_TEMP).`,
      { cause: error },
    );
  });
  const remove = () => rmSync(folder, { recursive: true, force: true });
  process.once('exit', remove);
  try {
    return await body(folder);
  } finally {
    process.off('exit', remove);
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Makes a folder that says in its name whose it is, and removes those of the same `prefix` whose processes are gone. */
export async function makeScratch(base: string, prefix: string): Promise<string> {
  const me = thisProcess();
  for (const name of await readdir(base).catch(() => [])) {
    if (!name.startsWith(`${prefix}-`) || !isStale(name.slice(prefix.length), me)) continue;
    const folder = path.join(base, name);
    // What cannot be removed is no reason to fail: it is in nobody's way.
    if (await isOwn(folder)) await rm(folder, { recursive: true, force: true }).catch(() => undefined);
  }
  return mkdtemp(path.join(base, `${prefix}-${placeOf(me)}-${me.pid}-${me.started ?? ''}-`));
}

/** Whether the end of a folder's name is that of a process which is gone from this place. */
function isStale(end: string, me: ProcessIdentity): boolean {
  const [, place, pid, started] = /^-([0-9a-f]{8})-(\d+)-([0-9a-f.]*)-[0-9A-Za-z]{6}$/.exec(end) ?? [];
  const { host, space } = me;
  if (place !== placeOf(me)) return false;
  return isGone({ host, ...(space ? { space } : {}), pid: Number(pid), ...(started ? { started } : {}) });
}

/** Host and pid namespace in eight digits: pids of other ones mean nothing here. */
function placeOf({ host, space }: ProcessIdentity): string {
  return createHash('sha256')
    .update(JSON.stringify([host, space]))
    .digest('hex')
    .slice(0, 8);
}

/** Whether it is a folder, no link to one, of the user that we are. */
async function isOwn(folder: string): Promise<boolean> {
  const found = await lstat(folder).catch(() => undefined);
  return found?.isDirectory() === true && found.uid === (process.getuid?.() ?? found.uid);
}
