import { randomBytes } from 'node:crypto';
import { existsSync, linkSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { InputError } from './errors.ts';
import { isGone, type ProcessIdentity, thisProcess } from './process-identity.ts';

/** A lock file that says who holds it. */
export interface Lock {
  /** Names this holding of the lock. */
  token: string;
  /** @throws InputError if another run has taken the lock meanwhile. */
  assertHeld(): void;
  release(): void;
}

/** Who holds a lock, as the file says. */
export interface LockOwner extends ProcessIdentity {
  token: string;
  /** What the run is doing, for the message to others. */
  action?: string;
  /** ISO 8601, UTC. */
  since?: string;
}

export interface LockOptions {
  /** What is locked, for messages: `"model.onnx"`, `the config sarai.yaml`. */
  what: string;
  /** What this run is doing, for the message to others. */
  action?: string;
  now?: Date;
  /** Told when the lock of a dead run, or one that nobody can read, is taken over. */
  warn?: (sentence: string) => void;
}

export interface WaitOptions extends LockOptions {
  /**
   * Called again and again while a live run holds the lock, about ten times a second.
   * @returns false to give up, with the error that names the owner.
   */
  onWait(owner: LockOwner, waitedMs: number): boolean | Promise<boolean>;
}

/**
 * Takes the lock `file` or says who has it. The lock of a process that is gone is taken over, and so is one that is
 * empty or no lock of ours, as a power cut leaves it.
 * @throws InputError if another run holds it, or the folder takes no files.
 */
export function takeLock(file: string, options: LockOptions): Lock {
  const taken = tryLock(file, options);
  if ('release' in taken) return taken;
  throw heldBy(taken, file, options.what);
}

/** `takeLock` that waits for a live owner as long as `onWait` wants to. */
export async function waitForLock(file: string, options: WaitOptions): Promise<Lock> {
  const started = performance.now();
  for (;;) {
    const taken = tryLock(file, options);
    if ('release' in taken) return taken;
    if (!(await options.onWait(taken, performance.now() - started))) throw heldBy(taken, file, options.what);
    await sleep(WAIT_MS);
  }
}

const WAIT_MS = 100;
const MOST_ATTEMPTS = 1000;
/** A file system without hard links shows a lock before its content; by then it is there. */
const UNREADABLE_MS = 200;

function tryLock(file: string, { what, action, now, warn = () => undefined }: LockOptions): Lock | LockOwner {
  const owner: LockOwner = {
    ...thisProcess(),
    token: randomBytes(6).toString('hex'),
    ...(action === undefined ? {} : { action }),
    ...(now === undefined ? {} : { since: now.toISOString() }),
  };
  for (let attempts = 1; !placed(file, JSON.stringify(owner), owner.token); attempts++) {
    // Each attempt loses to another run at most; a folder that takes no files, such as /proc, would keep us for ever.
    if (attempts === MOST_ATTEMPTS) {
      throw new InputError(
        `The folder "${path.dirname(file)}" takes no lock file for ${what}: name a folder elsewhere.`,
      );
    }
    const other = settledOwner(file);
    if (other === undefined) continue;
    if (other !== 'unreadable' && !isGone(other)) return other;
    const whose = other === 'unreadable' ? 'that names no run' : `of ${describeOwner(other)}, which has died,`;
    if (setAside(file, other)) warn(`The lock ${whose} is taken over: ${file}.`);
  }
  removeLeftovers(file);
  return {
    token: owner.token,
    assertHeld() {
      if (tokenOf(file) === owner.token) return;
      throw new InputError(`Another run took over ${what} meanwhile: let one finish, then run again.`);
    },
    release() {
      if (tokenOf(file) === owner.token) rmSync(file, { force: true });
    },
  };
}

/** "promote by process 12 on agi1 since …" */
export function describeOwner({ action, pid, host, since }: LockOwner): string {
  const who = host === hostname() ? `process ${pid}` : `process ${pid} on ${host}`;
  return `${action === undefined ? who : `${action} by ${who}`}${since === undefined ? '' : ` since ${since}`}`;
}

function heldBy(owner: LockOwner, file: string, what: string): InputError {
  return new InputError(
    `Another run (${describeOwner(owner)}) is at work on ${what}: wait for it to finish, or delete "${file}" if it is surely gone.`,
  );
}

/** Puts a lock file in place unless there is one. A link appears whole or not at all, and never replaces another. */
function placed(file: string, content: string, token: string): boolean {
  const own = `${file}.${token}.tmp`;
  try {
    writeFileSync(own, content);
    linkSync(own, file);
    return true;
  } catch (error) {
    const code = codeOf(error) ?? '';
    // Whoever holds the lock removes strangers' temporary files, ours among them.
    if (code === 'EEXIST' || (code === 'ENOENT' && existsSync(path.dirname(file)))) return false;
    if (!NO_LINKS.has(code) || !existsSync(own)) throw error;
    return placedWithoutLink(file, content);
  } finally {
    rmSync(own, { force: true });
  }
}

function placedWithoutLink(file: string, content: string): boolean {
  try {
    writeFileSync(file, content, { flag: 'wx' });
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/** What file systems without hard links say. */
const NO_LINKS = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'UNKNOWN']);

/** The owner; `unreadable` where the file stays no lock of ours; undefined where there is none any more. */
function settledOwner(file: string): LockOwner | 'unreadable' | undefined {
  const first = readOwner(file);
  if (first !== 'unreadable') return first;
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, UNREADABLE_MS);
  return readOwner(file);
}

/** Moves a stale lock aside and removes it. False where somebody was faster. */
function setAside(file: string, stale: LockOwner | 'unreadable'): boolean {
  const aside = `${file}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    renameSync(file, aside);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
  // Another run may have replaced the stale lock by its own between reading and renaming: give that one back.
  const moved = readOwner(aside);
  const another =
    moved !== undefined && moved !== 'unreadable' && moved.token !== (stale === 'unreadable' ? undefined : stale.token);
  if (another) placed(file, JSON.stringify(moved), moved.token);
  rmSync(aside, { force: true });
  return !another;
}

/** Temporary files of killed runs; we hold the lock, and whoever is just trying for it tries again. */
function removeLeftovers(file: string): void {
  const base = path.basename(file);
  for (const name of readdirSync(path.dirname(file))) {
    const leftover = name.startsWith(`${base}.`) && /^\.[0-9a-f]{12}\.tmp$/.test(name.slice(base.length));
    if (leftover) rmSync(path.join(path.dirname(file), name), { force: true });
  }
}

function tokenOf(file: string): string | undefined {
  const owner = readOwner(file);
  return owner === undefined || owner === 'unreadable' ? undefined : owner.token;
}

function readOwner(file: string): LockOwner | 'unreadable' | undefined {
  try {
    const owner = JSON.parse(readFileSync(file, 'utf8')) as Partial<LockOwner> | null;
    const sound = typeof owner?.token === 'string' && typeof owner.host === 'string' && Number.isInteger(owner.pid);
    return sound ? (owner as LockOwner) : 'unreadable';
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    if (error instanceof SyntaxError) return 'unreadable';
    throw error;
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
