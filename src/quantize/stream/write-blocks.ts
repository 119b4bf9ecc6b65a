import { InputError } from '../../errors.ts';
import type { Segment } from '../../model/types.ts';
import { type BlockJob, type BlockPart, blockGeometry } from './block-geometry.ts';
import { isFloatType } from './desk.ts';
import { inputOf } from './input.ts';
import type { Pool } from './pool.ts';
import type { BlockOutcome, BlocksTask } from './tasks.ts';
import type { StreamJob } from './types.ts';

/** Weights in one task: 64 MiB of f32. */
const TASK_WEIGHTS = 16 * 2 ** 20;

const PARTS: readonly BlockPart[] = ['codes', 'scales', 'zeroPoints'];

/** A segment whose blocks are made: its bytes stand in the file already. */
export interface Present {
  kind: 'present';
}

/** Units of a job, see `BlockGeometry`. */
interface Units {
  first: number;
  count: number;
}

/** Weights for which there is no scale. Plan again without them. */
export class NonFiniteBlocks extends Error {
  /** How many NaN and infinite values each job met. */
  readonly found: ReadonlyMap<BlockJob, number>;

  constructor(found: ReadonlyMap<BlockJob, number>) {
    super(`${found.size} weights have NaN or infinite values`);
    this.found = found;
  }
}

/**
 * Makes block-wise weights before the files around them are written: scales, zero points and codes come of one pass over
 * the weights, but lie in different places. What a file has of a job is written into it; what lies elsewhere (small
 * tensors, beside external data) is kept until that file's turn.
 */
export class BlockWriter {
  readonly #kept = new Map<BlockJob, Partial<Record<BlockPart, Uint8Array>>>();

  /**
   * Writes the blocks of a file that is being made, and returns its segments with those replaced. `onBytes` hears how
   * many more bytes were written.
   *
   * @throws NonFiniteBlocks if weights are NaN or infinite; the file is of no use then.
   */
  async write(
    segments: readonly Segment<StreamJob>[],
    fd: number,
    pool: Pool,
    onBytes: (bytes: number) => void,
  ): Promise<Segment<StreamJob | Present>[]> {
    const positions = new Map<BlockJob, Partial<Record<BlockPart, number>>>();
    for (const segment of segments) {
      if (segment.kind !== 'job' || segment.job.kind !== 'blocks') continue;
      const { job, part } = segment.job;
      if (this.#kept.has(job)) continue;
      positions.set(job, { ...positions.get(job), [part]: segment.offset });
    }
    const nonFinite = new Map<BlockJob, number>();
    await pool.runAll(tasks(positions, fd, pool), ({ job, units }, outcome) => {
      if (outcome.nonFinite > 0) nonFinite.set(job, (nonFinite.get(job) ?? 0) + outcome.nonFinite);
      onBytes(this.#keep(job, units, outcome, positions.get(job)!));
    });
    if (nonFinite.size > 0) throw new NonFiniteBlocks(nonFinite);
    return segments.map((segment) => this.#made(segment, positions));
  }

  /** Keeps what came back in memory; says how many bytes went to the file instead. */
  #keep(
    job: BlockJob,
    { first, count }: Units,
    { collected }: BlockOutcome,
    positions: Partial<Record<BlockPart, number>>,
  ): number {
    const { unit, total } = blockGeometry(job);
    const kept = this.#kept.get(job) ?? {};
    this.#kept.set(job, kept);
    for (const part of PARTS) {
      const bytes = collected[part];
      if (!bytes) continue;
      kept[part] ??= new Uint8Array(total[part]);
      kept[part].set(bytes, first * unit[part]);
    }
    const written = PARTS.filter((part) => positions[part] !== undefined);
    return written.reduce((sum, part) => sum + Math.min(count * unit[part], total[part] - first * unit[part]), 0);
  }

  #made(
    segment: Segment<StreamJob>,
    positions: ReadonlyMap<BlockJob, Partial<Record<BlockPart, number>>>,
  ): Segment<StreamJob | Present> {
    if (segment.kind !== 'job' || segment.job.kind !== 'blocks') return segment;
    const { offset, length } = segment;
    const { job, part } = segment.job;
    if (positions.get(job)?.[part] === offset) return { kind: 'job', offset, length, job: { kind: 'present' } };
    const bytes = this.#kept.get(job)?.[part];
    if (bytes?.length !== length) throw new Error(`${part} of ${job.source.name} were not made`);
    return { kind: 'bytes', offset, length, bytes };
  }
}

function* tasks(
  positions: ReadonlyMap<BlockJob, Partial<Record<BlockPart, number>>>,
  fd: number,
  pool: Pool,
): Generator<[BlocksTask, { job: BlockJob; units: Units }]> {
  for (const [job, places] of positions) {
    const { source } = job;
    if (!isFloatType(source.dtype)) {
      throw new InputError(`Weight "${source.name}" has data type ${source.dtype}; only float types quantize.`);
    }
    const { units, unit } = blockGeometry(job);
    const collect = PARTS.filter((part) => unit[part] > 0 && places[part] === undefined);
    const floats = { input: inputOf(source.source, 0, source.length, pool), dtype: source.dtype };
    const weights = source.dims.reduce((product, size) => product * size, 1) / units;
    // Strips of columns of a task should be whole ones.
    const whole = job.layout === 'source' ? 1 : 4096;
    const step = Math.ceil(Math.max(1, TASK_WEIGHTS / weights) / whole) * whole;
    for (let first = 0; first < units; first += step) {
      const count = Math.min(step, units - first);
      yield [
        { ...job, kind: 'blocks', floats, source: { dims: source.dims }, first, count, fd, positions: places, collect },
        { job, units: { first, count } },
      ];
    }
  }
}
