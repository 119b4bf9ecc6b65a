import { existsSync } from 'node:fs';
import path from 'node:path';
import { InputError, messageOf } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import {
  assertUnchanged,
  copyModel,
  type FileStamp,
  isCopyOf,
  modelFiles,
  openOutput,
  rootOf,
} from '../model/index.ts';
import { removeLeftovers, replaceFile } from '../receipt/index.ts';
import { digestFile, type FileDigests } from './digest.ts';
import { lockManifest, type ManifestPaths, mergeManifest, nameIn } from './files.ts';
import { openPool } from './pool.ts';
import type { ChecksumContext } from './types.ts';

/** Files that were verified. Absolute paths. */
export interface Verified {
  paths: ManifestPaths;
  /** Files of each model, graph first. */
  models: ReadonlyMap<string, readonly string[]>;
  /** Of every file to be installed. */
  digests: ReadonlyMap<string, FileDigests>;
  /** As they were before they were read. */
  stamps: readonly FileStamp[];
}

/** Files that are where they are wanted: the models with their files, and the digests of everything. Absolute paths. */
export interface Installed {
  paths: ManifestPaths;
  models: Map<string, string[]>;
  digests: Map<string, FileDigests>;
}

/**
 * Installs verified files into `folder` under the names they have in the manifest, and adds them to the manifest there.
 * Models go there by `copyModel`, in one step each; what keeps its bytes is not hashed again. Nothing is written before
 * everything has been looked at: what stands there with the same bytes stays, and anything else is refused unless it is
 * to be replaced. One run at a time; what a killed one left behind is removed by the next.
 * @throws InputError where another file stands under a name, or something cannot be written there.
 */
export async function install(
  folder: string,
  verified: Verified,
  ifExists: 'refuse' | 'replace',
  context: ChecksumContext,
): Promise<Installed> {
  const home = path.resolve(folder);
  const target = (file: string) => path.join(home, nameIn(verified.paths.folder, file));
  const installed: Installed = {
    paths: { folder: home, sums: path.join(home, 'SHA256SUMS'), chunked: path.join(home, 'SHA256SUMS.json') },
    models: new Map(),
    digests: new Map(),
  };
  const ofModels = new Set([...verified.models.values()].flat());
  const loose = [...verified.digests.keys()].filter((file) => !ofModels.has(file)).map((file) => [file]);
  const units = [
    ...loose,
    ...[...verified.models].map(([graph, files]) => [graph, ...files.filter((f) => f !== graph)]),
  ];

  const lock = await lockManifest(installed.paths, context);
  try {
    const standing = new Map<string, Map<string, FileDigests>>();
    for (const files of units) {
      const found = await compareStanding(files, target(files[0]!), verified, ifExists);
      if (found !== undefined) standing.set(files[0]!, found);
    }
    for (const files of units) {
      const [first] = files as [string];
      context.signal?.throwIfAborted();
      const kept = standing.get(first);
      // What a killed run left behind goes, also where its model had been put in place already.
      if (kept) await tidy(target(first), verified.models.has(first));
      const written = kept ?? (await put(files, target(first), verified));
      if (verified.models.has(first)) installed.models.set(target(first), [...written.keys()]);
      for (const [file, found] of written) installed.digests.set(file, found);
    }
    lock.assertHeld();
    await mergeManifest(installed.paths, installed.digests);
    return installed;
  } finally {
    lock.release();
  }
}

/**
 * What stands at `target`: its files and digests where they are the same bytes, or those that installing this model made;
 * undefined where nothing stands there or it is to be replaced.
 */
async function compareStanding(
  files: readonly string[],
  target: string,
  { models, digests }: Verified,
  ifExists: 'refuse' | 'replace',
): Promise<Map<string, FileDigests> | undefined> {
  if (!existsSync(target)) return undefined;
  const wanted = rootOf(files.flatMap((file) => digests.get(file)!.chunks));
  const advice = `install under another name, or set if-exists to replace if nothing needs what stands there.`;
  let found: Map<string, FileDigests>;
  try {
    found = await digestAll(models.has(files[0]!) ? await modelFiles(target) : [target]);
  } catch (cause) {
    if (ifExists === 'replace') return undefined;
    throw new InputError(`${target} stands there already and cannot be read (${messageOf(cause)}): ${advice}`, {
      cause,
    });
  }
  const root = rootOf([...found.values()].flatMap(({ chunks }) => chunks));
  const same = root === wanted || (models.has(files[0]!) && (await isCopyOf(files[0]!, target, root)));
  if (same) return found;
  if (ifExists === 'replace') return undefined;
  throw new InputError(
    `${target} is another ${models.has(files[0]!) ? 'model' : 'file'}, with the root ${root} where ${wanted} is to be installed: ${advice}`,
  );
}

/** Removes what killed runs left of a file that stays as it is. */
async function tidy(target: string, isModel: boolean): Promise<void> {
  await removeLeftovers(path.dirname(target));
  if (isModel) openOutput(target).abort();
}

/** Copies a model or a file. What keeps its bytes keeps its digests. */
async function put(
  files: readonly string[],
  target: string,
  { models, digests, stamps }: Verified,
): Promise<Map<string, FileDigests>> {
  const [first] = files as [string];
  // What is copied is what was verified.
  assertUnchanged(stamps.filter((stamp) => files.includes(stamp.path)));
  makeFolder(path.dirname(target));
  await removeLeftovers(path.dirname(target));
  if (!models.has(first)) {
    await explained(target, () => replaceFile(target, { copyOf: first }));
    return new Map([[target, digests.get(first)!]]);
  }
  const written = await copyModel(first, target, digests);
  const found = new Map<string, FileDigests>();
  for (const { path: file, root } of written.files) {
    const same = files.map((each) => digests.get(each)).find((each) => each?.root === root);
    found.set(file, same ?? (await digestAll([file])).get(file)!);
  }
  return found;
}

async function digestAll(files: readonly string[]): Promise<Map<string, FileDigests>> {
  const pool = openPool({ threads: 2, onBytes() {} });
  try {
    const digests = new Map<string, FileDigests>();
    for (const file of files) digests.set(file, await digestFile(file, pool));
    return digests;
  } finally {
    await pool.close();
  }
}

async function explained<T>(target: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof InputError || (cause as NodeJS.ErrnoException).code === undefined) throw cause;
    throw new InputError(`${target} cannot be installed (${messageOf(cause)}): check the folder and its disk.`, {
      cause,
    });
  }
}
