import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { makeFolder } from '../make-folder.ts';
import {
  ELEMENT_BYTES,
  elementCount,
  type Feeds,
  fromFloat16,
  isFloating,
  isNumeric,
  type Session,
  type Tensor,
  type ValueInfo,
  viewAs,
} from '../runtime/index.ts';

/** What company does to an answer. `similarity` is the lowest cosine of an output with itself; absent when skipped. */
export interface Influence {
  similarity?: number;
  /** The output that changed most. */
  output?: string;
  /** Why it was not tried. */
  skipped?: string;
}

/** Outputs larger than this are not compared here: that is what compare is for. */
export const MAX_OUTPUT_BYTES = 64 * 2 ** 20;

/**
 * Runs two samples in one batch and compares the first answer with the one it gets alone.
 * The batch is the symbolic first dimension of the first input that has dimensions, wherever else its name stands.
 */
export async function batchInfluence(session: Session, one: Feeds, other: Feeds, scratch: string): Promise<Influence> {
  const axes = batchAxes(session.load.inputs);
  if (!axes) return { skipped: 'the signature allows no batch' };
  const stacked: Feeds = {};
  for (const [name, tensor] of Object.entries(one)) {
    const axis = axes.get(name);
    const second = other[name]!;
    if (axis === undefined) stacked[name] = tensor;
    else if (tensor.dims[axis] !== 1) return { skipped: `the samples are batches of ${tensor.dims[axis]} already` };
    else if (second.dims.join() !== tensor.dims.join()) return { skipped: 'the samples differ in shape' };
    else stacked[name] = concatenate(tensor, second, axis);
  }
  return compareRuns(session, one, stacked, scratch);
}

/**
 * Appends masked zeros to the sequence and compares what comes out for the rest. Only models with a mask are asked to
 * ignore padding, so others are skipped.
 */
export async function paddingInfluence(session: Session, feeds: Feeds, scratch: string): Promise<Influence> {
  const mask = session.load.inputs.find(
    ({ name, dims }) => /(^|_)mask(_|$)/i.test(name) && typeof dims.at(-1) === 'string',
  );
  const symbol = mask?.dims.at(-1);
  if (!mask || !symbol) return { skipped: 'no input is a mask of open length' };
  const padded: Feeds = {};
  for (const input of session.load.inputs) {
    const tensor = feeds[input.name]!;
    const axis = input.dims.indexOf(symbol);
    if (axis < 0) {
      padded[input.name] = tensor;
      continue;
    }
    const dims = tensor.dims.with(axis, PADDING);
    const zeros = { dtype: tensor.dtype, dims, data: new Uint8Array(elementCount(dims) * ELEMENT_BYTES[tensor.dtype]) };
    padded[input.name] = concatenate(tensor, zeros, axis);
  }
  return compareRuns(session, feeds, padded, scratch);
}

const PADDING = 4;

/** The axis of the batch in each input that has one. */
function batchAxes(inputs: readonly ValueInfo[]): Map<string, number> | undefined {
  const symbol = inputs.find(({ dims }) => dims.length > 0)?.dims[0];
  if (typeof symbol !== 'string') return undefined;
  const axes = new Map<string, number>();
  for (const { name, dims } of inputs) {
    const axis = dims.indexOf(symbol);
    if (axis >= 0) axes.set(name, axis);
  }
  return axes;
}

/** The outputs of `alone` against the leading part of the outputs of `together`, which are longer along some axis. */
async function compareRuns(session: Session, alone: Feeds, together: Feeds, scratch: string): Promise<Influence> {
  const single = await outputsOf(session, alone, path.join(scratch, 'alone'));
  const many = await outputsOf(session, together, path.join(scratch, 'together'));
  let lowest: Influence = { skipped: 'no output grows with it' };
  for (const [name, tensor] of single) {
    const other = many.get(name);
    if (!other || !isNumeric(tensor.dtype)) continue;
    const axis = tensor.dims.findIndex((size, index) => size !== other.dims[index]);
    const leading = axis < 0 ? other : slice(other, axis, tensor.dims[axis]!);
    if (leading.dims.join() !== tensor.dims.join()) continue;
    const similarity = cosine(tensor, leading);
    if (lowest.similarity === undefined || similarity < lowest.similarity) lowest = { similarity, output: name };
  }
  return lowest;
}

async function outputsOf(session: Session, feeds: Feeds, folder: string): Promise<Map<string, Tensor>> {
  makeFolder(folder);
  const { spooled } = await session.run(feeds, { outputs: 'spool', spoolDirectory: folder });
  const outputs = new Map<string, Tensor>();
  for (const { name, dtype, dims, path: file } of spooled) {
    if (isNumeric(dtype)) outputs.set(name, { dtype, dims, data: await readFile(file) });
  }
  return outputs;
}

/** Two tensors one after the other along an axis; all other dimensions are equal. */
function concatenate(a: Tensor, b: Tensor, axis: number): Tensor {
  const outer = elementCount(a.dims.slice(0, axis));
  const rows = [a, b].map(({ dims }) => elementCount(dims.slice(axis)) * ELEMENT_BYTES[a.dtype]) as [number, number];
  const data = new Uint8Array(outer * (rows[0] + rows[1]));
  for (let i = 0; i < outer; i++) {
    data.set(a.data.subarray(i * rows[0], (i + 1) * rows[0]), i * (rows[0] + rows[1]));
    data.set(b.data.subarray(i * rows[1], (i + 1) * rows[1]), i * (rows[0] + rows[1]) + rows[0]);
  }
  return { dtype: a.dtype, dims: a.dims.with(axis, a.dims[axis]! + b.dims[axis]!), data };
}

/** The first `size` entries along an axis. */
export function slice(tensor: Tensor, axis: number, size: number): Tensor {
  const outer = elementCount(tensor.dims.slice(0, axis));
  const inner = elementCount(tensor.dims.slice(axis + 1)) * ELEMENT_BYTES[tensor.dtype];
  const row = tensor.dims[axis]! * inner;
  const data = new Uint8Array(outer * size * inner);
  for (let i = 0; i < outer; i++) data.set(tensor.data.subarray(i * row, i * row + size * inner), i * size * inner);
  return { dtype: tensor.dtype, dims: tensor.dims.with(axis, size), data };
}

/** Cosine of two tensors of one type and shape; two zero vectors 1, one zero vector 0. */
export function cosine(a: Tensor, b: Tensor): number {
  const [x, y] = [numbers(a), numbers(b)];
  let [xx, yy, xy] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    xx += x[i]! * x[i]!;
    yy += y[i]! * y[i]!;
    xy += x[i]! * y[i]!;
  }
  if (xx === 0 || yy === 0) return xx === yy ? 1 : 0;
  return Math.min(1, xy / Math.sqrt(xx * yy));
}

function numbers({ dtype, data }: Tensor): Float64Array {
  if (!isNumeric(dtype)) throw new TypeError(`no numbers in ${dtype}`);
  const view = viewAs(dtype, data);
  const halves = isFloating(dtype) && dtype === 'float16';
  if (view instanceof Float32Array) return Float64Array.from(view);
  // A loop: Float64Array.from with a callback takes several times as long.
  const numbers = new Float64Array(view.length);
  for (let i = 0; i < view.length; i++) numbers[i] = halves ? fromFloat16(Number(view[i])) : Number(view[i]);
  return numbers;
}
