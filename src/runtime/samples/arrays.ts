import { InputError } from '../../errors.ts';
import { openRegularFile } from '../../read-file.ts';
import { ELEMENT_BYTES, elementCount } from '../dtype.ts';
import type { Feeds, Tensor, ValueInfo } from '../types.ts';
import { checkDeclared } from './check.ts';
import { NPY_HEADER_BYTES, parseNpyHeader } from './npy.ts';
import { openZip } from './zip.ts';

/** One sample may take so many bytes where the signature does not say how many. */
export const MAX_SAMPLE_BYTES = 512 * 2 ** 20;

/** Samples in a file: as many as `length`, of which each is read when it is asked for. */
export interface Stack {
  length: number;
  read(index: number): Promise<Feeds>;
}

/**
 * The samples of a `.npz`: one array per input; arrays with one dimension more than the input are stacks of samples.
 * What the headers declare is held against the model's inputs before anything else is read or inflated.
 * @throws InputError
 */
export async function openNpz(file: string, inputs: readonly ValueInfo[]): Promise<Stack> {
  const arrays = new Map<string, ArrayStack>();
  for (const { name, size, read } of await openZip(file)) {
    const input = name.replace(/\.npy$/, '');
    arrays.set(input, await openArray({ size, read }, `${file}:${name}`, input, inputs));
  }
  if (arrays.size === 0) throw new InputError(`samples: ${file} holds no array.`);
  const length = Math.max(...[...arrays.values()].map(({ count }) => count));
  for (const [name, { count }] of arrays) {
    if (count === length || count === 1) continue;
    throw new InputError(
      `samples: ${file} has ${count} of ${name} but ${length} of another input; give as many of each.`,
    );
  }
  checkDeclared(Object.fromEntries(arrays), inputs, file);
  return {
    length,
    async read(index) {
      const feeds: Feeds = {};
      for (const [name, array] of arrays) feeds[name] = await array.read(array.count === 1 ? 0 : index);
      return feeds;
    },
  };
}

/** The samples of a `.npy`, for a model with one input. @throws InputError */
export async function openNpy(file: string, inputs: readonly ValueInfo[]): Promise<Stack> {
  const [only, ...others] = inputs;
  if (!only || others.length > 0) {
    const names = inputs.map(({ name }) => name).join(', ');
    throw new InputError(
      `samples: ${file} is one array, but the model has ${inputs.length} inputs (${names}); use a .npz with an array for each.`,
    );
  }
  const { handle, size } = await openRegularFile(file, 'samples:');
  await handle.close();
  const array = await openArray({ size, read: (start, end) => readRange(file, start, end) }, file, only.name, inputs);
  checkDeclared({ [only.name]: array }, inputs, file);
  return { length: array.count, read: async (index) => ({ [only.name]: await array.read(index) }) };
}

interface Bytes {
  size: number;
  read(start: number, end: number): Promise<Buffer>;
}

/** An array cut along its first dimension where it has one more than its input. */
interface ArrayStack {
  count: number;
  dtype: Tensor['dtype'];
  /** Of one sample. */
  dims: number[];
  read(index: number): Promise<Tensor>;
}

/** Arrays up to this size are read once, whole; of larger ones each sample is read anew. */
const KEPT_BYTES = 32 * 2 ** 20;

async function openArray(
  { size, read }: Bytes,
  where: string,
  name: string,
  inputs: readonly ValueInfo[],
): Promise<ArrayStack> {
  const input = inputs.find((candidate) => candidate.name === name);
  const { dtype, dims: all, start } = parseNpyHeader(await read(0, Math.min(size, NPY_HEADER_BYTES)), where);
  const needed = elementCount(all) * ELEMENT_BYTES[dtype];
  if (size - start !== needed) {
    throw new InputError(
      `samples: ${where} is cut off or overlong: shape [${all.join(',')}] needs ${needed} bytes, there are ${size - start}.`,
    );
  }
  const stacked = input !== undefined && all.length === input.dims.length + 1;
  const [count, ...rest] = all as [number, ...number[]];
  const dims = stacked ? rest : all;
  const bytes = elementCount(dims) * ELEMENT_BYTES[dtype];
  const open = input === undefined || input.dims.some((size) => typeof size !== 'number');
  if (open && bytes > MAX_SAMPLE_BYTES) {
    throw new InputError(
      `samples: ${where} has ${bytes} bytes in one sample of shape [${dims.join(',')}], and at most ${MAX_SAMPLE_BYTES} are read where the model leaves sizes open; give smaller samples.`,
    );
  }
  let whole: Promise<Buffer> | undefined;
  return {
    count: stacked ? count : 1,
    dtype,
    dims,
    async read(index) {
      const from = start + index * bytes;
      if (size > KEPT_BYTES) return { dtype, dims, data: await read(from, from + bytes) };
      whole ??= read(0, size);
      return { dtype, dims, data: (await whole).subarray(from, from + bytes) };
    },
  };
}

async function readRange(file: string, start: number, end: number): Promise<Buffer> {
  const { handle } = await openRegularFile(file, 'samples:');
  try {
    const buffer = Buffer.allocUnsafe(end - start);
    for (let done = 0; done < buffer.length; ) {
      const { bytesRead } = await handle.read(buffer, done, buffer.length - done, start + done);
      if (bytesRead === 0) throw new InputError(`samples: ${file} was cut while it was read; run again.`);
      done += bytesRead;
    }
    return buffer;
  } finally {
    await handle.close();
  }
}
