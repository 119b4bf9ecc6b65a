import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bindKernels, compileKernels } from '../../src/quantize/kernels/kernels.ts';

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

const scheme = fc.record({ levels: fc.constantFrom(15, 255), symmetric: fc.boolean(), even: fc.boolean() });
type Scheme = typeof scheme extends fc.Arbitrary<infer T> ? T : never;

/** One block, element by element, from the rules of onnxruntime 1.32's two quantizers. */
function referenceBlock(values: readonly number[], { levels, symmetric, even }: Scheme) {
  const f = Math.fround;
  const low = Math.min(0, ...values);
  const high = Math.max(0, ...values);
  const half = (levels + 1) / 2;
  const round = even ? toEven : awayFromZero;
  const clip = (value: number) => Math.min(Math.max(value, 0), levels);
  const scale = symmetric ? f((high > -low ? high : low) / -half) : f(f(high - low) / levels);
  const empty = scale === 0;
  const zeroPoint = symmetric ? half : empty ? (even ? half : 0) : clip(round(f(-low / scale)));
  const codes = values.map((value) => {
    if (empty) return zeroPoint;
    const scaled = even ? f(value / scale) : f(value * f(1 / scale));
    // 0 × ∞, where the scale is so small that it has no reciprocal.
    return Number.isNaN(scaled) ? 0 : clip(round(f(scaled + zeroPoint))) + 0;
  });
  return { scale, zeroPoint, codes };
}

function awayFromZero(value: number): number {
  return Math.sign(value) * Math.floor(Math.abs(value) + 0.5);
}

function toEven(value: number): number {
  const nearest = Math.round(value);
  return Math.abs(value % 1) === 0.5 && nearest % 2 !== 0 ? nearest - 1 : nearest;
}

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
        const { levels, symmetric, even } = scheme;
        new Float32Array(memory.buffer, SOURCE, values.length).set(values);
        for (const at of [MIN, MAX]) clear(at, columns);
        kernels.range(SOURCE, rows * columns, 0, 1, columns, 1, MIN, MAX);
        kernels.blockParameters(MIN, MAX, columns, levels, symmetric, even, SCALES, FACTORS, ZERO_POINTS);
        kernels.codesOfColumns(SOURCE, CODES, rows, columns, FACTORS, ZERO_POINTS, levels, even);
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

  it('get the same along rows, where the last block may be short', () => {
    fc.assert(
      fc.property(
        fc.array(weight, { minLength: 1, maxLength: 300, size: 'max' }),
        fc.constantFrom(16, 32, 64),
        scheme,
        (values, block, scheme) => {
          const { levels, symmetric, even } = scheme;
          const blocks = Math.ceil(values.length / block);
          new Float32Array(memory.buffer, SOURCE, values.length).set(values);
          for (const at of [MIN, MAX]) clear(at, blocks);
          kernels.range(SOURCE, values.length, 0, block, blocks, block, MIN, MAX);
          kernels.blockParameters(MIN, MAX, blocks, levels, symmetric, even, SCALES, FACTORS, ZERO_POINTS);
          kernels.codesOfRow(SOURCE, CODES, values.length, block, FACTORS, ZERO_POINTS, levels, even);
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
    for (const [even, codes] of [
      [false, [15, 0, 1, 2, 3]],
      [true, [15, 0, 0, 2, 2]],
    ] as const) {
      kernels.blockParameters(MIN, MAX, 1, 15, false, even, SCALES, FACTORS, ZERO_POINTS);
      kernels.codesOfRow(SOURCE, CODES, values.length, 16, FACTORS, ZERO_POINTS, 15, even);
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
