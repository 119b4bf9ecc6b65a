import { type BigIntStats, closeSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import path from 'node:path';
import { InputError } from '../errors.ts';
import { explainWriteError, openOutput } from './commit.ts';
import { digester, type FileDigest, rootOf } from './digest.ts';
import { type LayoutOptions, layoutModel } from './layout.ts';
import { assertUnchanged } from './stamp.ts';
import type { FileLayout, Model, Segment } from './types.ts';

const BLOCK_BYTES = 2 ** 20;

/** A model that was written. */
export interface WrittenModel {
  /** The model's root: over the chunks of its files, in order. */
  root: string;
  /** The graph file, then the external data file if there is one. */
  files: (FileDigest & { path: string })[];
}

/**
 * Writes a model to `output`, and its large tensors to `<output>.data` where they belong outside (see `layoutModel`).
 * What was at `output` stays until the new files are complete on disk; a failure leaves nothing behind. Takes 1 MiB of
 * memory beside the graph. Reading a model and writing it unchanged gives the bytes it had if it was in protobuf's
 * canonical form and in one file, as exporters write them.
 *
 * @throws InputError in one sentence if nothing can be written there or the source changed meanwhile.
 */
export async function writeModel(
  model: Model,
  output: string,
  options: Pick<LayoutOptions<never>, 'external'> = {},
): Promise<WrittenModel> {
  const layout = layoutModel(model, { output, ...options });
  const target = openOutput(output);
  try {
    const data = layout.data && writeFile(layout.data, target.dataPath);
    const location = data && (await target.nameData(data));
    const graph = writeFile(layout.graph(location), target.graphPath);
    assertUnchanged(model.stamps);
    target.commit(location);
    const files = [{ path: path.resolve(output), ...graph }];
    if (data && location) files.push({ path: path.join(path.dirname(path.resolve(output)), location), ...data });
    return { root: rootOf(files.flatMap(({ chunks }) => chunks)), files };
  } catch (cause) {
    throw explainWriteError(cause, output);
  } finally {
    target.abort();
  }
}

/** Refuses an output that is one of the source's own files, by whatever path it is named. */
export function assertOutputDiffers(model: Model, output: string): void {
  const target = statIfThere(output);
  for (const file of [model.path, ...model.externalFiles]) {
    const source = statSync(file, { bigint: true, throwIfNoEntry: false });
    if (!source || !target || source.ino !== target.ino || source.dev !== target.dev) continue;
    const what = file === model.path ? 'the model itself' : "the model's external data";
    throw new InputError(`The output "${output}" is ${what}: name another file.`);
  }
}

/** What stands at a path; undefined where nothing does or can, which opening the output will explain. */
function statIfThere(file: string): BigIntStats | undefined {
  try {
    return statSync(file, { bigint: true, throwIfNoEntry: false });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return undefined;
    throw error;
  }
}

function writeFile(layout: FileLayout<never>, file: string): FileDigest {
  const descriptor = openSync(file, 'wx');
  try {
    return digestLayout(layout, (bytes) => {
      for (let done = 0; done < bytes.length; ) done += writeSync(descriptor, bytes, done);
    });
  } finally {
    closeSync(descriptor);
  }
}

/** The identity of a file to be written; `put` takes its bytes as they pass. */
export function digestLayout({ segments }: FileLayout<never>, put?: (bytes: Uint8Array) => void): FileDigest {
  const digest = digester();
  const buffer = Buffer.allocUnsafe(BLOCK_BYTES);
  for (const segment of segments) {
    for (const block of blocksOf(segment, buffer)) {
      digest.update(block);
      put?.(block);
    }
  }
  return digest.finish();
}

/** A segment's bytes, at most a buffer at a time. */
function* blocksOf(segment: Segment<never>, buffer: Buffer): Generator<Uint8Array> {
  if (segment.kind === 'bytes') yield segment.bytes;
  if (segment.kind === 'zeros') yield new Uint8Array(segment.length);
  if (segment.kind !== 'file') return;
  const descriptor = openSync(segment.path, 'r');
  try {
    for (let done = 0; done < segment.length; ) {
      const wanted = Math.min(buffer.length, segment.length - done);
      const count = readSync(descriptor, buffer, 0, wanted, segment.sourceOffset + done);
      if (count === 0) throw new InputError(`"${segment.path}" became shorter while it was read: run again.`);
      yield buffer.subarray(0, count);
      done += count;
    }
  } finally {
    closeSync(descriptor);
  }
}
