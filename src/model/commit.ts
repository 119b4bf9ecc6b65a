import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
} from 'node:fs';
import path from 'node:path';
import { InputError, messageOf } from '../errors.ts';
import { type Lock, takeLock } from '../lock.ts';
import { makeFolder } from '../make-folder.ts';
import { digestFile } from './digest.ts';
import { namedLocations } from './read.ts';

/** An output in the making. Whoever opens one ends it with `commit` or `abort`. */
export interface ModelOutput {
  /** Where to write the graph file until it is committed. */
  readonly graphPath: string;
  /** Where to write the external data file until it is committed. */
  readonly dataPath: string;
  /**
   * The name that the written data file will have, which the graph file must give as its location: `<output>.data`,
   * or `<output>.<first 8 hex of its root>.data` where other weights stand there that a model still uses.
   */
  nameData(written: { size: number; root: string }): Promise<string>;
  /**
   * Puts the new model in place of the old: syncs both files, renames the data file to `dataName` (if there is one),
   * then the graph file, which is the one step that counts. Removes data files of earlier outputs that no model uses.
   */
  commit(dataName: string | undefined): void;
  /** Removes what was written. Does nothing after `commit`. */
  abort(): void;
}

/**
 * Begins to write a model to `output`. A killed run leaves the old model or the new one; what else it leaves is
 * removed by the next run on the same output. A folder that does not exist is made, and removed again by `abort`.
 *
 * @throws InputError if another run is writing there, or nothing can be written there.
 */
export function openOutput(output: string): ModelOutput {
  const target = path.resolve(output);
  const directory = path.dirname(target);
  const base = path.basename(target);
  const temporary = (kind: string) => path.join(directory, `.${base}.${token}.${kind}.tmp`);
  const token = randomBytes(6).toString('hex');
  const graphPath = temporary('graph');
  const dataPath = temporary('data');
  let firstMade: string | undefined;
  const lock = explained(output, () => {
    refuseOddTarget(target, output);
    firstMade = makeFolder(directory);
    const taken = takeLock(path.join(directory, `.${base}.lock`), { what: `"${output}"` });
    removeTemporaries(directory, base);
    removeAbandoned(directory, base);
    return taken;
  });
  let open = true;
  const close = () => {
    open = false;
    rmSync(graphPath, { force: true });
    rmSync(dataPath, { force: true });
    lock.release();
  };
  return {
    graphPath,
    dataPath,
    nameData: (written) => nameData(target, written),
    commit(dataName) {
      try {
        explained(output, () => {
          let committed = false;
          try {
            replace(lock, directory, { graphPath, dataPath, target, dataName });
            committed = true;
          } finally {
            // After a failure this removes the new data file, after success the old one.
            removeUnused(directory, base, committed ? dataName : undefined);
          }
        });
      } finally {
        close();
      }
    },
    abort() {
      if (!open) return;
      close();
      if (firstMade !== undefined) removeEmpty(directory, firstMade);
    },
  };
}

/** Removes the folders from `deepest` up to `first`, as long as they are empty. */
function removeEmpty(deepest: string, first: string): void {
  for (let folder = deepest; readdirSync(folder).length === 0; folder = path.dirname(folder)) {
    rmdirSync(folder);
    if (folder === first) return;
  }
}

/** One sentence for a file that cannot be written. */
export function explainWriteError(cause: unknown, output: string): Error {
  if (cause instanceof InputError) return cause;
  const { code, syscall } = cause as NodeJS.ErrnoException;
  // Only the file system's errors are about the output.
  if (syscall === undefined) return cause instanceof Error ? cause : new Error(messageOf(cause));
  const why = WRITE_ERRORS[code ?? ''] ?? `cannot be written (${messageOf(cause)}): check the disk`;
  return new InputError(`The output "${output}" ${why}.`, { cause });
}

const WRITE_ERRORS: Record<string, string> = {
  ENOSPC: 'does not fit on its disk: free some space or name an output on another disk',
  EDQUOT: 'does not fit into the disk quota: free some space or name an output on another disk',
  EFBIG: 'is larger than its file system or this user allows: name an output on another disk',
  EROFS: 'lies on a read-only file system: name an output elsewhere',
  EACCES: 'may not be written by this user: change the permissions of its folder or name an output elsewhere',
  EPERM: 'may not be written by this user: change the permissions of its folder or name an output elsewhere',
  EBUSY: 'is in use by another process: stop it or name another output',
  ENOENT: 'lies in a folder that cannot be made or is gone: create it, or name an output elsewhere',
  ENOTDIR: 'lies in a folder that does not exist: a part of its path is a file',
  ENAMETOOLONG: 'has a longer name than this system allows: shorten it',
  EIO: 'could not be written: the disk reports an error',
};

function explained<T>(output: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw explainWriteError(cause, output);
  }
}

function refuseOddTarget(target: string, output: string): void {
  const found = statSync(target, { throwIfNoEntry: false });
  if (found?.isDirectory()) throw new InputError(`The output "${output}" is a directory: name a file in it.`);
  if (found && !found.isFile()) throw new InputError(`The output "${output}" is not a plain file: name another.`);
}

async function nameData(target: string, written: { size: number; root: string }): Promise<string> {
  const directory = path.dirname(target);
  const plain = `${path.basename(target)}.data`;
  const hashed = `${path.basename(target)}.${written.root.slice(0, 8)}.data`;
  const isWritten = async (name: string) => {
    const file = path.join(directory, name);
    if (statSync(file, { throwIfNoEntry: false })?.size !== written.size) return false;
    return (await digestFile(file)).root === written.root;
  };
  if (await isWritten(plain)) return plain;
  const standing = [plain, hashed].filter((name) => existsSync(path.join(directory, name)));
  if (standing.length === 0) return plain;
  const used = usedNames(directory);
  if (used.has(hashed) && (await isWritten(hashed))) return hashed;
  return used.has(plain) ? hashed : plain;
}

function replace(
  lock: Lock,
  directory: string,
  files: { graphPath: string; dataPath: string; target: string; dataName: string | undefined },
): void {
  const { graphPath, dataPath, target, dataName } = files;
  if (dataName !== undefined) syncFile(dataPath);
  syncFile(graphPath);
  lock.assertHeld();
  if (dataName !== undefined) {
    renameSync(dataPath, path.join(directory, dataName));
    syncDirectory(directory);
  }
  renameSync(graphPath, target);
  syncDirectory(directory);
}

function syncFile(file: string): void {
  const descriptor = openSync(file, 'r+');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Makes renames last. Windows cannot open a directory, and needs it less. */
function syncDirectory(directory: string): void {
  if (process.platform === 'win32') return;
  const descriptor = openSync(directory, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** What runs that were killed left behind. We hold the lock, so nobody writes them now. */
function removeTemporaries(directory: string, base: string): void {
  for (const name of readdirSync(directory)) {
    const [, of, kind] = TEMPORARY.exec(name) ?? [];
    if (of === base && kind !== 'lock') rmSync(path.join(directory, name), { force: true });
  }
}

/** What runs that were killed left behind for other outputs in the folder, which may never be written again. */
function removeAbandoned(directory: string, base: string): void {
  const others = new Set(readdirSync(directory).map((name) => TEMPORARY.exec(name)?.[1]));
  others.delete(base);
  for (const other of others) {
    if (other === undefined) continue;
    let lock: Lock;
    try {
      lock = takeLock(path.join(directory, `.${other}.lock`), { what: other });
    } catch {
      continue; // Its run is still at work, or it is none of ours to take.
    }
    removeTemporaries(directory, other);
    lock.release();
  }
}

/** `.<output>.lock`, and what is written beside an output until it is committed. */
const TEMPORARY = /^\.(.+?)\.(lock|(?:lock\.)?[0-9a-f]{12}\.(?:(?:graph|data)\.)?tmp)$/;

/** Removes data files with our names that no model in the directory uses any more; `inUse` is known to be. */
function removeUnused(directory: string, base: string, inUse: string | undefined): void {
  const pattern = new RegExp(`^${escaped(base)}\\.([0-9a-f]{8}\\.)?data$`);
  const candidates = readdirSync(directory).filter((name) => name !== inUse && pattern.test(name));
  if (candidates.length === 0) return;
  const used = usedNames(directory);
  for (const name of candidates) if (!used.has(name)) rmSync(path.join(directory, name), { force: true });
}

/**
 * Whether a model uses the data file of that name in a directory: a model there, or one in a folder above, whose locations
 * lead down. A model may have been renamed (`X.ONNX`, `prod.onnx.bak`), so every file that could be a graph is looked at;
 * where one may not be read, its data may be any. Above there may be files of all kinds and of other people's: there a
 * graph is what has `.onnx` in its name. Files are told by where they really lie, since folders and data may be links.
 */
function usedNames(directory: string): { has(name: string): boolean } {
  const used = new Set<string>();
  for (const folder of foldersAbove(directory)) {
    const could = folder === directory ? (name: string) => !NO_GRAPH.test(name) : (name: string) => ONNX.test(name);
    for (const graph of namesIn(folder, directory).filter((name) => could(name) && !NO_GRAPH.test(name))) {
      const locations = namedLocations(path.join(folder, graph));
      if (locations === undefined) return { has: () => true };
      for (const location of locations) used.add(realFile(path.join(folder, location)));
    }
  }
  return { has: (name) => used.has(realFile(path.join(directory, name))) };
}

/** The directory, and all that it lies in, by its path and where it really lies. */
function foldersAbove(directory: string): Set<string> {
  const folders = new Set<string>();
  for (const start of [directory, realFile(directory)]) {
    for (let folder = start; !folders.has(folder); folder = path.dirname(folder)) folders.add(folder);
  }
  return folders;
}

/** What we may not list above our own directory holds nothing of ours. */
function namesIn(folder: string, own: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (folder === own) throw error;
    return [];
  }
}

function realFile(file: string): string {
  try {
    return realpathSync.native(file);
  } catch {
    return file;
  }
}

/** Weights, receipts and what is being written. */
const NO_GRAPH = /\.(data|json|jsonl|tmp|lock)$/;
const ONNX = /\.onnx/i;

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
