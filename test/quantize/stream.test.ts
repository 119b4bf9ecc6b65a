import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { CHUNK_BYTES, rootOf } from '../../src/model/digest.ts';
import type { Segment, TensorRef } from '../../src/model/types.ts';
import { scaleAndZeroPoint } from '../../src/quantize/kernels/parameters.ts';
import { channelsOf, exchangeOf } from '../../src/quantize/stream/geometry.ts';
import {
  computeParameters,
  digestSources,
  FileWriter,
  Pool,
  type StreamJob,
  type StreamLayout,
  type WeightJob,
} from '../../src/quantize/stream/index.ts';
import { referenceHalf, referenceQuantize, referenceRanges } from './reference.ts';

const directory = fs.mkdtempSync(path.join(fs.realpathSync(process.env.TMPDIR ?? '/tmp'), 'stream-'));
afterAll(() => fs.rmSync(directory, { recursive: true, force: true }));

const FLOAT = 1;
const FLOAT16 = 10;
const DOUBLE = 11;
const BFLOAT16 = 16;

let files = 0;
const freshPath = () => path.join(directory, `file-${files++}`);

/** A tensor in a file of its own, with some bytes before and after it so that offsets matter. */
function tensorInFile(dims: number[], values: Float32Array, before = 3): TensorRef {
  const file = freshPath();
  const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  fs.writeFileSync(file, Buffer.concat([Buffer.alloc(before, 1), bytes, Buffer.alloc(5, 1)]));
  const { length } = bytes;
  return {
    name: path.basename(file),
    dtype: FLOAT,
    dims,
    length,
    source: { kind: 'file', path: file, offset: before, length },
  };
}

function tensorInMemory(dims: number[], dtype: number, bytes: Uint8Array): TensorRef {
  return { name: 'memory', dtype, dims, length: bytes.length, source: { kind: 'bytes', bytes } };
}

/** Seeded values of the size that weights have. */
function weights(count: number, seed = 1): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.fround((state / 2 ** 31 - 1) * 0.3);
  });
}

function layoutOf(parts: (Omit<Segment<StreamJob>, 'offset'> & Record<string, unknown>)[]) {
  let size = 0;
  const segments = parts.map((part) => {
    const segment = { ...part, offset: size } as Segment<StreamJob>;
    size += part.length;
    return segment;
  });
  return { path: freshPath(), size, segments };
}

async function inPool<T>(work: (pool: Pool) => Promise<T>, threads = 2): Promise<T> {
  const pool = new Pool({ threads });
  try {
    return await work(pool);
  } finally {
    await pool.close();
  }
}

const plainJob = (source: TensorRef): WeightJob => ({
  source,
  target: 'int8',
  symmetric: true,
  reduceRange: false,
  axis: null,
});

/** What both passes must make of a job, by the reference. */
function expected(job: WeightJob, values: Float32Array) {
  const tensor = { values, ...channelsOf(job.source.dims, job.axis) };
  const { min, max } = referenceRanges(tensor);
  const parameters = Array.from(min, (low, c) => scaleAndZeroPoint(low, max[c]!, job));
  const scales = parameters.map(({ scale }) => scale);
  const zeroPoints = parameters.map(({ zeroPoint }) => zeroPoint);
  const quantized = referenceQuantize(tensor, scales, zeroPoints, job.target);
  return { scales, zeroPoints, bytes: permuted(quantized, job.source.dims, job.permutation) };
}

/** ONNX Transpose, index by index. */
function permuted(values: number[], dims: readonly number[], permutation: readonly number[] = dims.map((_, i) => i)) {
  const strides = dims.map((_, axis) => dims.slice(axis + 1).reduce((a, b) => a * b, 1));
  let indices = [0];
  for (const axis of permutation) {
    indices = indices.flatMap((base) => Array.from({ length: dims[axis]! }, (_, i) => base + i * strides[axis]!));
  }
  return indices.map((i) => values[i]!);
}

async function both(jobs: WeightJob[], pool: Pool, lead = 1) {
  const parameters = await computeParameters(jobs, pool);
  const layout = layoutOf([
    { kind: 'zeros', length: lead },
    ...jobs.map((job, i) => ({
      kind: 'job' as const,
      length: job.source.length / 4,
      job: { kind: 'quantize' as const, job, parameters: parameters[i]! },
    })),
  ]);
  const written = await write(layout, pool);
  return { parameters, written, bytes: fs.readFileSync(layout.path).subarray(lead) };
}

/** Writes one file to the disk. */
async function write(layout: StreamLayout, pool: Pool, onBytes?: (bytes: number) => void) {
  const writer = new FileWriter(pool);
  try {
    const written = await writer.write(layout, onBytes);
    await writer.sync();
    return written;
  } finally {
    await writer.close();
  }
}

describe('both passes', () => {
  it('equal the reference for any shape, axis, permutation and scheme', async () => {
    const pool = new Pool({ threads: 2 });
    const shape = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 });
    const job = shape.chain((dims) =>
      fc.record({
        dims: fc.constant(dims),
        axis: fc.option(fc.integer({ min: -dims.length, max: dims.length - 1 })),
        split: fc.tuple(fc.nat({ max: dims.length - 1 }), fc.integer({ min: 1, max: dims.length })),
        target: fc.constantFrom('int8' as const, 'uint8' as const),
        symmetric: fc.boolean(),
        reduceRange: fc.boolean(),
        seed: fc.nat(),
      }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(job, { minLength: 1, maxLength: 5 }), async (specs) => {
        const made = specs.map(({ dims, split: [start, middle], seed, ...scheme }) => {
          const values = weights(
            dims.reduce((a, b) => a * b, 1),
            seed,
          );
          const axes = dims.map((_, i) => i);
          const exchanged =
            middle > start ? [...axes.slice(0, start), ...axes.slice(middle), ...axes.slice(start, middle)] : axes;
          const job: WeightJob = { source: tensorInFile(dims, values), permutation: exchanged, ...scheme };
          return { job, ...expected(job, values) };
        });
        const jobs = made.map(({ job }) => job);
        const { parameters, bytes, written } = await both(jobs, pool);
        expect(parameters.map(({ scales }) => [...scales])).toEqual(made.map(({ scales }) => scales));
        expect(parameters.map(({ zeroPoints }) => [...zeroPoints])).toEqual(made.map(({ zeroPoints }) => zeroPoints));
        expect([...bytes]).toEqual(made.flatMap(({ bytes }) => bytes).map((value) => value & 0xff));
        for (const file of [written.path, ...jobs.map(({ source }) => source.name).map((n) => path.join(directory, n))])
          fs.rmSync(file);
      }),
      { numRuns: 150 },
    );
    await pool.close();
  });

  // Long rows and columns cross blocks, windows and tiles: more than 65,536 channels, strips and row-by-row tiles.
  it.each([
    { dims: [3, 150_000], axis: 1 },
    { dims: [150_000, 3], axis: 0 },
    { dims: [2, 70_001, 2], axis: 1 },
    { dims: [700, 900], axis: 1, permutation: [1, 0] },
    { dims: [3, 130, 5000], axis: [0, 1], permutation: [0, 2, 1] },
    { dims: [20_000, 300], axis: 0, permutation: [1, 0] },
    { dims: [70_000, 7], axis: 1, permutation: [1, 0] },
    { dims: [7, 70_000], axis: null, permutation: [1, 0] },
  ])('equal the reference for shape $dims, axis $axis, permutation $permutation', async (spec) => {
    const values = weights(spec.dims.reduce((a, b) => a * b, 1));
    const job: WeightJob = { ...plainJob(tensorInFile(spec.dims, values)), target: 'uint8', symmetric: false, ...spec };
    const reference = expected(job, values);
    const { parameters, bytes } = await inPool((pool) => both([job], pool));
    expect(Buffer.compare(Buffer.from(parameters[0]!.scales), Buffer.from(reference.scales))).toBe(0);
    expect([...parameters[0]!.zeroPoints]).toEqual(reference.zeroPoints);
    expect(bytes.equals(Buffer.from(reference.bytes))).toBe(true);
  });

  it('exchange rows and columns of a weight whose output crosses chunks in the middle of a column', async () => {
    // 9000 × 9000 = 81 MB: the second chunk starts within a column; more columns than are read whole.
    const [rows, columns] = [9000, 9000];
    const file = freshPath();
    const row = weights(columns);
    const fd = fs.openSync(file, 'w');
    for (let r = 0; r < rows; r++) {
      row[r % columns] = (r % 7) - 3;
      fs.writeSync(fd, Buffer.from(row.buffer));
    }
    fs.closeSync(fd);
    const length = 4 * rows * columns;
    const source: TensorRef = {
      name: 'w',
      dtype: FLOAT,
      dims: [rows, columns],
      length,
      source: { kind: 'file', path: file, offset: 0, length },
    };
    const straight = await inPool((pool) => both([plainJob(source)], pool, 5));
    const turned = await inPool((pool) => both([{ ...plainJob(source), permutation: [1, 0] }], pool, 5));
    expect(turned.written.chunks).toHaveLength(2);
    for (let c = 0; c < columns; c += c < 20 ? 1 : 37) {
      for (let r = 0; r < rows; r++) {
        if (turned.bytes[c * rows + r] !== straight.bytes[r * columns + c])
          throw new Error(`row ${r}, column ${c} differs`);
      }
    }
    expect(turned.written.chunks).toEqual(chunkDigests(turned.written.path));
  });

  it('reach past 4 GiB into a source', async () => {
    const values = weights(64);
    const file = freshPath();
    const offset = 2 ** 33 + 12;
    const fd = fs.openSync(file, 'w');
    fs.writeSync(fd, Buffer.from(values.buffer), 0, 256, offset);
    fs.closeSync(fd);
    const source: TensorRef = {
      name: 'far',
      dtype: FLOAT,
      dims: [64],
      length: 256,
      source: { kind: 'file', path: file, offset, length: 256 },
    };
    const { bytes } = await inPool((pool) => both([plainJob(source)], pool));
    expect([...bytes]).toEqual(expected(plainJob(source), values).bytes.map((value) => value & 0xff));
    fs.rmSync(file);
  });

  it('take FLOAT16, BFLOAT16 and DOUBLE weights, from memory as from files', async () => {
    const jobs = [
      tensorInMemory([2, 2], FLOAT16, bytesOf(Uint16Array.of(0x3c00, 0xc000, 0x3800, 0x0000))),
      tensorInMemory([4], BFLOAT16, bytesOf(Uint16Array.of(0x3f80, 0xc000, 0x3f00, 0x0000))),
      tensorInMemory([2, 2], DOUBLE, bytesOf(Float64Array.of(1, -2, 0.5, 0))),
    ].map(plainJob);
    await inPool(async (pool) => {
      const parameters = await computeParameters(jobs, pool);
      const layout = layoutOf(
        jobs.map((job, i) => ({ kind: 'job', length: 4, job: { kind: 'quantize', job, parameters: parameters[i]! } })),
      );
      await write(layout, pool);
      expect([...new Int8Array(fs.readFileSync(layout.path))]).toEqual(Array(3).fill([64, -127, 32, 0]).flat());
    });
  });

  it('report values that are not finite, and clip them', async () => {
    const values = Float32Array.of(1, Number.NaN, Number.POSITIVE_INFINITY, -2, Number.NEGATIVE_INFINITY, 0.5);
    const { parameters, bytes } = await inPool((pool) => both([plainJob(tensorInFile([6], values))], pool));
    expect(parameters[0]).toMatchObject({ nonFinite: 3, min: -2, max: 1 });
    expect([...new Int8Array(bytes)]).toEqual([64, 0, 127, -127, -128, 32]);
  });

  it('give a weight without elements scale 1', async () => {
    const parameters = await inPool((pool) =>
      computeParameters([plainJob(tensorInMemory([0, 4], FLOAT, new Uint8Array(0)))], pool),
    );
    expect([...parameters[0]!.scales]).toEqual([1]);
  });

  it('make the same bytes with any number of threads, and thousands of small tensors in one read', async () => {
    const values = weights(4000 * 33);
    const whole = tensorInFile([values.length], values);
    const jobs = Array.from({ length: 4000 }, (_, i): WeightJob => {
      const { path, offset } = whole.source as { path: string; offset: number };
      const source: TensorRef = {
        name: `w${i}`,
        dtype: FLOAT,
        dims: [3, 11],
        length: 132,
        source: { kind: 'file', path, offset: offset + 132 * i, length: 132 },
      };
      return { ...plainJob(source), axis: 1 };
    });
    const one = await inPool((pool) => both(jobs, pool), 1);
    const three = await inPool((pool) => both(jobs, pool), 3);
    expect(three.written.root).toBe(one.written.root);
    const last = expected(jobs[3999]!, values.subarray(3999 * 33));
    expect([...new Int8Array(one.bytes.subarray(-33))]).toEqual(last.bytes);
  });
});

describe('FileWriter', () => {
  it('lays bytes, copies, zeros and jobs over chunks and digests each chunk', async () => {
    const source = freshPath();
    const filler = Buffer.alloc(CHUNK_BYTES + 1000);
    for (let i = 0; i < filler.length; i += 4096) filler.writeUInt32LE(i, i);
    fs.writeFileSync(source, filler);
    const values = weights(5000);
    const half = tensorInFile([5000], values);
    const layout = layoutOf([
      { kind: 'bytes', length: 3, bytes: Buffer.from('abc') },
      { kind: 'zeros', length: 4093 },
      { kind: 'file', length: CHUNK_BYTES - 4096 - 777, path: source, sourceOffset: 500 },
      // An odd place: the chunk ends in the middle of an element.
      { kind: 'job', length: 10_000, job: { kind: 'float16', source: half } },
      { kind: 'bytes', length: 4, bytes: Buffer.from('tail') },
    ]);
    const seen: number[] = [];
    const written = await inPool((pool) => write(layout, pool, (bytes) => seen.push(bytes)));
    const made = fs.readFileSync(layout.path);
    const halves = bytesOf(Uint16Array.from(values, referenceHalf));
    const wanted = Buffer.concat([
      Buffer.from('abc'),
      Buffer.alloc(4093),
      filler.subarray(500, 500 + CHUNK_BYTES - 4096 - 777),
      halves,
      Buffer.from('tail'),
    ]);
    expect(made.equals(wanted)).toBe(true);
    expect(written).toEqual({
      path: layout.path,
      size: wanted.length,
      chunks: chunkDigests(layout.path),
      root: rootOf(chunkDigests(layout.path)),
    });
    expect(seen.reduce((a, b) => a + b, 0)).toBe(wanted.length);
  });

  it('gives a worker of small heap a chunk of 60,000 pieces a few at a time', async () => {
    const values = weights(16);
    const source = tensorInFile([16], values);
    const job: WeightJob = plainJob(source);
    const pieces = 60_000;
    await inPool(async (pool) => {
      const [parameters] = await computeParameters([job], pool);
      const layout = layoutOf(
        Array.from({ length: pieces }, () => ({ kind: 'job', length: 16, job: { kind: 'quantize', job, parameters } })),
      );
      const written = await write(layout, pool);
      const made = fs.readFileSync(layout.path);
      expect(made.length).toBe(16 * pieces);
      const once = made.subarray(0, 16);
      for (let i = 0; i < pieces; i += 999) expect(made.subarray(16 * i, 16 * i + 16).equals(once)).toBe(true);
      expect(written.chunks).toEqual(chunkDigests(layout.path));
    });
  });

  it('asks for bytes that are made when they are wanted, over the ends of steps and chunks', async () => {
    const run = 100_000;
    let asked = 0;
    const bytesOfRun = (i: number) => Buffer.alloc(run, i % 251);
    const parts = Array.from({ length: Math.ceil((CHUNK_BYTES * 1.5) / run) }, (_, i) => ({
      kind: 'bytes',
      length: run,
      get bytes() {
        asked++;
        return bytesOfRun(i);
      },
    }));
    const size = parts.length * run;
    const segments = parts.map((part, i) => Object.defineProperty(part, 'offset', { value: i * run }));
    const layout = { path: freshPath(), size, segments: segments as unknown as StreamLayout['segments'] };
    const written = await inPool((pool) => write(layout, pool));
    expect(asked).toBe(parts.length + 1);
    const made = fs.readFileSync(layout.path);
    expect(made.equals(Buffer.concat(parts.map((_, i) => bytesOfRun(i))))).toBe(true);
    expect(written.chunks).toEqual(chunkDigests(layout.path));
  });

  it('writes several files, an empty one among them', async () => {
    const layouts = [layoutOf([]), layoutOf([{ kind: 'zeros', length: 10 }])];
    const written = await inPool(async (pool) => {
      const writer = new FileWriter(pool);
      const written = [await writer.write(layouts[0]!), await writer.write(layouts[1]!)];
      await writer.sync();
      await writer.close();
      return written;
    });
    expect(written.map(({ size, chunks }) => [size, chunks.length])).toEqual([
      [0, 0],
      [10, 1],
    ]);
    expect(fs.statSync(layouts[0]!.path).size).toBe(0);
  });

  it('refuses a path that exists, and leaves that file alone', async () => {
    const layout = layoutOf([{ kind: 'zeros', length: 10 }]);
    fs.writeFileSync(layout.path, 'mine');
    await expect(inPool((pool) => write(layout, pool))).rejects.toThrow('EEXIST');
    expect(fs.readFileSync(layout.path, 'utf8')).toBe('mine');
  });

  it('says which source became shorter, and removes what it wrote', async () => {
    const source = tensorInFile([1000], weights(1000));
    const job = plainJob(source);
    await inPool(async (pool) => {
      const [parameters] = await computeParameters([job], pool);
      const { path } = source.source as { path: string };
      fs.truncateSync(path, 2000);
      const layout = layoutOf([{ kind: 'job', length: 1000, job: { kind: 'quantize', job, parameters: parameters! } }]);
      const error = await write(layout, pool).catch((error) => error);
      expect(error).toBeInstanceOf(InputError);
      expect(error.message).toContain(`"${path}" became shorter`);
      expect(fs.existsSync(layout.path)).toBe(false);
    });
  });

  it('stops at once when aborted, and removes what it wrote', async () => {
    const controller = new AbortController();
    const layout = layoutOf([{ kind: 'zeros', length: 40 * CHUNK_BYTES }]);
    const pool = new Pool({ threads: 2, signal: controller.signal });
    const writing = write(layout, pool, () => controller.abort(new Error('enough')));
    await expect(writing).rejects.toThrow('enough');
    await pool.close();
    expect(fs.existsSync(layout.path)).toBe(false);
  });
});

describe('digestSources', () => {
  it('finds the chunk digests and roots of files', async () => {
    const [long, empty] = [freshPath(), freshPath()];
    fs.writeFileSync(long, Buffer.alloc(CHUNK_BYTES + 12345, 'abc'));
    fs.writeFileSync(empty, '');
    const stamps = [long, empty].map((path) => ({ path, size: fs.statSync(path).size }));
    const digests = await inPool((pool) => digestSources(stamps, pool));
    expect(digests).toEqual([
      { size: CHUNK_BYTES + 12345, chunks: chunkDigests(long), root: rootOf(chunkDigests(long)) },
      { size: 0, chunks: [], root: rootOf([]) },
    ]);
  });
});

describe('geometry', () => {
  it('takes adjacent axes as one', () => {
    expect(channelsOf([2, 12, 5], [0, 1])).toEqual({ channels: 24, inner: 5 });
    expect(channelsOf([2, 12, 5], -1)).toEqual({ channels: 5, inner: 1 });
    expect(() => channelsOf([2, 12, 5], [0, 2])).toThrow(RangeError);
  });

  it('refuses permutations that do more than exchange', () => {
    expect(exchangeOf([2, 12, 5], [0, 2, 1])).toEqual({ rows: 12, columns: 5 });
    expect(exchangeOf([2, 12, 5], [2, 0, 1])).toEqual({ rows: 24, columns: 5 });
    expect(exchangeOf([2, 12, 5], [0, 1, 2])).toBeUndefined();
    expect(() => exchangeOf([2, 12, 5], [2, 1, 0])).toThrow(RangeError);
    expect(() => exchangeOf([2, 12, 5], [1, 0, 2])).toThrow(RangeError);
    expect(() => exchangeOf([2, 12, 5], [0, 0, 1])).toThrow(RangeError);
  });
});

function chunkDigests(file: string): string[] {
  const bytes = fs.readFileSync(file);
  const digests: string[] = [];
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
    digests.push(
      createHash('sha256')
        .update(bytes.subarray(at, at + CHUNK_BYTES))
        .digest('hex'),
    );
  }
  return digests;
}

function bytesOf(values: Uint16Array | Float64Array): Buffer {
  return Buffer.from(values.buffer, values.byteOffset, values.byteLength);
}
