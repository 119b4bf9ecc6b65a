import { writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CHUNK_ELEMENTS, createKernels, type Kernels } from '../../src/compare/metrics/kernels.ts';
import { MAX_SQNR_DB, metricsOf } from '../../src/compare/metrics/metrics.ts';
import { compareOutputs, type StoredTensor } from '../../src/compare/metrics/outputs.ts';
import { bytesOf } from '../support/onnx-builder.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const kernels = createKernels(2 ** 18);

/** What the kernels should find, one element at a time, with sums that carry their rounding error along. */
function expectedSums(x: ArrayLike<number>, y: ArrayLike<number>) {
  const add = [compensated(), compensated(), compensated(), compensated(), compensated()] as const;
  const found = {
    maxError: 0,
    maxErrorIndex: 0,
    referenceNans: 0,
    modelNans: 0,
    unequalInfinities: 0,
    equalInfinities: 0,
  };
  for (let i = 0; i < x.length; i++) {
    const a = x[i]!;
    const b = y[i]!;
    if (Number.isNaN(a)) found.referenceNans++;
    if (Number.isNaN(b)) found.modelNans++;
    if (Number.isNaN(a) || Number.isNaN(b)) continue;
    if (!Number.isFinite(a) || !Number.isFinite(b)) {
      if (a === b) found.equalInfinities++;
      else found.unequalInfinities++;
      continue;
    }
    const error = Math.abs(a - b);
    [a * b, a * a, b * b, error * error, error].forEach((term, k) => void add[k]!.add(term));
    if (error > found.maxError) Object.assign(found, { maxError: error, maxErrorIndex: i });
  }
  const [dot, referenceEnergy, modelEnergy, squaredError, absoluteError] = add.map((sum) => sum.value());
  return { count: x.length, dot, referenceEnergy, modelEnergy, squaredError, absoluteError, ...found };
}

/** Neumaier's compensated sum. */
function compensated() {
  let sum = 0;
  let rest = 0;
  return {
    add(term: number) {
      const next = sum + term;
      rest += Math.abs(sum) >= Math.abs(term) ? sum - next + term : term - next + sum;
      sum = next;
    },
    value: () => sum + rest,
  };
}

function fill(into: Kernels, bytes: 4 | 8, x: ArrayLike<number>, y: ArrayLike<number>): void {
  const Floats = bytes === 4 ? Float32Array : Float64Array;
  new Floats(into.memory, into.referenceOffset, x.length).set(x);
  new Floats(into.memory, into.modelOffset, y.length).set(y);
}

function sumsOf(bytes: 4 | 8, x: ArrayLike<number>, y: ArrayLike<number>) {
  fill(kernels, bytes, x, y);
  kernels.reset();
  kernels.accumulate(bytes, x.length);
  return kernels.sums();
}

function expectClose(actual: object, expected: object, magnitude: number): void {
  for (const [key, value] of Object.entries(expected)) {
    const found = (actual as Record<string, number>)[key]!;
    expect(Math.abs(found - value), key).toBeLessThanOrEqual(1e-12 * Math.max(Math.abs(value), magnitude));
  }
}

const pairs = (element: fc.Arbitrary<number>) =>
  fc.array(fc.tuple(element, element), { maxLength: 2500 }).map((list) => ({
    x: list.map(([a]) => a),
    y: list.map(([, b]) => b),
  }));

describe('kernels', () => {
  test.each([4, 8] as const)(
    'agree with a plain loop on any floats of %i bytes, NaN and infinities included',
    (bytes) => {
      const element =
        bytes === 4
          ? fc.oneof(
              { weight: 20, arbitrary: fc.float({ noDefaultInfinity: true, noNaN: true, min: -1e9, max: 1e9 }) },
              fc.float(),
            )
          : fc.oneof(
              { weight: 20, arbitrary: fc.double({ noDefaultInfinity: true, noNaN: true, min: -1e9, max: 1e9 }) },
              fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 5e-324),
            );
      fc.assert(
        fc.property(pairs(element), ({ x, y }) => {
          const expected = expectedSums(x, y);
          const { dot, ...others } = expected;
          const found = sumsOf(bytes, x, y);
          expectClose(found, others, 0);
          // A dot product cancels: its error is relative to the vectors, not to the product.
          expectClose(found, { dot }, Math.sqrt(expected.referenceEnergy! * expected.modelEnergy!));
        }),
        { numRuns: 150 },
      );
    },
  );

  test('leave out doubles whose squares would overflow, as infinities, and no others', () => {
    const x = Float64Array.from({ length: 2100 }, (_, i) => (i === 2000 ? 1.01e150 : i === 3 ? 1e150 : 1));
    const { referenceEnergy, unequalInfinities, equalInfinities } = sumsOf(8, x, x);
    expect({ unequalInfinities, equalInfinities }).toEqual({ unequalInfinities: 0, equalInfinities: 1 });
    expect(referenceEnergy).toBe(1e150 ** 2);
    const { maxError, unequalInfinities: alone } = sumsOf(8, x, new Float64Array(x.length));
    expect({ maxError, alone }).toEqual({ maxError: 1e150, alone: 1 });
  });

  test('keep their accuracy over ten million elements', () => {
    const random = seeded(7);
    const x = random.floats(CHUNK_ELEMENTS);
    const y = x.map((value) => value + 0.01 * random.normal());
    fill(kernels, 4, x, y);
    kernels.reset();
    const rounds = 80;
    for (let i = 0; i < rounds; i++) kernels.accumulate(4, CHUNK_ELEMENTS);
    const once = expectedSums(x, y);
    const found = kernels.sums();
    for (const key of ['dot', 'referenceEnergy', 'modelEnergy', 'squaredError', 'absoluteError'] as const) {
      expect(Math.abs(found[key] / (once[key]! * rounds) - 1), key).toBeLessThan(1e-13);
    }
    expect(found.maxErrorIndex).toBe(once.maxErrorIndex);
    expect(found.count).toBe(rounds * CHUNK_ELEMENTS);
  });

  test.each([4, 8] as const)('count rows with the same first greatest element (%i bytes)', (bytes) => {
    const few = fc.constantFrom(-2, -1, 0, 1, 2, Number.NaN, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY);
    const shaped = fc
      .tuple(fc.integer({ min: 1, max: 70 }), fc.integer({ min: 0, max: 9 }))
      .chain(([columns, rows]) => {
        const values = fc.array(few, { minLength: columns * rows, maxLength: columns * rows });
        return fc.tuple(fc.constant(columns), fc.constant(rows), values, values);
      });
    fc.assert(
      fc.property(shaped, ([columns, rows, x, y]) => {
        fill(kernels, bytes, x, y);
        expect(kernels.agreement(bytes, rows, columns)).toBe(plainAgreement(x, y, rows, columns));
      }),
      { numRuns: 300 },
    );
  });
});

function plainAgreement(x: number[], y: number[], rows: number, columns: number): number {
  const top = (row: number[]) => {
    let best = 0;
    for (let i = 0, greatest = Number.NEGATIVE_INFINITY; i < row.length; i++) {
      if (row[i]! > greatest) {
        greatest = row[i]!;
        best = i;
      }
    }
    return best;
  };
  return Array.from({ length: rows }, (_, r) => r * columns).filter(
    (at) => top(x.slice(at, at + columns)) === top(y.slice(at, at + columns)),
  ).length;
}

describe('metricsOf', () => {
  const metrics = (x: number[], y: number[]) => metricsOf(sumsOf(4, x, y));

  test('takes the definitions at their word', () => {
    const found = metrics([3, 4], [4, 3]);
    expect(found.cosine).toBeCloseTo(24 / 25, 15);
    expect(found.mse).toBe(1);
    expect(found.mae).toBe(1);
    expect(found.maxAbs).toBe(1);
    expect(found.maxAbsIndex).toBe(0);
    expect(found.sqnrDb).toBeCloseTo(10 * Math.log10(25 / 2), 12);
  });

  test('two zero vectors are equal, one zero vector is nothing like the other', () => {
    expect(metrics([0, 0], [0, 0])).toMatchObject({ cosine: 1, sqnrDb: MAX_SQNR_DB });
    expect(metrics([0, 0], [1, 0])).toMatchObject({ cosine: 0, sqnrDb: -MAX_SQNR_DB });
    expect(metrics([1, 0], [0, 0])).toMatchObject({ cosine: 0, sqnrDb: 0 });
    expect(metrics([], [])).toMatchObject({ cosine: 1, mse: 0, mae: 0, elements: 0 });
  });

  test('a model that answers NaN leaves finite figures', () => {
    for (const value of Object.values(metrics([1, 2], [Number.NaN, Number.NaN]))) {
      expect(Number.isFinite(value)).toBe(true);
    }
  });
});

describe('compareOutputs', () => {
  const stored = (dtype: string, dims: number[], data: ArrayBufferView, folder = temp()): StoredTensor => {
    const file = path.join(folder, `${dtype}.bin`);
    writeFileSync(file, bytesOf(data));
    return { name: 'y', dtype, dims, path: file, length: data.byteLength };
  };

  test('streams outputs of many chunks and rows that do not divide them', async () => {
    const columns = 7001;
    const rows = 50;
    const random = seeded(3);
    const x = random.floats(rows * columns);
    const y = x.map((value) => value + 0.1 * random.normal());
    const found = await compareOutputs(stored('float32', [rows, columns], x), stored('float32', [rows, columns], y), {
      kernels,
      top1: true,
    });
    const expected = expectedSums(x, y);
    expect(found.elements).toBe(rows * columns);
    expect(found.noise / expected.squaredError!).toBeCloseTo(1, 12);
    expect(found.maxAbsIndex).toBe(expected.maxErrorIndex);
    expect(found.top1).toEqual({ rows, equal: plainAgreement([...x], [...y], rows, columns) });
  });

  test('a row may be longer than a chunk', async () => {
    const columns = CHUNK_ELEMENTS + 5;
    const x = new Float32Array(2 * columns);
    x[columns - 1] = 1;
    x[columns] = 1;
    const y = x.slice();
    y[columns + 9] = 2;
    const found = await compareOutputs(stored('float32', [2, columns], x), stored('float32', [2, columns], y), {
      kernels,
      top1: true,
    });
    expect(found.top1).toEqual({ rows: 2, equal: 1 });
  });

  test('halves are converted exactly and compare with singles', async () => {
    const halves = Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x7bff, 0x8000, 0x03ff);
    const singles = Float32Array.of(1, -2, 2 ** -24, 65504, -0, 1023 * 2 ** -24);
    const found = await compareOutputs(stored('float16', [6], halves), stored('float32', [6], singles), {
      kernels,
      top1: false,
    });
    expect(found).toMatchObject({ maxAbs: 0, noise: 0, elements: 6 });
    expect(found.cosine).toBeCloseTo(1, 15);
    expect(found.unequal).toBeUndefined();
  });

  test('doubles keep their precision', async () => {
    const x = Float64Array.of(1, 1 + 2 ** -40);
    const y = Float64Array.of(1, 1);
    const found = await compareOutputs(stored('float64', [2], x), stored('float64', [2], y), { kernels, top1: false });
    expect(found.maxAbs).toBe(2 ** -40);
  });

  test.each([
    ['int64', BigInt64Array.of(-1n, 2n ** 53n, 7n), BigInt64Array.of(-1n, 2n ** 53n + 1n, 7n)],
    ['int32', Int32Array.of(-1, 5, 7), Int32Array.of(-1, 6, 7)],
    ['int8', Int8Array.of(-1, 5, 7), Int8Array.of(-1, 6, 7)],
    ['bool', Uint8Array.of(1, 0, 1), Uint8Array.of(1, 1, 1)],
    ['uint64', BigUint64Array.of(1n, 0n, 2n ** 64n - 1n), BigUint64Array.of(1n, 1n, 2n ** 64n - 1n)],
  ])('%s compares exactly', async (dtype, x, y) => {
    const options = { kernels, top1: false };
    expect((await compareOutputs(stored(dtype, [3], x), stored(dtype, [3], y), options)).unequal).toBe(1);
    expect((await compareOutputs(stored(dtype, [3], x), stored(dtype, [3], x), options)).unequal).toBe(0);
  });

  test('text compares element by element', async () => {
    const text = (...labels: string[]) => stored('string', [labels.length], Buffer.from(JSON.stringify(labels)));
    const found = await compareOutputs(text('cat', 'dog'), text('cat', 'horse'), { kernels, top1: false });
    expect(found).toMatchObject({ unequal: 1, cosine: 0.5 });
  });

  test('NaN and lone infinities are counted, equal infinities are equal', async () => {
    const x = Float32Array.of(1, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY);
    const y = Float32Array.of(Number.NaN, 2, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
    const found = await compareOutputs(stored('float32', [4], x), stored('float32', [4], y), { kernels, top1: false });
    expect(found).toMatchObject({ referenceNans: 1, modelNans: 1, unequalInfinities: 1 });
  });

  test('other shapes and types are refused in one sentence', async () => {
    const four = stored('float32', [4], new Float32Array(4));
    const square = stored('float32', [2, 2], new Float32Array(4));
    const whole = stored('int32', [4], new Int32Array(4));
    const options = { kernels, top1: false };
    await expect(compareOutputs(four, square, options)).rejects.toThrow(
      /y is float32\[4\] .* float32\[2,2\] in the model/,
    );
    await expect(compareOutputs(four, whole, options)).rejects.toThrow(/int32\[4\] in the model/);
  });
});
