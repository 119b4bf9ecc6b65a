import { rm } from 'node:fs/promises';
import path from 'node:path';
import { bytes } from '../bytes.ts';
import { InputError } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import { declaredOutputs, indexGraphs, type Model } from '../model/index.ts';
import type { Samples, SpooledTensor } from '../runtime/index.ts';
import { type RowsOptions, scoredOutputs } from './logits.ts';
import { type AxisFigures, Channels, channelAxes } from './metrics/channels.ts';
import { CHUNK_ELEMENTS, createKernels, type Kernels } from './metrics/kernels.ts';
import { compareOutputs, type OutputComparison, type StoredTensor } from './metrics/outputs.ts';
import { spoolSpace } from './spool.ts';
import type { Side, Stage } from './stage.ts';

export interface QualityOptions {
  /** Its graph says which outputs look like scores. */
  reference: Model;
  /** Of which outputs the share of equal top-1 answers is taken. */
  rows: RowsOptions;
  /** Temporary folder for outputs. */
  folder: string;
  /** Outputs of the reference by sample, where they are already there. */
  stored: StoredTensor[][] | null;
  /** Folder that keeps the reference's outputs, for a baseline. */
  keep?: string;
  /** Called with the bytes of all outputs of one inference once they are known, before the second model is loaded. */
  sized: (outputBytes: number) => Promise<void>;
  /** Called with what both answered to a sample, whose files the next sample overwrites. */
  answered?: (index: number, reference: StoredTensor[], model: StoredTensor[]) => Promise<void>;
  progress: (samples: number) => void;
  signal?: AbortSignal;
}

export interface Quality {
  /** Comparisons by sample, then output. */
  samples: OutputComparison[][];
  /** The reference's outputs by sample, where `keep` asked for them. */
  kept: StoredTensor[][];
  /** The axes along which each output was compared index by index, by its name. */
  channels: Map<string, AxisFigures[]>;
  /** What was not compared, and why. */
  notes: string[];
  /** Wall time of comparing files, ms. */
  comparingMs: number;
}

/** Indices of all axes of all outputs whose sums are kept: 5 numbers each, so at most 160 MiB. */
const MAX_INDICES = 2 ** 22;

/** What a file system should keep free for others, bytes. */
const RESERVE = 256e6;

/**
 * Runs every sample through both models and compares their outputs from files, which the next outputs overwrite. Where
 * both models are loaded, one sample's outputs lie on disk at a time; where only one fits, as many of the reference's as
 * the disk takes, so that models are swapped as seldom as can be. `folder` is empty again afterwards.
 */
export async function compareQuality(stage: Stage, samples: Samples, options: QualityOptions): Promise<Quality> {
  const { folder, stored, keep, signal } = options;
  const quality: Quality = { samples: [], kept: [], channels: new Map(), notes: [], comparingMs: 0 };
  let channels = new Map<string, Channels>();
  let scored: ReadonlySet<string> = new Set();
  let kernels: Kernels | undefined;
  let bytes = 0;
  const referenceFolder = (slot: number) => path.join(folder, `reference-${slot}`);
  const modelFolder = path.join(folder, 'model');
  /** Outputs of the reference that the disk holds already. */
  let slots = 0;
  for (let next = 0; next < samples.length; ) {
    const references: StoredTensor[][] = [];
    do {
      signal?.throwIfAborted();
      const index = next++;
      const target = keep ? path.join(keep, `reference-${index}`) : referenceFolder(references.length);
      const outputs = stored?.[index] ?? (await spool(stage, 'reference', samples, index, target));
      references.push(outputs);
      slots = Math.max(slots, references.length);
      if (index > 0) continue;
      bytes = outputs.reduce((sum, { length }) => sum + length, 0);
      await options.sized(bytes);
      // Only now is it known how long a row of classes is.
      const floats = outputs.filter(({ dtype }) => isFloat(dtype));
      scored = await scoredOutputs(indexGraphs(options.reference).main, outputs, options.rows);
      channels = channelsOf(floats, quality.notes);
      const widest = outputs.filter(({ name }) => scored.has(name)).map(({ dims }) => dims.at(-1)!);
      kernels = createKernels(Math.max(CHUNK_ELEMENTS, ...widest));
    } while (
      next < samples.length &&
      !stage.together &&
      !stored &&
      // One more of the reference's, and one of the model's.
      (references.length < slots || (await hasRoomFor(folder, 2 * bytes)))
    );
    const first = quality.samples.length;
    for (const [offset, expected] of references.entries()) {
      const index = first + offset;
      const actual = await spool(stage, 'model', samples, index, modelFolder);
      const before = performance.now();
      const compared: OutputComparison[] = [];
      for (const output of expected) {
        const top1 = scored.has(output.name);
        const counterpart = actual.find(({ name }) => name === output.name)!;
        const byIndex = channels.get(output.name);
        const settings = {
          kernels: kernels!,
          top1,
          ...(byIndex ? { channels: byIndex } : {}),
          ...(signal ? { signal } : {}),
        };
        compared.push(await compareOutputs(output, counterpart, settings));
      }
      quality.comparingMs += performance.now() - before;
      await options.answered?.(index, expected, actual);
      quality.samples.push(compared);
      if (keep) quality.kept.push(expected);
      options.progress(quality.samples.length);
    }
  }
  for (const [name, each] of channels) {
    quality.channels.set(name, each.figures());
    if (each.dropped) quality.notes.push(`Output ${name} has another rank in another sample: no channel-similarity.`);
  }
  for (let slot = 0; slot < slots; slot++) await rm(referenceFolder(slot), { recursive: true, force: true });
  await rm(modelFolder, { recursive: true, force: true });
  return quality;
}

/** Where the outputs' sums by index are collected, as long as they stay small. */
function channelsOf(outputs: readonly StoredTensor[], notes: string[]): Map<string, Channels> {
  const channels = new Map<string, Channels>();
  let indices = 0;
  for (const { name, dims } of outputs) {
    indices += channelAxes(dims).reduce((sum, axis) => sum + dims[axis]!, 0);
    if (indices > MAX_INDICES)
      notes.push(`Output ${name} has no channel-similarity: the outputs before it have too many channels.`);
    else channels.set(name, new Channels());
  }
  return channels;
}

/** @throws InputError where a folder cannot take so many bytes; `what` begins the sentence */
export async function assertSpace(folder: string, needed: number, what: string): Promise<void> {
  const { freeBytes } = await spoolSpace(folder);
  if (needed + RESERVE <= freeBytes) return;
  throw new InputError(
    `${what}, ${bytes(needed)} in ${folder}, which has ${bytes(freeBytes)} free: make room there, point the temporary folder (TMPDIR, on a runner RUNNER_TEMP) to a larger disk, or give fewer samples (count).`,
  );
}

/** @throws InputError where a folder cannot take what a comparison writes at least: one output of each model */
export async function assertRoom(folder: string, outputBytes: number): Promise<void> {
  const { freeBytes } = await spoolSpace(folder);
  if (2 * outputBytes + RESERVE <= freeBytes || outputBytes === 0) return;
  throw new InputError(
    `Comparing one sample writes ${bytes(2 * outputBytes)} of outputs to ${folder}, which has ${bytes(freeBytes)} free: make room there or point the temporary folder (TMPDIR, on a runner RUNNER_TEMP) to a larger disk.`,
  );
}

/** Whether so many bytes can be kept in a folder for longer, which memory is no place for beyond a little. */
export async function hasRoomFor(folder: string, bytes: number): Promise<boolean> {
  const { freeBytes, inMemory } = await spoolSpace(folder);
  return bytes + RESERVE <= freeBytes && (!inMemory || bytes <= RESERVE);
}

/** One inference whose outputs go to files of `directory`. */
export async function spool(
  stage: Stage,
  side: Side,
  samples: Samples,
  index: number,
  directory: string,
): Promise<SpooledTensor[]> {
  makeFolder(directory);
  return (await stage.run(side, await samples.get(index), { outputs: 'spool', spoolDirectory: directory })).spooled;
}

/** Names of the outputs that a comparison needs. @throws InputError for a model without any */
export function assertOutputs(model: Model): void {
  if (declaredOutputs(model).length === 0) throw new InputError(`The model ${model.path} has no outputs to compare.`);
}

const isFloat = (dtype: string): boolean => dtype.startsWith('float');
