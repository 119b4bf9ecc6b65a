import { existsSync } from 'node:fs';
import path from 'node:path';
import { InputError, messageOf } from '../errors.ts';
import { describeOwner, type Lock, waitForLock } from '../lock.ts';
import { makeFolder } from '../make-folder.ts';
import { readRegularFileIfThere } from '../read-file.ts';
import { removeLeftovers, replaceFile, silentLog } from '../receipt/index.ts';
import type { FileDigests } from './digest.ts';
import {
  type ChunkedSums,
  checkNames,
  formatChunkedSums,
  formatSums,
  parseChunkedSums,
  parseSums,
  type Sums,
} from './manifest.ts';
import type { ChecksumContext } from './types.ts';

/** The two files of a manifest, and the folder that their names are relative to. Absolute paths. */
export interface ManifestPaths {
  sums: string;
  chunked: string;
  folder: string;
}

/**
 * Where the manifest of `files` (absolute paths) is. `manifest` may name either file of the pair; a bare name stands
 * in the working directory, or in the files' common folder where one of them lies outside the working directory.
 */
export function locateManifest(manifest: string, files: readonly string[]): ManifestPaths {
  const bare = path.basename(manifest) === manifest;
  const base = bare && files.some((file) => !isBelow(process.cwd(), file)) ? commonFolder(files) : process.cwd();
  const sums = path.resolve(base, manifest.replace(/\.json$/i, ''));
  return { sums, chunked: `${sums}.json`, folder: path.dirname(sums) };
}

/**
 * Reads what there is of a manifest; `undefined` for a file that is not there.
 * @throws InputError where one is there and unreadable or broken.
 */
export async function readManifest(paths: ManifestPaths): Promise<{ sums?: Sums; chunked?: ChunkedSums }> {
  const sums = await readRegularFileIfThere(paths.sums, 'The manifest');
  const chunked = await readRegularFileIfThere(paths.chunked, 'The manifest');
  return {
    ...(sums === undefined ? {} : { sums: parseSums(sums, paths.sums) }),
    ...(chunked === undefined ? {} : { chunked: parseChunkedSums(chunked, paths.chunked) }),
  };
}

/** Writes both files, each through a temporary one that is synced and renamed. */
async function writeManifest(
  paths: ManifestPaths,
  sums: Pick<Sums, 'entries' | 'comments'>,
  chunked: ChunkedSums,
): Promise<void> {
  await write(paths.chunked, formatChunkedSums(chunked));
  await write(paths.sums, formatSums(sums));
}

/**
 * The lock of a manifest, without which two runs at once would lose each other's entries. A live owner is waited for.
 * @throws InputError where it holds on for ten minutes, or the folder takes no lock.
 */
export async function lockManifest(paths: ManifestPaths, { log = silentLog, signal }: ChecksumContext): Promise<Lock> {
  let said = false;
  try {
    makeFolder(paths.folder);
    const lock = await waitForLock(path.join(paths.folder, `.${path.basename(paths.sums)}.lock`), {
      what: paths.sums,
      warn: (sentence) => log.warning(sentence),
      onWait(owner, waitedMs) {
        signal?.throwIfAborted();
        if (!said) log.info(`Waiting for another run (${describeOwner(owner)}) to finish with ${paths.sums}.`);
        said = true;
        return waitedMs < LOCK_WAIT_MS;
      },
    });
    // Nobody else writes here now: whatever such files are left are those of killed runs.
    await removeLeftovers(paths.folder);
    return lock;
  } catch (error) {
    throw writeError(paths.sums, error);
  }
}

const LOCK_WAIT_MS = 600_000;

/**
 * Adds files (absolute paths) to the manifest, or replaces their entries; other entries stay, but those of weights that
 * gave way: data of a model among `digests` that is no more. The caller holds the lock.
 */
export async function mergeManifest(paths: ManifestPaths, digests: ReadonlyMap<string, FileDigests>): Promise<void> {
  const { sums, chunked } = await readManifest(paths);
  const entries = new Map(sums?.entries);
  const chunks = new Map(chunked);
  const names = [...digests.keys()].map((file) => nameIn(paths.folder, file));
  for (const name of new Set([...entries.keys(), ...chunks.keys()])) {
    const [, model] = DATA_NAME.exec(name) ?? [];
    if (model === undefined || !names.includes(model) || names.includes(name)) continue;
    if (existsSync(path.join(paths.folder, name))) continue;
    entries.delete(name);
    chunks.delete(name);
  }
  for (const [file, digest] of digests) {
    const name = nameIn(paths.folder, file);
    entries.set(name, digest.sha256);
    chunks.set(name, digest);
  }
  checkNames(new Set([...entries.keys(), ...chunks.keys()]), paths.sums);
  await writeManifest(paths, { entries, comments: sums?.comments ?? [] }, chunks);
}

/** `<model>.data` and `<model>.<8 hex>.data`: what weights are called where a model is written. */
const DATA_NAME = /^(.+?)(?:\.[0-9a-f]{8})?\.data$/;

async function write(file: string, text: string): Promise<void> {
  await replaceFile(file, text).catch((error: unknown) => {
    throw writeError(file, error);
  });
}

/** One sentence where the system does not let us write; other errors are what they are. */
function writeError(file: string, error: unknown): unknown {
  if ((error as NodeJS.ErrnoException).code === undefined) return error;
  return new InputError(
    `The manifest ${file} cannot be written (${messageOf(error)}): check its folder's permissions and its disk.`,
    { cause: error },
  );
}

/** Name of `file` in a manifest that stands in `folder`: relative, with `/`. */
export function nameIn(folder: string, file: string): string {
  return path.relative(folder, file).replaceAll(path.sep, '/');
}

function isBelow(folder: string, file: string): boolean {
  const relative = path.relative(folder, file);
  return relative !== '..' && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative);
}

function commonFolder(files: readonly string[]): string {
  let folder = path.dirname(files[0] as string);
  while (files.some((file) => !isBelow(folder, file)) && path.dirname(folder) !== folder) folder = path.dirname(folder);
  return folder;
}
