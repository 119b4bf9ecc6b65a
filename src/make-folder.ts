import { mkdirSync, statSync } from 'node:fs';
import path from 'node:path';

/** A folder that is removed between two steps by another run is made again so often. */
const ATTEMPTS = 10;

/**
 * Makes a folder and those above it that are missing; returns the first that it made. `mkdir` with `recursive` does not
 * return where a file system says that a new folder has no parent, as /proc does (Node.js 20 and 24).
 * @throws what `mkdir` throws
 */
export function makeFolder(folder: string): string | undefined {
  const target = path.resolve(folder);
  let first: string | undefined;
  for (let attempt = 1; ; attempt++) {
    const missing = missingFolders(target);
    try {
      for (const each of missing) {
        make(each);
        first ??= each;
      }
      return first;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || attempt === ATTEMPTS) throw error;
    }
  }
}

/** From the highest to the target itself. */
function missingFolders(target: string): string[] {
  const missing: string[] = [];
  for (let at = target; !isFolder(at); at = path.dirname(at)) {
    missing.unshift(at);
    if (at === path.dirname(at)) break;
  }
  return missing;
}

function make(folder: string): void {
  try {
    mkdirSync(folder);
  } catch (error) {
    // Another run was faster.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !isFolder(folder)) throw error;
  }
}

function isFolder(folder: string): boolean {
  try {
    return statSync(folder).isDirectory();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return false;
    throw error;
  }
}
