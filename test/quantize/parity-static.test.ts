import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { DataType } from '../../src/model/enums.ts';
import { indexGraphs, readModel } from '../../src/model/index.ts';
import { gridOf } from '../../src/quantize/methods/static/grids.ts';
import { quantizeWeight } from '../../src/quantize/methods/static/observe/emulation.ts';
import { observe } from '../../src/quantize/methods/static/observe/observe.ts';
import { rangeOf } from '../../src/quantize/methods/static/ranges/ranges.ts';
import { productOf } from '../../src/quantize/methods/static/weights.ts';
import { type Bins, createObserver, openSession } from '../../src/runtime/index.ts';
import { graph, model, node, saveModel, tensor, value } from '../support/onnx-builder.ts';
import { useTemp } from '../support/temp.ts';

/** Recorded by scripts/golden/static.py from onnxruntime.quantization 1.32. */
const golden = JSON.parse(readFileSync(path.join(import.meta.dirname, 'golden', 'static.json'), 'utf8')) as Golden;

const temp = useTemp();

describe('ranges of activations', () => {
  const cases = golden.ranges.flatMap(({ name, samples, ranges }) =>
    ranges.map(
      (range) => [`${name}, ${range.method}, ${range.num_bins} bins, ${range.percentile}`, samples, range] as const,
    ),
  );
  it.each(cases)('%s', (_, samples, range) => {
    const values = samples.map((sample) => new Float32Array(bytesOf(sample).buffer));
    const { min, max, smallest } = observed(values);
    const largest = Math.max(Math.abs(min), Math.abs(max));
    const absolute = range.method === 'percentile';
    const bins = { low: absolute ? smallest : -largest, high: largest, count: range.num_bins, absolute };
    const counts = countsOf(values, bins);
    expect(counts).toEqual(Float64Array.from(new Uint32Array(bytesOf(range.counts).buffer)));
    const histogram = { ...bins, counts };
    const value = { name: 'x', dims: [], min, max, smallest, nonFinite: 0, histogram };
    const found = rangeOf(range.method, value, range.percentile ?? 0);
    // Their −0 is 0.
    expect(found).toEqual({ low: range.low + 0, high: range.high + 0 });
  });
});

it('the ranges of a model at work, minmax', async () => {
  const folder = temp();
  const file = path.join(folder, 'model.onnx');
  writeFileSync(file, bytesOf(golden.observed.model));
  const feeds = golden.observed.samples.map((sample) => ({
    x: { dtype: 'float32' as const, dims: [1, 2, 5, 5], data: bytesOf(sample) },
  }));
  const { values } = await observe(await readModel(file), {
    values: Object.keys(golden.observed.ranges),
    samples: { length: feeds.length, notes: [], name: String, get: async (index) => feeds[index]! },
    folder,
    openSession: (tapped) => openSession({ model: tapped, provider: 'cpu' }),
  });
  const found = [...values.values()].map((each) => [each.name, Object.values(rangeOf('minmax', each, 0))]);
  expect(Object.fromEntries(found)).toEqual(golden.observed.ranges);
});

describe('grids, weights and biases', () => {
  it.each(golden.products.map((each) => [each.name, each] as const))('%s', async (_, recorded) => {
    const { operator, transB, inputs, initializers, x } = recorded;
    const initializer = Object.entries(inputs).map(([name, { dims, data }]) =>
      tensor(name, DataType.FLOAT, dims, { rawData: bytesOf(data) }),
    );
    const attributes = operator === 'Gemm' ? { transB } : {};
    const proto = graph({
      nodes: [node(operator, ['x', 'w', ...(inputs.b ? ['b'] : [])], ['y'], attributes)],
      inputs: [value('x', ['n', 'c'])],
      outputs: [value('y', ['n', 'm'])],
      initializers: initializer,
    });
    const { main } = indexGraphs(await readModel(saveModel(temp(), model(proto, { opset: 13 }))));
    const grid = gridOf({ low: x.min, high: x.max }, 'uint8');
    expect(grid.scale).toBe(float(initializers.x_scale!)[0]);
    expect(grid.zeroPoint).toBe(bytesOf(initializers.x_zero_point!.data)[0]);
    const { weight, axis, scales, bias } = productOf(main.graph.node[0]!, main, grid.scale);
    expect([...scales]).toEqual([...float(initializers.w_scale!)]);
    const floats = new Float32Array(bytesOf(inputs.w!.data).buffer);
    const levels = quantizeWeight(floats, weight.dims, axis, scales);
    expect([...levels]).toEqual([...new Int8Array(bytesOf(initializers.w_quantized!.data).buffer)]);
    expect([...bias!.values]).toEqual([...new Int32Array(bytesOf(initializers.b_quantized!.data).buffer)]);
    expect([...bias!.scales]).toEqual([...float(initializers.b_quantized_scale!)]);
  });
});

function observed(values: readonly Float32Array[]) {
  const observer = createObserver();
  const all = values.map((data) => observer.observe({ name: 'x' }, { type: 'float32', dims: [data.length], data }));
  return {
    min: Math.min(...all.map(({ min }) => min)),
    max: Math.max(...all.map(({ max }) => max)),
    smallest: Math.min(...all.map(({ smallest }) => smallest)),
  };
}

function countsOf(values: readonly Float32Array[], bins: Bins): Float64Array {
  const observer = createObserver();
  const sums = new Float64Array(bins.count);
  for (const data of values) {
    const { counts } = observer.observe({ name: 'x', bins }, { type: 'float32', dims: [data.length], data });
    for (const [bin, count] of counts!.entries()) sums[bin]! += count;
  }
  return sums;
}

/** A copy, so that its buffer holds nothing else. */
const bytesOf = (base64: string) => new Uint8Array(Buffer.from(base64, 'base64'));
const float = ({ data }: { data: string }) => new Float32Array(bytesOf(data).buffer);

interface Golden {
  ranges: {
    name: string;
    samples: string[];
    ranges: {
      method: 'percentile' | 'entropy';
      num_bins: number;
      percentile?: number;
      low: number;
      high: number;
      counts: string;
    }[];
  }[];
  products: {
    name: string;
    operator: string;
    transB: number;
    x: { min: number; max: number };
    inputs: Record<string, { dims: number[]; data: string }>;
    initializers: Record<string, { dtype: string; data: string }>;
  }[];
  observed: { model: string; samples: string[]; ranges: Record<string, [low: number, high: number]> };
}
