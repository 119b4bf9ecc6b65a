import { randomUUID } from 'node:crypto';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { InputError, messageOf } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import { isGone, type ProcessIdentity, thisProcess } from '../process-identity.ts';
import type { Log } from '../receipt/index.ts';

/** Who holds a lock. */
export interface Owner extends ProcessIdentity {
  token: string;
  action: string;
  since: string;
}

export interface Lock {
  /** Names this holding of the lock. */
  token: string;
  release(): Promise<void>;
}

export interface LockOptions {
  action: string;
  log: Log;
  now: Date;
  /** How long to wait for a live owner, ms. */
  waitMs?: number;
  /** Called once when a live owner has to be waited for. */
  onWait?: (owner: Owner) => Promise<void>;
}

/**
 * Takes the lock of a state folder. A lock whose owner is dead (killed, machine restarted, pid reused) is taken over.
 * @throws InputError naming the owner, where a live one holds it.
 */
export async function takeLock(folder: string, options: LockOptions): Promise<Lock> {
  const file = path.join(folder, 'lock');
  const owner: Owner = {
    ...thisProcess(),
    token: randomUUID(),
    action: options.action,
    since: options.now.toISOString(),
  };
  makeStateFolder(folder);

  const deadline = performance.now() + (options.waitMs ?? 0);
  let waited = false;
  for (;;) {
    if (await create(file, owner)) return { token: owner.token, release: () => release(file, owner) };
    const other = await readOwner(file);
    if (other === undefined) continue; // Released meanwhile.
    if (isGone(other)) {
      options.log.warning(`Taking over the lock of ${describe(other)}, which has died.`);
      await removeStale(file, other);
      continue;
    }
    if (!waited) await options.onWait?.(other);
    waited = true;
    if (performance.now() >= deadline) {
      throw new InputError(
        `Another run is at work on this config: ${describe(other)}. Wait for it to end; if it is surely gone, delete ${file}.`,
      );
    }
    await sleep(100);
  }
}

function makeStateFolder(folder: string): void {
  try {
    makeFolder(folder);
  } catch (cause) {
    throw new InputError(`'${folder}' cannot be made (${messageOf(cause)}): run as the owner of the config's folder.`, {
      cause,
    });
  }
}

/** A hard link appears with its content or not at all, so nobody reads half an owner. */
async function create(file: string, owner: Owner): Promise<boolean> {
  const draft = `${file}.${owner.token}`;
  try {
    await writeFile(draft, JSON.stringify(owner), { flag: 'wx' });
    await link(draft, file);
    return true;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw new InputError(`The lock '${file}' cannot be made (${messageOf(cause)}): run as the config's owner.`, {
      cause,
    });
  } finally {
    await rm(draft, { force: true });
  }
}

async function release(file: string, owner: Owner): Promise<void> {
  if ((await readOwner(file))?.token === owner.token) await rm(file, { force: true });
}

/** Moves the stale lock aside and looks again: if somebody was faster and it is a new one, it goes back. */
async function removeStale(file: string, stale: Owner): Promise<void> {
  const aside = `${file}.${randomUUID()}`;
  try {
    await rename(file, aside);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw cause;
  }
  const moved = await readOwner(aside);
  if (moved !== undefined && moved.token !== stale.token) await link(aside, file).catch(() => undefined);
  await rm(aside, { force: true });
}

async function readOwner(file: string): Promise<Owner | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw cause;
  }
  try {
    return JSON.parse(text) as Owner;
  } catch {
    throw new InputError(`The lock '${file}' is not one of ours; if no run is at work, delete it.`);
  }
}

function describe(owner: Owner): string {
  return `${owner.action} by process ${owner.pid} on ${owner.host} since ${owner.since}`;
}
