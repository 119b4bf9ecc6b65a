import { copyFile, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { InputError, messageOf } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import { copyModel } from '../model/index.ts';
import { digestFile, type FileDigests } from './digest.ts';
import { type ManifestPaths, mergeManifest, nameIn } from './files.ts';
import { openPool } from './pool.ts';

/** Files that are where they are wanted: the models with their files, and the digests of everything. Absolute paths. */
export interface Installed {
  paths: ManifestPaths;
  models: Map<string, string[]>;
  digests: Map<string, FileDigests>;
}

/**
 * Installs verified files into `folder` under the names they have in the manifest, and adds them to the manifest there.
 * Models go there by `copyModel`, in one step each; what keeps its bytes is not hashed again.
 * @throws InputError where something cannot be written there.
 */
export async function install(
  folder: string,
  paths: ManifestPaths,
  models: ReadonlyMap<string, readonly string[]>,
  digests: ReadonlyMap<string, FileDigests>,
): Promise<Installed> {
  const home = path.resolve(folder);
  const target = (file: string) => path.join(home, nameIn(paths.folder, file));
  const installed: Installed = {
    paths: { folder: home, sums: path.join(home, 'SHA256SUMS'), chunked: path.join(home, 'SHA256SUMS.json') },
    models: new Map(),
    digests: new Map(),
  };
  const ofModels = new Set([...models.values()].flat());
  for (const [file, found] of digests) {
    if (ofModels.has(file)) continue;
    await copyInPlace(file, target(file));
    installed.digests.set(target(file), found);
  }
  for (const [graph, files] of models) {
    makeFolder(path.dirname(target(graph)));
    const written = await installModel(graph, files, target(graph), digests);
    installed.models.set(target(graph), [...written.keys()]);
    for (const [file, found] of written) installed.digests.set(file, found);
  }
  await mergeManifest(installed.paths, installed.digests);
  return installed;
}

/** Copies a model. What keeps its bytes keeps its digests. */
async function installModel(
  graph: string,
  files: readonly string[],
  target: string,
  digests: ReadonlyMap<string, FileDigests>,
): Promise<Map<string, FileDigests>> {
  const written = await copyModel(graph, target, digests);
  const found = new Map<string, FileDigests>();
  for (const { path: file, root } of written.files) {
    const same = files.map((each) => digests.get(each)).find((each) => each?.root === root);
    found.set(file, same ?? (await digestWritten(file)));
  }
  return found;
}

async function digestWritten(file: string): Promise<FileDigests> {
  const pool = openPool({ threads: 2, onBytes() {} });
  try {
    return await digestFile(file, pool);
  } finally {
    await pool.close();
  }
}

/** Copies through a temporary file that is synced and renamed. */
async function copyInPlace(source: string, target: string): Promise<void> {
  const temporary = `${target}.${process.pid}.tmp`;
  try {
    makeFolder(path.dirname(target));
    await copyFile(source, temporary);
    const handle = await open(temporary, 'r+');
    await handle.sync().finally(() => handle.close());
    await rename(temporary, target);
  } catch (cause) {
    await rm(temporary, { force: true });
    throw new InputError(`${target} cannot be installed (${messageOf(cause)}): check the folder and its disk.`, {
      cause,
    });
  }
}
