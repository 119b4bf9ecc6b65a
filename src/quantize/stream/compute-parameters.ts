import { InputError } from '../../errors.ts';
import { scaleAndZeroPoint } from '../kernels/parameters.ts';
import { isFloatType } from './desk.ts';
import { type Channels, channelsOf, product } from './geometry.ts';
import { elementBytes, inputOf } from './input.ts';
import type { Pool } from './pool.ts';
import type { PieceRange, RangePiece, Task } from './tasks.ts';
import type { WeightJob, WeightParameters } from './types.ts';

/** Elements in one task: 64 MiB of f32. */
const TASK_ELEMENTS = 16 * 2 ** 20;
/** Tensors in one task, so that thousands of small ones still spread over the workers. */
const TASK_PIECES = 256;

/**
 * Pass 1: reads every weight once and finds the scale and zero point of each of its channels. The arrays of all jobs
 * share two buffers that workers see without copying. `onBytes` hears how many more source bytes were read.
 */
export async function computeParameters(
  jobs: readonly WeightJob[],
  pool: Pool,
  onBytes: (bytes: number) => void = () => {},
): Promise<WeightParameters[]> {
  const parts = jobs.map((job): Part => {
    if (!isFloatType(job.source.dtype)) {
      throw new InputError(`Weight "${job.source.name}" has data type ${job.source.dtype}; only float types quantize.`);
    }
    return { job, geometry: channelsOf(job.source.dims, job.axis), remaining: product(job.source.dims) };
  });
  const results = allocate(parts);
  for (const [i, part] of parts.entries()) if (part.remaining === 0) finish(part, results[i]!);
  await pool.runAll(tasks(parts, pool), (pieces, ranges) => {
    for (const [i, range] of ranges.entries()) {
      const { index, count } = pieces[i]!;
      const part = parts[index]!;
      merge(part, range);
      part.remaining -= count;
      if (part.remaining === 0) finish(part, results[index]!);
      onBytes(count * elementBytes(part.job.source));
    }
  });
  return results;
}

/** A job on its way; its ranges exist from its first piece's return to its last's. */
interface Part {
  job: WeightJob;
  geometry: Channels;
  /** Elements not yet seen. */
  remaining: number;
  ranges?: Omit<PieceRange, 'first'>;
}

type RangeTask = Extract<Task, { kind: 'range' }>;

/** Which job a piece of a task belongs to, and its elements. */
interface PieceOf {
  index: number;
  count: number;
}

function allocate(parts: readonly Part[]): WeightParameters[] {
  const total = parts.reduce((sum, { geometry }) => sum + geometry.channels, 0);
  const scales = new SharedArrayBuffer(4 * total);
  const zeroPoints = new SharedArrayBuffer(2 * total);
  let at = 0;
  return parts.map(({ geometry: { channels } }) => {
    const start = at;
    at += channels;
    return {
      scales: new Float32Array(scales, 4 * start, channels),
      zeroPoints: new Int16Array(zeroPoints, 2 * start, channels),
      min: 0,
      max: 0,
      nonFinite: 0,
      nan: 0,
    };
  });
}

function* tasks(parts: readonly Part[], pool: Pool): Generator<[RangeTask, PieceOf[]]> {
  let pieces: RangePiece[] = [];
  let owners: PieceOf[] = [];
  let room = TASK_ELEMENTS;
  for (const [index, { job, geometry, remaining: elements }] of parts.entries()) {
    for (let start = 0; start < elements; ) {
      const count = Math.min(room, elements - start);
      pieces.push(rangePiece(job, geometry, start, count, pool));
      owners.push({ index, count });
      start += count;
      room -= count;
      if (room > 0 && pieces.length < TASK_PIECES) continue;
      yield [{ kind: 'range', pieces }, owners];
      pieces = [];
      owners = [];
      room = TASK_ELEMENTS;
    }
  }
  if (pieces.length > 0) yield [{ kind: 'range', pieces }, owners];
}

function rangePiece(job: WeightJob, geometry: Channels, start: number, count: number, pool: Pool): RangePiece {
  const { dtype, source } = job.source;
  const size = elementBytes(job.source);
  const input = inputOf(source, start * size, count * size, pool);
  return { ...geometry, floats: { input, dtype }, start, count, symmetric: job.symmetric };
}

function merge(part: Part, { first, min, max, nonFinite, nan }: PieceRange): void {
  const { channels } = part.geometry;
  part.ranges ??= { min: new Float32Array(channels), max: new Float32Array(channels), nonFinite: 0, nan: 0 };
  const ranges = part.ranges;
  for (let i = 0; i < min.length; i++) {
    if (min[i]! < ranges.min[first + i]!) ranges.min[first + i] = min[i]!;
    if (max[i]! > ranges.max[first + i]!) ranges.max[first + i] = max[i]!;
  }
  ranges.nonFinite += nonFinite;
  ranges.nan += nan;
}

function finish(part: Part, result: WeightParameters): void {
  const { min, max, nonFinite, nan } = part.ranges ?? { min: [0], max: [0], nonFinite: 0, nan: 0 };
  for (let i = 0; i < result.scales.length; i++) {
    const { scale, zeroPoint } = scaleAndZeroPoint(min[i] ?? 0, max[i] ?? 0, part.job);
    result.scales[i] = scale;
    // Untouched pages of a fresh buffer cost no memory; most zero points are 0.
    if (zeroPoint !== 0) result.zeroPoints[i] = zeroPoint;
    if (min[i]! < result.min) result.min = min[i]!;
    if (max[i]! > result.max) result.max = max[i]!;
  }
  result.nonFinite = nonFinite;
  result.nan = nan;
  delete part.ranges;
}
