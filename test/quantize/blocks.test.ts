import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { rootOf } from '../../src/model/digest.ts';
import type { Segment, TensorRef } from '../../src/model/types.ts';
import { bindKernels, compileKernels, ROUNDINGS } from '../../src/quantize/kernels/kernels.ts';
import {
  type BlockJob,
  type BlockPart,
  blockGeometry,
  FileWriter,
  NonFiniteBlocks,
  Pool,
  type StreamJob,
} from '../../src/quantize/stream/index.ts';
import { referenceBlock } from './reference.ts';

const memory = new WebAssembly.Memory({ initial: 16 });
const kernels = bindKernels(compileKernels(), memory);
const [SOURCE, MIN, MAX, SCALES, FACTORS, ZERO_POINTS, CODES, PACKED] = [
  0, 0x40000, 0x48000, 0x50000, 0x58000, 0x60000, 0x80000, 0xa0000,
];

const weight = fc.oneof(
  { weight: 6, arbitrary: fc.float({ min: -100, max: 100, noNaN: true }) },
  // Halves of a power of two meet the rounding's ties; the rest its edges.
  { weight: 3, arbitrary: fc.integer({ min: -16, max: 16 }).map((n) => n / 2) },
  { weight: 1, arbitrary: fc.constantFrom(0, -0, 1e30, -1e30, 1e-20) },
);

const rounding = fc.constantFrom('away' as const, 'even' as const, 'apart' as const);
const scheme = fc.record({ levels: fc.constantFrom(15, 255), symmetric: fc.boolean(), rounding });

const directory = fs.mkdtempSync(path.join(fs.realpathSync(process.env.TMPDIR ?? '/tmp'), 'blocks-'));
afterAll(() => fs.rmSync(directory, { recursive: true, force: true }));

const f32 = (at: number, count: number) => Array.from(new Float32Array(memory.buffer, at, count));
const u8 = (at: number, count: number) => Array.from(new Uint8Array(memory.buffer, at, count));
const clear = (at: number, count: number) => new Float32Array(memory.buffer, at, count).fill(0);

describe('blocks of weights', () => {
  it('get the scales, zero points and codes of the reference along columns', () => {
    const matrix = fc
      .tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 40 }))
      .chain(([rows, columns]) =>
        fc.tuple(
          fc.constant({ rows, columns }),
          fc.array(weight, { minLength: rows * columns, maxLength: rows * columns, size: 'max' }),
        ),
      );
    fc.assert(
      fc.property(matrix, scheme, ([{ rows, columns }, values], scheme) => {
        const { levels, symmetric } = scheme;
        const rounding = ROUNDINGS[scheme.rounding];
        new Float32Array(memory.buffer, SOURCE, values.length).set(values);
        expect(kernels.rangesOfColumns(SOURCE, rows, columns, MIN, MAX)).toBe(0);
        kernels.blockParameters(MIN, MAX, columns, levels, symmetric, rounding, SCALES, FACTORS, ZERO_POINTS);
        kernels.codesOfColumns(SOURCE, CODES, rows, columns, FACTORS, ZERO_POINTS, levels, rounding);
        const codes = u8(CODES, rows * columns);
        const stored = Array.from(Float32Array.from(values));
        for (let c = 0; c < columns; c++) {
          const column = <T>(all: readonly T[]) => all.filter((_, i) => i % columns === c);
          const expected = referenceBlock(column(stored), scheme);
          expect(f32(SCALES + 4 * c, 1)[0]! + 0).toBe(expected.scale + 0);
          expect(f32(ZERO_POINTS + 4 * c, 1)[0]).toBe(expected.zeroPoint);
          expect(column(codes)).toEqual(expected.codes);
        }
      }),
      { numRuns: 400 },
    );
  });

  it('show a value that is not finite, and none behind the last column', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10 }),
        fc.integer({ min: 1, max: 40 }),
        fc.nat(),
        fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY),
        fc.boolean(),
        (rows, columns, place, value, inside) => {
          const values = new Float32Array(memory.buffer, SOURCE, rows * columns + 1).fill(1);
          values[inside ? place % (rows * columns) : rows * columns] = value;
          expect(kernels.rangesOfColumns(SOURCE, rows, columns, MIN, MAX)).toBe(inside ? 1 : 0);
        },
      ),
    );
  });

  it('get the same along rows, where the last block may be short', () => {
    fc.assert(
      fc.property(
        fc.array(weight, { minLength: 1, maxLength: 300, size: 'max' }),
        fc.constantFrom(16, 32, 64),
        scheme,
        (values, block, scheme) => {
          const { levels, symmetric } = scheme;
          const rounding = ROUNDINGS[scheme.rounding];
          const blocks = Math.ceil(values.length / block);
          new Float32Array(memory.buffer, SOURCE, values.length).set(values);
          for (const at of [MIN, MAX]) clear(at, blocks);
          kernels.range(SOURCE, values.length, 0, block, blocks, block, MIN, MAX);
          kernels.blockParameters(MIN, MAX, blocks, levels, symmetric, rounding, SCALES, FACTORS, ZERO_POINTS);
          kernels.codesOfRow(SOURCE, CODES, values.length, block, FACTORS, ZERO_POINTS, levels, rounding);
          const stored = Array.from(Float32Array.from(values));
          const expected = Array.from({ length: blocks }, (_, i) =>
            referenceBlock(stored.slice(i * block, (i + 1) * block), scheme),
          );
          expect(f32(SCALES, blocks).map((scale) => scale + 0)).toEqual(expected.map(({ scale }) => scale + 0));
          expect(f32(ZERO_POINTS, blocks)).toEqual(expected.map(({ zeroPoint }) => zeroPoint));
          expect(u8(CODES, values.length)).toEqual(expected.flatMap(({ codes }) => codes));
        },
      ),
      { numRuns: 400 },
    );
  });

  it('rounds the largest number below a half down', () => {
    // Range 0 to 15 has scale 1.
    const values = [15, 0.49999997, 0.5, 1.5, 2.5];
    new Float32Array(memory.buffer, SOURCE, values.length).set(values);
    for (const at of [MIN, MAX]) clear(at, 1);
    kernels.range(SOURCE, values.length, 0, 16, 1, 16, MIN, MAX);
    for (const [rounding, codes] of [
      [ROUNDINGS.away, [15, 0, 1, 2, 3]],
      [ROUNDINGS.apart, [15, 0, 1, 2, 3]],
      [ROUNDINGS.even, [15, 0, 0, 2, 2]],
    ] as const) {
      kernels.blockParameters(MIN, MAX, 1, 15, false, rounding, SCALES, FACTORS, ZERO_POINTS);
      kernels.codesOfRow(SOURCE, CODES, values.length, 16, FACTORS, ZERO_POINTS, 15, rounding);
      expect(u8(CODES, values.length)).toEqual(codes);
    }
  });

  it('packs two codes of 4 bits to a byte, the first in the low half', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 20 }),
        fc.array(fc.integer({ min: 0, max: 15 }), { minLength: 1600, maxLength: 1600 }),
        (columns, pairs, codes) => {
          const count = 2 * pairs * columns;
          new Uint8Array(memory.buffer, CODES, count).set(codes.slice(0, count));
          kernels.packPairs(CODES, PACKED, count);
          const byPairs = Array.from({ length: count / 2 }, (_, i) => codes[2 * i]! | (codes[2 * i + 1]! << 4));
          expect(u8(PACKED, count / 2)).toEqual(byPairs);
          kernels.packRows(CODES, PACKED, pairs, columns);
          const byRows = Array.from({ length: pairs * columns }, (_, i) => {
            const at = 2 * Math.floor(i / columns) * columns + (i % columns);
            return codes[at]! | (codes[at + columns]! << 4);
          });
          expect(u8(PACKED, pairs * columns)).toEqual(byRows);
        },
      ),
    );
  });
});

const PARTS: readonly BlockPart[] = ['codes', 'scales', 'zeroPoints'];
let files = 0;

/** What the writer makes of a job: each part from a file of its own, or all from one. */
async function written(job: BlockJob, inOne: boolean): Promise<Record<BlockPart, Buffer>> {
  const { total } = blockGeometry(job);
  const parts = PARTS.filter((part) => total[part] > 0);
  const groups = inOne ? [parts] : parts.map((part) => [part]);
  const made = { codes: Buffer.alloc(0), scales: Buffer.alloc(0), zeroPoints: Buffer.alloc(0) };
  const pool = new Pool({ threads: 2 });
  const writer = new FileWriter(pool);
  try {
    for (const group of groups) {
      const segments: Segment<StreamJob>[] = [{ kind: 'bytes', offset: 0, length: 3, bytes: Buffer.from('abc') }];
      let size = 3;
      for (const part of group) {
        const length = total[part];
        segments.push({ kind: 'job', offset: size, length, job: { kind: 'blocks', job, part } });
        size += length;
      }
      const file = path.join(directory, `out-${files++}`);
      let reported = 0;
      const result = await writer.write({ path: file, size, segments }, (bytes) => {
        reported += bytes;
      });
      await writer.sync();
      const bytes = fs.readFileSync(file);
      expect(bytes.subarray(0, 3).toString()).toBe('abc');
      expect(reported).toBe(size);
      expect(result.root).toBe(rootOf([createHash('sha256').update(bytes).digest('hex')]));
      for (const segment of segments) {
        if (segment.kind !== 'job' || segment.job.kind !== 'blocks') continue;
        made[segment.job.part] = bytes.subarray(segment.offset, segment.offset + segment.length);
      }
    }
    return made;
  } finally {
    await writer.close();
    await pool.close();
  }
}

function fileTensor(dims: number[], values: Float32Array): TensorRef {
  const file = path.join(directory, `source-${files++}`);
  fs.writeFileSync(file, Buffer.concat([Buffer.alloc(5), Buffer.from(values.buffer)]));
  const length = values.byteLength;
  return { name: 'w', dtype: 1, dims, length, source: { kind: 'file', path: file, offset: 5, length } };
}

/** All parts of a job, from the rules. */
function referenceParts(job: BlockJob, values: Float32Array): Record<BlockPart, Buffer> {
  const { rows, depth, blocks, unit, total } = blockGeometry(job);
  const made = {
    codes: Buffer.alloc(total.codes),
    scales: Buffer.alloc(total.scales),
    zeroPoints: Buffer.alloc(total.zeroPoints),
  };
  const put = (buffer: Buffer, start: number, index: number, code: number) => {
    if (job.bits === 8) buffer[start + index] = code;
    else buffer[start + (index >> 1)]! |= index % 2 ? code << 4 : code;
  };
  const inPlace = job.layout === 'source';
  // Signed codes have the other half of the unsigned ones first.
  const flip = inPlace && job.symmetric ? 2 ** (job.bits - 1) : 0;
  for (let r = 0; r < rows; r++) {
    const weights = Array.from(
      { length: depth },
      (_, k) => values[job.along === 'rows' ? r * depth + k : k * rows + r]!,
    );
    const codes: number[] = [];
    for (let b = 0; b < blocks; b++) {
      const scheme = { levels: 2 ** job.bits - 1, symmetric: job.symmetric, rounding: job.rounding };
      const block = referenceBlock(weights.slice(b * job.block, (b + 1) * job.block), scheme);
      codes.push(...block.codes);
      made.scales.writeFloatLE(block.scale, inPlace ? 4 * (b * rows + r) : r * unit.scales + 4 * b);
      if (job.symmetric) continue;
      if (inPlace) put(made.zeroPoints, 0, b * rows + r, block.zeroPoint);
      else put(made.zeroPoints, r * unit.zeroPoints, b, block.zeroPoint);
    }
    if (inPlace) {
      codes.forEach((code, k) => {
        put(made.codes, 0, k * rows + r, code ^ flip);
      });
      continue;
    }
    if (!job.symmetric && job.bits === 4 && blocks % 2) made.zeroPoints[(r + 1) * unit.zeroPoints - 1]! |= 0x80;
    // Half a byte is left over: onnxruntime, two blocks at a time, leaves its last code of an odd place there.
    if (job.along === 'columns' && job.bits === 4 && depth % 2 && (depth % job.block > 1 || blocks % 2 === 0)) {
      codes.push(codes.at(-2)!);
    }
    codes.forEach((code, k) => {
      put(made.codes, r * unit.codes, k, code);
    });
  }
  return made;
}

describe('block-wise weights in a file', () => {
  const jobs = fc.record({
    along: fc.constantFrom('columns' as const, 'rows' as const),
    block: fc.constantFrom(16, 32, 64, 128, 256),
    bits: fc.constantFrom(4 as const, 8 as const),
    symmetric: fc.boolean(),
    rounding,
    layout: fc.constantFrom('matrix' as const, 'table' as const, 'source' as const),
    rows: fc.integer({ min: 1, max: 80 }),
    depth: fc.integer({ min: 1, max: 400 }),
    seed: fc.integer(),
  });

  it('are those of the reference, wherever their parts lie', async () => {
    await fc.assert(
      fc.asyncProperty(jobs, fc.boolean(), fc.boolean(), async ({ rows, depth, seed, ...given }, inOne, inMemory) => {
        const scheme = given.layout === 'source' ? { ...given, along: 'columns' as const } : given;
        const values = normal(rows * depth, seed);
        const source = fileTensor(scheme.along === 'rows' ? [rows, depth] : [depth, rows], values);
        const bytes = new Uint8Array(values.buffer);
        const job = { ...scheme, source: inMemory ? { ...source, source: { kind: 'bytes' as const, bytes } } : source };
        expect(await written(job, inOne)).toEqual(referenceParts(job, values));
      }),
      { numRuns: 60 },
    );
  });

  it.each([
    ['columns, wider than a strip', [70, 5000], 'columns', 32, 4],
    ['columns, deeper than a tile', [17_001, 260], 'columns', 256, 8],
    ['rows, longer than a tile', [1, 4_300_001], 'rows', 256, 8],
    ['rows, many in a tile', [3000, 257], 'rows', 32, 8],
    ['in place, wider than a strip', [517, 5001], 'columns', 32, 4, 'source'],
    ['in place, several tasks', [9001, 2050], 'columns', 64, 8, 'source'],
  ] as const)(
    'of large matrices too: %s',
    async (_, dims, along, block, bits, layout: BlockJob['layout'] = 'matrix') => {
      const values = normal(dims[0] * dims[1], 7);
      const source = fileTensor([...dims], values);
      const job: BlockJob = { source, along, block, bits, symmetric: false, rounding: 'away', layout };
      const made = await written(job, true);
      const expected = referenceParts(job, values);
      for (const part of PARTS) expect(made[part].equals(expected[part]), part).toBe(true);
    },
  );

  it('count values for which there is no scale, and leave nothing', async () => {
    const values = normal(64 * 40, 3);
    values[100] = Number.NaN;
    values[2000] = Number.POSITIVE_INFINITY;
    const source = fileTensor([64, 40], values);
    const job: BlockJob = {
      source,
      along: 'columns',
      block: 32,
      bits: 4,
      symmetric: false,
      rounding: 'away',
      layout: 'matrix',
    };
    const before = fs.readdirSync(directory).length;
    const error = await written(job, true).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(NonFiniteBlocks);
    expect((error as NonFiniteBlocks).found.get(job)).toBe(2);
    expect(fs.readdirSync(directory)).toHaveLength(before);
  });
});

/** Seeded values of the size that weights have. */
function normal(count: number, seed: number): Float32Array {
  let state = seed >>> 0;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return Float32Array.from({ length: count }, () => next() + next() + next() - 1.5);
}
