import { writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Channels, channelAxes } from '../../src/compare/metrics/channels.ts';
import { createKernels } from '../../src/compare/metrics/kernels.ts';
import { compareOutputs, type StoredTensor } from '../../src/compare/metrics/outputs.ts';
import { bytesOf } from '../support/onnx-builder.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

interface Sample {
  dims: number[];
  x: number[];
  y: number[];
}

/** The definition, one element at a time: the cosine of all that has the same index along `axis`. */
function naive(samples: readonly Sample[], axis: number) {
  const indices = new Map<number, { dot: number; xx: number; yy: number; values: number }>();
  for (const { dims, x, y } of samples) {
    const inner = dims.slice(axis + 1).reduce((product, size) => product * size, 1);
    for (let i = 0; i < x.length; i++) {
      const index = Math.floor(i / inner) % dims[axis]!;
      const sums = indices.get(index) ?? { dot: 0, xx: 0, yy: 0, values: 0 };
      indices.set(index, sums);
      if (!Number.isFinite(x[i]!) || !Number.isFinite(y[i]!)) continue;
      sums.dot += x[i]! * y[i]!;
      sums.xx += x[i]! ** 2;
      sums.yy += y[i]! ** 2;
      sums.values++;
    }
  }
  const pooled = [...indices].filter(([, { values }]) => values >= 8);
  const rms = ({ xx, values }: { xx: number; values: number }) => Math.sqrt(xx / values);
  const largest = pooled.reduce((most, [, sums]) => Math.max(most, rms(sums)), 0);
  const counted = pooled.filter(([, sums]) => sums.xx > 0 && rms(sums) >= 1e-9 * largest);
  const cosines = counted.map(([index, { dot, xx, yy }]) => ({
    index,
    cosine: yy === 0 ? 0 : Math.max(-1, Math.min(1, dot / (Math.sqrt(xx) * Math.sqrt(yy)))),
  }));
  return { cosines, leftOut: pooled.length - counted.length };
}

/** The same by way of files, chunks and kernels. */
async function measured(samples: readonly Sample[], Floats: typeof Float32Array | typeof Float64Array = Float32Array) {
  const folder = temp();
  const kernels = createKernels();
  const channels = new Channels();
  for (const { dims, x, y } of samples) {
    const stored = (name: string, values: readonly number[]): StoredTensor => {
      const file = path.join(folder, name);
      const data = Floats.from(values);
      writeFileSync(file, bytesOf(data));
      const dtype = Floats === Float32Array ? 'float32' : 'float64';
      return { name: 'y', dtype, dims, path: file, length: data.byteLength };
    };
    await compareOutputs(stored('x', x), stored('y', y), { kernels, top1: false, channels });
  }
  return channels;
}

function expectLikeNaive(channels: Channels, samples: readonly Sample[], axes: readonly number[]): void {
  const figures = channels.figures();
  const expected = axes.filter((axis) => naive(samples, axis).cosines.length > 0);
  expect(figures.map(({ axis }) => axis)).toEqual(expected);
  for (const { axis, similarity, indices, leftOut, worst } of figures) {
    const { cosines, leftOut: left } = naive(samples, axis);
    expect({ indices, leftOut }).toEqual({ indices: cosines.length, leftOut: left });
    expect(similarity).toBeCloseTo(cosines.reduce((sum, { cosine }) => sum + cosine, 0) / cosines.length, 10);
    const lowest = cosines.map(({ cosine }) => cosine).sort((a, b) => a - b);
    expect(worst.length).toBe(Math.min(5, cosines.length));
    for (const [rank, { index, cosine }] of worst.entries()) {
      expect(cosine).toBeCloseTo(lowest[rank]!, 10);
      expect(cosine).toBeCloseTo(cosines.find((each) => each.index === index)!.cosine, 10);
    }
  }
}

describe('channel similarity', () => {
  const element = fc.oneof(
    { weight: 30, arbitrary: fc.float({ noNaN: true, noDefaultInfinity: true, min: -100, max: 100 }) },
    { weight: 2, arbitrary: fc.constant(0) },
    { weight: 1, arbitrary: fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY) },
  );
  const sampleOf = (rank: number): fc.Arbitrary<Sample> =>
    fc.array(fc.integer({ min: 1, max: 9 }), { minLength: rank, maxLength: rank }).chain((dims) => {
      const count = dims.reduce((product, size) => product * size, 1);
      const values = fc.array(element, { minLength: count, maxLength: count });
      return fc.record({ dims: fc.constant(dims), x: values, y: values });
    });

  test.each([Float32Array, Float64Array])(
    'is what a plain loop finds, whatever the shapes of the samples: %o',
    async (Floats) => {
      await fc.assert(
        fc.asyncProperty(
          fc.integer({ min: 2, max: 4 }).chain((rank) => fc.array(sampleOf(rank), { minLength: 1, maxLength: 4 })),
          async (samples) => {
            const exact = samples.map((sample) => ({
              ...sample,
              x: [...Floats.from(sample.x)],
              y: [...Floats.from(sample.y)],
            }));
            const axes = samples[0]!.dims.length === 3 ? [1, 2] : [1];
            expectLikeNaive(await measured(exact, Floats), exact, axes);
          },
        ),
        { numRuns: 60 },
      );
    },
  );

  test.each([
    [[1, 84, 4200]],
    [[3, 700, 101]],
    [[2, 150_001]],
    [[1, 5, 300, 200]],
    [[1, 3, 60_000, 1]],
    [[1, 1, 140_000]],
  ])('streams %j, whose runs no chunk boundary respects', async (dims) => {
    const random = seeded(5);
    const count = dims.reduce((product, size) => product * size, 1);
    const x = [...random.floats(count)];
    const y = x.map((value) => Math.fround(value + 0.3 * random.normal()));
    const samples = Array.from({ length: dims.length === 2 ? 5 : 1 }, () => ({ dims, x, y }));
    expectLikeNaive(await measured(samples), samples, channelAxes(dims));
  });

  test('one value that is not finite leaves out itself, not its chunk', async () => {
    const dims = [1, 4, 1000];
    const x = [...seeded(1).floats(4000)];
    const y = x.map((value, i) => (i === 1500 ? Number.NaN : value));
    const [axis] = (await measured([{ dims, x, y }])).figures();
    expect(axis).toMatchObject({ indices: 4, leftOut: 0 });
    expect(axis!.similarity).toBeCloseTo(1, 12);
  });

  test('samples of another rank leave no figure', async () => {
    const ones = (dims: number[]) => {
      const values = new Array<number>(dims.reduce((product, size) => product * size, 1)).fill(1);
      return { dims, x: values, y: values };
    };
    const channels = await measured([ones([4, 16]), ones([1, 4, 16])]);
    expect(channels.dropped).toBe(true);
    expect(channels.figures()).toEqual([]);
  });

  test.each([
    ['fewer than 8 values of an index', [7, 3], []],
    ['8 values of an index', [8, 3], [1]],
    ['a vector', [64], []],
    ['rank 3, of which only axis 1 has enough values', [2, 3, 4], [1]],
  ])('%s', async (_, dims, axes) => {
    const values = new Array<number>(dims.reduce((product, size) => product * size, 1)).fill(1);
    const figures = (await measured([{ dims, x: values, y: values }])).figures();
    expect(figures.map(({ axis }) => axis)).toEqual(axes);
  });

  test('an axis of more than 2^20 indices is none of channels', () => {
    expect(channelAxes([8, 2 ** 20])).toEqual([1]);
    expect(channelAxes([8, 2 ** 20 + 1])).toEqual([]);
    expect(channelAxes([1, 2 ** 20 + 1, 8])).toEqual([2]);
  });

  test('faint channels count, beside others ten million times as large', async () => {
    const dims = [1, 3, 16];
    const size = [300, 3e-5, 3e-8];
    const x = Array.from({ length: 48 }, (_, i) => size[Math.floor(i / 16)]!);
    const y = x.map((value) => (value < 1 ? 0 : value));
    const axis = (await measured([{ dims, x, y }])).figures().find((each) => each.axis === 1)!;
    expect(axis).toMatchObject({ similarity: 0.5, indices: 2, leftOut: 1 });
  });

  test('a channel that died has the cosine 0, one that is zero in the reference does not count', async () => {
    const dims = [1, 3, 16];
    const x = Array.from({ length: 48 }, (_, i) => (i < 16 ? 300 : i < 32 ? 0.5 : 0));
    const y = x.map((value, i) => (i >= 16 && i < 32 ? 0 : value));
    const axis = (await measured([{ dims, x, y }])).figures().find((each) => each.axis === 1)!;
    expect(axis).toMatchObject({ similarity: 0.5, indices: 2, leftOut: 1 });
    expect(axis.worst[0]).toEqual({ index: 1, cosine: 0, rms: 0.5 });
  });
});
