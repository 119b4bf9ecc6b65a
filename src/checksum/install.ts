import { copyFile, mkdir, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { InputError, messageOf } from '../errors.ts';
import { assertUnchanged, explainWriteError, openOutput, readModel, rootOf, writeModel } from '../model/index.ts';
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
 * A model is written as quantize writes one: its graph's rename is the only commit, so a killed run leaves the old
 * model or the new one. Where other weights stand under the same name the new ones get another, and the graph that
 * names them other bytes; everything else keeps its bytes and is not hashed again.
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
    await mkdir(path.dirname(target(graph)), { recursive: true });
    const written = await installModel(graph, files, target(graph), digests);
    installed.models.set(target(graph), [...written.keys()]);
    for (const [file, found] of written) installed.digests.set(file, found);
  }
  await mergeManifest(installed.paths, installed.digests);
  return installed;
}

/** Copies a model, or writes it anew where its weights cannot keep their name. */
async function installModel(
  graph: string,
  files: readonly string[],
  target: string,
  digests: ReadonlyMap<string, FileDigests>,
): Promise<Map<string, FileDigests>> {
  const model = await readModel(graph);
  const [data, ...more] = files.filter((file) => file !== graph);
  const plain = `${path.basename(target)}.data`;
  if (more.length === 0 && (data === undefined || path.basename(data) === plain)) {
    const output = openOutput(target);
    try {
      if (data !== undefined) await copyFile(data, output.dataPath);
      if (data === undefined || (await output.nameData(digests.get(data)!)) === plain) {
        await copyFile(graph, output.graphPath);
        assertUnchanged(model.stamps);
        output.commit(data && plain);
        const copies = data === undefined ? [graph] : [graph, data];
        return new Map(copies.map((file) => [file === graph ? target : `${target}.data`, digests.get(file)!]));
      }
    } catch (cause) {
      throw explainWriteError(cause, target);
    } finally {
      output.abort();
    }
  }
  const written = await writeModel(model, target, { external: data === undefined ? 'never' : 'always' });
  const found = new Map<string, FileDigests>();
  for (const { path: file, chunks } of written.files) {
    const same = files.map((each) => digests.get(each)).find((each) => each?.root === rootOf(chunks));
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
    await mkdir(path.dirname(target), { recursive: true });
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
