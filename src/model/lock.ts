import { randomBytes } from 'node:crypto';
import { existsSync, linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';
import { InputError } from '../errors.ts';
import { isGone, type ProcessIdentity, thisProcess } from '../process-identity.ts';

/** A lock file that says who holds it. */
export interface Lock {
  /** Throws if another run has taken the lock meanwhile. */
  assertHeld(): void;
  release(): void;
}

interface Owner extends ProcessIdentity {
  token: string;
}

/**
 * Takes the lock `file` or says who has it. The lock of a process that is gone is taken over.
 *
 * @throws InputError if another run holds it.
 */
export function takeLock(file: string, what: string): Lock {
  const owner: Owner = { ...thisProcess(), token: randomBytes(6).toString('hex') };
  for (let attempts = 1; !placed(file, JSON.stringify(owner), owner.token); attempts++) {
    // Each attempt loses to another run at most; a folder that takes no files, such as /proc, would keep us for ever.
    if (attempts === MOST_ATTEMPTS) {
      throw new InputError(
        `The folder "${path.dirname(file)}" takes no lock file for ${what}: name a folder elsewhere.`,
      );
    }
    setAsideIfStale(file, what);
  }
  return {
    assertHeld() {
      if (ownerOf(file)?.token === owner.token) return;
      throw new InputError(`Another run took over ${what} meanwhile: let one finish, then run again.`);
    },
    release() {
      if (ownerOf(file)?.token === owner.token) rmSync(file, { force: true });
    },
  };
}

const MOST_ATTEMPTS = 1000;

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

function setAsideIfStale(file: string, what: string): void {
  const owner = ownerOf(file);
  if (owner && !isGone(owner)) {
    const who = owner.host === hostname() ? `process ${owner.pid}` : `process ${owner.pid} on ${owner.host}`;
    throw new InputError(
      `Another run (${who}) is writing ${what}: wait for it to finish, or delete "${file}" if it is gone.`,
    );
  }
  const aside = `${file}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    renameSync(file, aside);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return;
    throw error;
  }
  // Another run may have replaced the stale lock by its own between reading and renaming: give that one back.
  const moved = ownerOf(aside);
  if (moved && moved.token !== owner?.token) placed(file, JSON.stringify(moved), moved.token);
  rmSync(aside, { force: true });
}

function ownerOf(file: string): Owner | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Owner;
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
