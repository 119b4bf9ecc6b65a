import { type FileHandle, open, readFile } from 'node:fs/promises';
import { InputError } from '../../errors.ts';
import type { Channels } from './channels.ts';
import { type ElementType, elementType } from './elements.ts';
import { CHUNK_ELEMENTS, type Kernels } from './kernels.ts';
import { MAX_SQNR_DB, type Metrics, metricsOf } from './metrics.ts';

/** A tensor whose bytes lie in a file: little-endian, contiguous, row-major; text as a JSON array. */
export interface StoredTensor {
  name: string;
  dtype: string;
  dims: number[];
  path: string;
  /** Bytes. */
  length: number;
}

/** One output of one sample, the model's against the reference's. */
export interface OutputComparison extends Metrics {
  name: string;
  /** Σ x² and Σ (x − y)², so that ratios can be taken over several samples. */
  signal: number;
  noise: number;
  referenceNans: number;
  modelNans: number;
  /** Elements where one is infinite and the other is not, or of the other sign. */
  unequalInfinities: number;
  /** Elements of an integer, boolean or text output that differ; undefined for floats. */
  unequal?: number;
  /** Rows along the last axis, and those whose greatest element is in the same place; only where asked for. */
  top1?: { rows: number; equal: number };
}

/** The widest row whose top-1 is looked for. */
export const MAX_CLASSES = 2 ** 20;

/** `kernels` must hold a row: create them with the number of columns of the widest output that asks for `top1`. */
export interface CompareOutputOptions {
  kernels: Kernels;
  /** Whether the last axis holds the scores of classes. */
  top1: boolean;
  /** Collects the output index by index, where it is of floats. */
  channels?: Channels;
  signal?: AbortSignal;
}

/**
 * Compares two outputs chunk by chunk; memory does not grow with their size.
 * @throws InputError where their shapes or types leave nothing to compare
 */
export async function compareOutputs(
  reference: StoredTensor,
  model: StoredTensor,
  options: CompareOutputOptions,
): Promise<OutputComparison> {
  const types = [elementType(reference.dtype), elementType(model.dtype)] as const;
  assertComparable(reference, model, types);
  if (reference.dtype === 'string') return compareTexts(reference, model);
  const files: FileHandle[] = [];
  try {
    files.push(await open(reference.path), await open(model.path));
    return await compareFiles(reference, files as [FileHandle, FileHandle], types, options);
  } finally {
    await Promise.all(files.map((file) => file.close()));
  }
}

async function compareFiles(
  { name, dims, length }: StoredTensor,
  files: [FileHandle, FileHandle],
  types: readonly [ElementType, ElementType],
  { kernels, top1, channels, signal }: CompareOutputOptions,
): Promise<OutputComparison> {
  const width = Math.max(types[0].kernel, types[1].kernel) as 4 | 8;
  const elements = length / types[0].bytes;
  const columns = top1 ? dims.at(-1)! : 1;
  const chunk = Math.max(1, Math.floor(CHUNK_ELEMENTS / columns)) * columns;
  const exact = !types[0].float;
  // First: it may move the kernels' memory.
  const byIndex = exact ? undefined : channels?.begin(kernels, dims);
  const sides = [
    side(kernels.memory, kernels.referenceOffset, chunk, types[0], width),
    side(kernels.memory, kernels.modelOffset, chunk, types[1], width),
  ] as const;
  let unequal = 0;
  let equalRows = 0;
  kernels.reset();
  for (let start = 0; start < elements; start += chunk) {
    signal?.throwIfAborted();
    const count = Math.min(chunk, elements - start);
    await Promise.all(
      sides.map(({ raw, type }, i) => readFully(files[i]!, raw, count * type.bytes, start * type.bytes)),
    );
    if (exact) unequal += unequalElements(sides[0].raw, sides[1].raw, count, types[0].bytes);
    for (const { convert } of sides) convert(count);
    const finite = kernels.accumulate(width, count);
    byIndex?.add(width, count, start, finite);
    if (top1) equalRows += kernels.agreement(width, count / columns, columns);
  }
  byIndex?.end();
  const sums = kernels.sums();
  return {
    name,
    ...metricsOf(sums),
    signal: sums.referenceEnergy,
    noise: sums.squaredError,
    referenceNans: sums.referenceNans,
    modelNans: sums.modelNans,
    unequalInfinities: sums.unequalInfinities,
    ...(exact ? { unequal } : {}),
    ...(top1 ? { top1: { rows: elements / columns, equal: equalRows } } : {}),
  };
}

/** Text has no distance: its similarity is the share of equal elements. */
async function compareTexts(reference: StoredTensor, model: StoredTensor): Promise<OutputComparison> {
  const [expected, actual] = await Promise.all([readTexts(reference), readTexts(model)]);
  const unequal = expected.filter((text, index) => text !== actual[index]).length;
  const cosine = expected.length === 0 ? 1 : 1 - unequal / expected.length;
  return {
    name: reference.name,
    elements: expected.length,
    cosine,
    mse: 0,
    mae: 0,
    maxAbs: 0,
    maxAbsIndex: 0,
    sqnrDb: MAX_SQNR_DB,
    signal: 0,
    noise: 0,
    referenceNans: 0,
    modelNans: 0,
    unequalInfinities: 0,
    unequal,
  };
}

async function readTexts({ path }: StoredTensor): Promise<string[]> {
  return JSON.parse(await readFile(path, 'utf8')) as string[];
}

/** A file's chunk: read into `raw`, which is the kernel's own buffer where nothing has to be converted. */
function side(memory: ArrayBuffer, offset: number, chunk: number, type: ElementType, width: 4 | 8) {
  const native = type.float && type.bytes === width;
  const raw = native ? new Uint8Array(memory, offset, chunk * width) : new Uint8Array(chunk * type.bytes);
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const target = width === 4 ? new Float32Array(memory, offset, chunk) : new Float64Array(memory, offset, chunk);
  const convert = native ? () => {} : (count: number) => type.decode(view, count, target);
  return { raw, type, convert };
}

async function readFully(file: FileHandle, target: Uint8Array, length: number, position: number): Promise<void> {
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(target, done, length - done, position + done);
    if (bytesRead === 0) throw new Error(`a spooled output ends at byte ${position + done}`);
    done += bytesRead;
  }
}

function unequalElements(a: Uint8Array, b: Uint8Array, count: number, bytes: number): number {
  if (Buffer.compare(a.subarray(0, count * bytes), b.subarray(0, count * bytes)) === 0) return 0;
  let unequal = 0;
  for (let at = 0; at < count * bytes; at += bytes) {
    for (let i = at; i < at + bytes; i++) {
      if (a[i] !== b[i]) {
        unequal++;
        break;
      }
    }
  }
  return unequal;
}

function assertComparable(reference: StoredTensor, model: StoredTensor, [x, y]: readonly ElementType[]): void {
  const shape = ({ dtype, dims }: StoredTensor) => `${dtype}[${dims.join(',')}]`;
  const sameType = reference.dtype === model.dtype || (x!.float && y!.float);
  const sameDims = reference.dims.length === model.dims.length && reference.dims.every((d, i) => d === model.dims[i]);
  if (sameType && sameDims) return;
  throw new InputError(
    `Output ${reference.name} is ${shape(reference)} in the reference and ${shape(model)} in the model: compare models that answer in the same shape and type.`,
  );
}
