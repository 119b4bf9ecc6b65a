import { statSync } from 'node:fs';
import { chmod, copyFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { InputError } from '../errors.ts';
import { explainWriteError, openOutput } from './commit.ts';
import { type FileDigest, rootOf } from './digest.ts';
import { layoutModel, type ModelLayout } from './layout.ts';
import { readModel } from './read.ts';
import { assertUnchanged } from './stamp.ts';
import type { FileLayout, FileStamp, Model } from './types.ts';
import { digestLayout, type WrittenModel, writeModel } from './write.ts';

/**
 * Copies a model to `output` as `writeModel` writes one: its graph's rename is the only commit, so a killed run leaves
 * the old model or the new one. Where other weights stand under the name of its data the new ones get another, and the
 * graph that names them other bytes; everything else keeps its bytes. `digests` are those of the model's files, by
 * absolute path, so that nothing is hashed again.
 *
 * @throws InputError in one sentence if the model cannot be read or nothing can be written there.
 */
export async function copyModel(
  source: string,
  output: string,
  digests: ReadonlyMap<string, FileDigest>,
): Promise<WrittenModel> {
  const model = await readModel(source);
  const [data, ...more] = model.externalFiles;
  const plain = `${path.basename(output)}.data`;
  if (more.length === 0 && (data === undefined || path.basename(data) === plain)) {
    const target = openOutput(output);
    try {
      if (data !== undefined) await copyWritable(data, target.dataPath);
      if (data === undefined || (await target.nameData(digests.get(data)!)) === plain) {
        await copyWritable(model.path, target.graphPath);
        assertUnchanged(model.stamps);
        target.commit(data && plain);
        const copied = [{ ...digests.get(model.path)!, path: path.resolve(output) }];
        if (data !== undefined) copied.push({ ...digests.get(data)!, path: path.resolve(`${output}.data`) });
        return { root: rootOf(copied.flatMap(({ chunks }) => chunks)), files: copied };
      }
    } catch (cause) {
      throw explainWriteError(cause, output);
    } finally {
      target.abort();
    }
  }
  return writeModel(model, output, { external: externalOf(model) });
}

/**
 * Whether the model at `output`, whose root is `root`, is what `copyModel` makes of `source` where other weights stood in
 * the way or its data had other names: the graph then names other data than the source's, and all else is the same.
 * Writes nothing.
 *
 * @throws InputError in one sentence if either cannot be read.
 */
export async function isCopyOf(source: string, output: string, root: string): Promise<boolean> {
  const [model, standing] = [await readModel(source), await readModel(output)];
  const [data, ...more] = standing.externalFiles;
  const layout = layoutModel(model, { output, external: externalOf(model) });
  const location = data && path.relative(path.dirname(standing.path), data);
  const files = [layout.graph(location), ...(layout.data ? [layout.data] : [])];
  const sizes = standing.stamps.map(({ size }) => size);
  if (more.length > 0 || files.length !== sizes.length || files.some(({ size }, at) => size !== sizes[at]))
    return false;
  const copied = files.map((file) => digestLayout(file));
  assertUnchanged(model.stamps);
  return rootOf(copied.flatMap(({ chunks }) => chunks)) === root;
}

/** A copy of a model has external data where the model has. */
function externalOf({ externalFiles }: Model): 'always' | 'never' {
  return externalFiles.length > 0 ? 'always' : 'never';
}

/**
 * The files of a model that is copied while it is written: the source's own bytes, graph and data, where its one data
 * file is called as the output's; elsewhere the graph has to name other data, and is written anew with the same values.
 */
export function layoutCopy<Job = never>(source: Model, output: string): ModelLayout<Job> {
  const [graph, data, ...more] = source.stamps;
  const plain = `${path.basename(output)}.data`;
  const there = data && statSync(`${output}.data`, { throwIfNoEntry: false });
  if (more.length > 0 || (data && path.basename(data.path) !== plain) || (there && there.size !== data?.size)) {
    return layoutModel<Job>(source, { output, external: data ? 'always' : 'never' });
  }
  return {
    data: data && wholeFile(data, `${output}.data`),
    graph(location = plain) {
      if (location === plain) return wholeFile(graph!, output);
      throw new InputError(
        `Other weights stand at "${output}.data": move them, or choose another output for the copy.`,
      );
    },
  };
}

function wholeFile<Job>({ path: source, size }: FileStamp, target: string): FileLayout<Job> {
  const segments = [{ kind: 'file' as const, path: source, sourceOffset: 0, offset: 0, length: size }];
  return { path: target, size, segments };
}

/** A copy keeps its source's permissions, and one that nobody may write cannot be synced either. */
async function copyWritable(source: string, target: string): Promise<void> {
  await copyFile(source, target);
  await chmod(target, (await stat(target)).mode | 0o200);
}
