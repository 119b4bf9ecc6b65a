import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { readModel } from '../../src/model/index.ts';
import {
  type DecisionStore,
  type QuantizeContext,
  type QuantizeOptions,
  type QuantizeResult,
  quantize,
  type Shared,
} from '../../src/quantize/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { floats, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { type OrtFeed, ortRun } from '../support/ort-run.ts';
import { seeded } from '../support/random.ts';
import { quantizeStatic, saveSamples } from '../support/static-run.ts';
import { useTemp } from '../support/temp.ts';
import { cosine, realModels } from './real-models.ts';

const temp = useTemp();

const samples = (feeds: readonly OrtFeed[]) => saveSamples(temp(), feeds);

const random = seeded(5);
const image = (size = 16, batch = 1): OrtFeed => ({
  dims: [batch, 3, size, size],
  data: random.floats(batch * 3 * size * size),
});
const weight = (name: string, ...dims: number[]) => {
  const elements = dims.reduce((a, b) => a * b, 1);
  const spread = Math.sqrt(2 / (elements / dims[0]!));
  return floats(
    name,
    dims,
    Array.from({ length: elements }, () => spread * random.normal()),
  );
};

/** Convolutions with SiLU, a residual and a Concat of small and large values: a detector in little. */
function detector(size: number | 'n' = 64): string {
  const conv = (from: string, to: string, w: string, kernel = 3) => {
    const pad = (kernel - 1) / 2;
    return [
      node('Conv', [from, w, `${w}b`], [`${to}_c`], { pads: { ints: [pad, pad, pad, pad] } }),
      node('Sigmoid', [`${to}_c`], [`${to}_s`]),
      node('Mul', [`${to}_c`, `${to}_s`], [to]),
    ];
  };
  const parts = (w: string, out: number, inp: number, kernel = 3) => [
    weight(w, out, inp, kernel, kernel),
    weight(`${w}b`, out),
  ];
  const nodes = [
    ...conv('x', 'a', 'A'),
    ...conv('a', 'b', 'B'),
    ...conv('b', 'c', 'C'),
    node('Add', ['b', 'c'], ['d']),
    ...conv('d', 'e', 'E'),
    node('Conv', ['e', 'F', 'Fb'], ['scores']),
    node('Conv', ['e', 'G', 'Gb'], ['boxes']),
    node('Sigmoid', ['scores'], ['probabilities']),
    node('Mul', ['boxes', 'hundred'], ['pixels']),
    node('Concat', ['pixels', 'probabilities'], ['y'], { axis: 1 }),
  ];
  const initializers = [
    ...parts('A', 32, 3),
    ...parts('B', 32, 32),
    ...parts('C', 32, 32),
    ...parts('E', 64, 32),
    ...parts('F', 8, 64, 1),
    ...parts('G', 4, 64, 1),
    floats('hundred', [], [100]),
  ];
  const main = graph({
    nodes,
    inputs: [value('x', size === 'n' ? ['n', 3, 64, 64] : [1, 3, size, size])],
    outputs: [value('y', [null, 12, null, null])],
    initializers,
  });
  return saveModel(temp(), model(main, { opset: 13 }));
}

const run = (file: string, data: string, options: Partial<QuantizeOptions> = {}) =>
  quantizeStatic(temp(), file, data, options);

const formsOf = (result: QuantizeResult, opType: string) =>
  result.plan.nodes.filter((each) => each.opType === opType).map(({ form }) => form);

describe('a detector', () => {
  it('computes its convolutions with integers, keeps its outputs FLOAT and its channels alive', async () => {
    const file = detector();
    const result = await run(file, samples(Array.from({ length: 10 }, () => image(64))));
    expect(formsOf(result, 'Conv').filter((form) => form === 'static').length).toBeGreaterThanOrEqual(4);
    expect(formsOf(result, 'Concat')).toEqual(['kept']);
    const x = image(64);
    const [{ y: expected }, { y }] = [await ortRun(file, { x }), await ortRun(result.model, { x })];
    const plane = 64 * 64;
    for (let channel = 0; channel < 12; channel += 1) {
      const of = ({ data }: OrtFeed) => (data as Float32Array).subarray(channel * plane, (channel + 1) * plane);
      expect(cosine(of(expected!), of(y!)), `channel ${channel}`).toBeGreaterThan(0.99);
    }
  });

  it('comes out the same each time, in every range and type, and with biases of 32 bits', async () => {
    const file = detector(32);
    const data = samples(Array.from({ length: 10 }, () => image(32)));
    const first = await run(file, data);
    const again = await run(file, data);
    expect(again.root).toBe(first.root);
    const dtypes = (await readModel(first.model)).proto.graph!.initializer.map(({ dataType }) => dataType);
    expect(dtypes).toContain(6);
    const x = image(32);
    const expected = (await ortRun(file, { x })).y!.data as Float32Array;
    for (const options of [
      { calibrationMethod: 'minmax' },
      { calibrationMethod: 'entropy' },
      { calibrationMethod: 'mse' },
      { calibrationPercentile: 99.9 },
      { activationType: 'int8' },
      { fold: false },
    ] as const) {
      const { model: made } = await run(file, data, options);
      const found = (await ortRun(made, { x })).y!.data as Float32Array;
      expect(cosine(expected, found), JSON.stringify(options)).toBeGreaterThan(0.98);
    }
  });

  it('leaves an excluded convolution as it is', async () => {
    const result = await run(detector(32), samples(Array.from({ length: 10 }, () => image(32))), {
      excludeNodes: ['c_c'],
    });
    const excluded = result.plan.nodes.find(({ name }) => name.includes('c_c'));
    expect(excluded).toMatchObject({ form: 'kept', reason: 'excluded by `exclude-nodes` (c_c)' });
  });
});

it('a published classifier is smaller and alike, from operator set 9', async () => {
  const { file, feeds } = realModels.find(({ name }) => name === 'PP-OCR cls')!;
  const x = feeds().x!;
  const varied = Array.from({ length: 10 }, (_, i) => ({
    dims: x.dims,
    data: Float32Array.from(x.data as Float32Array, (each) => each * (1 - 0.04 * i)),
  }));
  const result = await run(file, samples(varied));
  expect(result.plan.notes.join()).toContain('The operator set is raised from 9 to 13');
  expect(result.compressionRatio).toBeGreaterThan(2);
  const [reference] = Object.values(await ortRun(file, { x }));
  const [quantized] = Object.values(await ortRun(result.model, { x }));
  expect(cosine(reference!.data as Float32Array, quantized!.data as Float32Array)).toBeGreaterThan(0.99);
});

describe('bad input is one sentence and leaves nothing behind', () => {
  const refused = async (file: string, data: string, message: RegExp) => {
    const folder = temp();
    const attempt = quantize(
      { model: file, output: path.join(folder, 'o.onnx'), method: 'static', calibrationData: data, report: folder },
      { log: silentLog },
    );
    await expect(attempt).rejects.toMatchObject({ name: 'InputError', message: expect.stringMatching(message) });
    expect(readdirSync(folder)).toEqual([]);
  };

  it('no data, no folder of it, and data of another shape', async () => {
    const file = detector(32);
    await refused(file, '', /has to see the model at work: give inputs/);
    await refused(file, '/nowhere/at/all', /nowhere/);
    await refused(file, samples([image(16)]), /shape/);
  });

  it('a model that does not run', async () => {
    const main = graph({
      nodes: [node('Reshape', ['x', 's'], ['r']), node('Conv', ['r', 'W'], ['y'])],
      inputs: [value('x', [1, 3, 8, 8])],
      outputs: [value('y', [null, null, null, null])],
      initializers: [weight('W', 4, 3, 3, 3)],
    });
    const broken = graph({
      ...partsOf(main),
      nodes: [node('NoSuchOperator', ['x'], ['r']), node('Conv', ['r', 'W'], ['y'])],
    });
    await refused(
      saveModel(temp(), model(broken, { opset: 13 })),
      samples([image(8)]),
      /Calibration runs the model, but .*model\.onnx needs an operator/,
    );
  });
});

const partsOf = ({ input, output, initializer }: ReturnType<typeof graph>) => ({
  inputs: input,
  outputs: output,
  initializers: initializer,
});

it.each([Number.NaN, Number.POSITIVE_INFINITY])('a sample with %s is refused by name', async (wrong) => {
  const spoilt = image(64);
  (spoilt.data as Float32Array).fill(wrong, 3, 5);
  const data = samples([image(64), spoilt]);
  await expect(run(detector(), data)).rejects.toThrow(
    /1\.npy has NaN or infinite values in x \(2 of 12288\): take it out of `calibration-data`\.$/,
  );
});

describe('activations that tell nothing', () => {
  /** A row of convolutions, with what stands between the first and the second. */
  const between = (nodes: ReturnType<typeof node>[]) => {
    const pads = { ints: [1, 1, 1, 1] };
    const main = graph({
      nodes: [
        node('Conv', ['x', 'A'], ['a'], { pads }, { name: 'first' }),
        ...nodes,
        node('Conv', ['b', 'B'], ['c'], { pads }, { name: 'second' }),
        node('Conv', ['a', 'C'], ['d'], { pads }, { name: 'beside' }),
        node('Add', ['c', 'd'], ['e']),
        node('Conv', ['e', 'D'], ['f'], { pads }, { name: 'third' }),
        node('Conv', ['f', 'D'], ['y'], { pads }, { name: 'last' }),
      ],
      inputs: [value('x', [1, 3, 64, 64])],
      outputs: [value('y', [1, 32, 64, 64])],
      initializers: [weight('A', 32, 3, 3, 3), ...['B', 'C', 'D'].map((name) => weight(name, 32, 32, 3, 3))],
    });
    return saveModel(temp(), model(main, { opset: 13 }));
  };
  const data = () => samples(Array.from({ length: 10 }, () => image(64)));
  const nodeOf = ({ plan }: QuantizeResult, name: string) => plan.nodes.find((each) => each.name === name);

  it.each([
    ['NaN', [node('Sqrt', ['a'], ['b'])]],
    ['infinite', [node('Sub', ['a', 'a'], ['zero']), node('Reciprocal', ['zero'], ['b'])]],
  ])('%s: a warning, and what reads them stays FLOAT', async (_, nodes) => {
    const result = await run(between(nodes), data());
    expect(result.plan.warnings).toContainEqual(expect.stringMatching(/^b, .*had NaN or infinite values/));
    expect(nodeOf(result, 'second')).toMatchObject({
      reason: expect.stringContaining('b is NaN or infinite on some samples'),
    });
    expect(nodeOf(result, 'beside')).toMatchObject({ form: 'static' });
    expect(nodeOf(result, 'third')?.form).not.toBe('static');
  });

  it('samples that are all but empty do not decide which layers are harmful', async () => {
    const feeds = Array.from({ length: 10 }, (_, i) => {
      const feed = image(64);
      // Relative to so little, every error is large.
      return i < 7 ? { ...feed, data: (feed.data as Float32Array).map((value) => value * 1e-7) } : feed;
    });
    const result = await run(between([node('Relu', ['a'], ['b'])]), samples(feeds));
    for (const name of ['second', 'beside', 'third']) expect(nodeOf(result, name)).toMatchObject({ form: 'static' });
  });

  it('constant: a warning, and the rest is as alike', async () => {
    const file = between([node('Sub', ['a', 'a'], ['b'])]);
    const result = await run(file, data());
    expect(result.plan.warnings).toContainEqual(expect.stringMatching(/^b, c had the same value everywhere/));
    const x = image(64);
    const [expected, found] = [await ortRun(file, { x }), await ortRun(result.model, { x })];
    expect(cosine(expected.y!.data as Float32Array, found.y!.data as Float32Array)).toBeGreaterThan(0.99);
  });
});

it('samples of several images are corrected by each of them', async () => {
  const file = detector('n');
  const result = await run(file, samples([image(64, 4), image(64, 3), image(64, 5)]));
  expect(formsOf(result, 'Conv').filter((form) => form === 'static').length).toBeGreaterThanOrEqual(4);
  const x = image(64, 2);
  const [expected, found] = [await ortRun(file, { x }), await ortRun(result.model, { x })];
  expect(found.y!.dims).toEqual([2, 12, 64, 64]);
  expect(cosine(expected.y!.data as Float32Array, found.y!.data as Float32Array)).toBeGreaterThan(0.99);
});

it('a weight too large to be tried beside the model computes with integers all the same', async () => {
  const channels = 4224;
  const values = random.floats(2 ** 16, 1 / Math.sqrt(channels));
  const large = Float32Array.from({ length: channels ** 2 }, (_, i) => values[(i * 31) % values.length]!);
  const main = graph({
    nodes: [
      node('Conv', ['x', 'A'], ['a']),
      node('Relu', ['a'], ['b']),
      node('Conv', ['b', 'B'], ['c'], {}, { name: 'large' }),
      node('Conv', ['c', 'C'], ['d']),
      node('Conv', ['d', 'D'], ['y']),
    ],
    inputs: [value('x', [1, 3, 8, 8])],
    outputs: [value('y', [1, 4, 8, 8])],
    initializers: [
      weight('A', channels, 3, 1, 1),
      floats('B', [channels, channels, 1, 1], large),
      weight('C', 32, channels, 1, 1),
      weight('D', 4, 32, 1, 1),
    ],
  });
  const file = saveModel(temp(), model(main, { opset: 13 }));
  const result = await run(file, samples(Array.from({ length: 10 }, () => image(8))));
  expect(result.plan.nodes.find(({ name }) => name === 'large')).toMatchObject({ form: 'static' });
  const x = image(8);
  const [expected, found] = [await ortRun(file, { x }), await ortRun(result.model, { x })];
  expect(cosine(expected.y!.data as Float32Array, found.y!.data as Float32Array)).toBeGreaterThan(0.99);
});

describe('what was measured', () => {
  /** Hears which sessions a run opens, by what it says it does. */
  const listening = () => {
    const heard = new Set<string>();
    const log = { ...silentLog, progress: ({ label }: { label: string }) => void heard.add(label) };
    return { log, labels: () => [...heard].filter((label) => /Calib|Prob|Switch/.test(label)) };
  };
  const ALL = ['Calibrating', 'Probing', 'Switching layers'];
  const make = async (options: QuantizeOptions, context: QuantizeContext = {}) => {
    const { log, labels } = listening();
    const result = await quantize({ ...options, report: temp() }, { log, ...context });
    return { ...result, bytes: readFileSync(result.model), ran: labels() };
  };

  it('is shared between runs of one process, which make the bytes of one that measures', async () => {
    const calibrationData = samples(Array.from({ length: 10 }, () => image(64)));
    const options = { model: detector(), method: 'static' as const, calibrationData };
    const output = path.join(temp(), 'made.onnx');
    const kept = { ...options, output, excludeNodes: ['c_c'] };
    const alone = [await make({ ...options, output }), await make(kept)];
    const shared: Shared = new Map();
    const together = [await make({ ...options, output }, { shared }), await make(kept, { shared })];
    expect(together.map(({ ran }) => ran)).toEqual([ALL, expect.not.arrayContaining(['Calibrating'])]);
    expect(together.map(({ root }) => root)).toEqual(alone.map(({ root }) => root));
    expect(alone[0]!.root).not.toBe(alone[1]!.root);
    // Other samples are measured anew.
    const others = samples(Array.from({ length: 10 }, () => image(64)));
    expect((await make({ ...options, calibrationData: others, output }, { shared })).ran).toEqual(ALL);
  });

  it('is kept by the store of the host, and what somebody put there is checked', async () => {
    const calibrationData = samples(Array.from({ length: 10 }, () => image(64)));
    const options = {
      model: detector(),
      method: 'static' as const,
      calibrationData,
      output: path.join(temp(), 'm.onnx'),
    };
    const entries = new Map<string, string>();
    const decisions: DecisionStore = {
      get: async (key) => (entries.has(key) ? Buffer.from(entries.get(key)!) : undefined),
      put: async (key, text) => void entries.set(key, text),
    };
    const first = await make(options, { decisions });
    expect([first.ran, entries.size]).toEqual([ALL, 1]);
    const second = await make(options, { decisions });
    expect([second.ran, second.root]).toEqual([[], first.root]);
    expect(second.plan.notes.join()).toContain('comes from the cache');
    await make({ ...options, calibrationPercentile: 99.9 }, { decisions });
    expect(entries.size).toBe(2);
    const [[key, text] = []] = entries;
    for (const forged of [
      text!.replace('"schema":2', '"schema":9'),
      text!.replaceAll(/"errors":.*?,"harm"/g, '"errors":[["d",1]],"harm"'),
    ]) {
      entries.set(key!, forged);
      const warnings: string[] = [];
      const { log, labels } = listening();
      const result = await quantize(
        { ...options, report: temp() },
        { log: { ...log, warning: (each) => void warnings.push(each) }, decisions },
      );
      expect(warnings).toContainEqual(expect.stringMatching(/^The decisions in the cache .*they are made anew\.$/));
      expect([labels(), result.root]).toEqual([ALL, first.root]);
    }
    // Corrections for other channels would make a model that does not run.
    entries.set(key!, text!.replaceAll(/,\[(-?[\d.e-]+,)+-?[\d.e-]+\]\]/g, ',[0.5]]'));
    expect((await make(options, { decisions })).ran).toEqual(['Probing']);
  });
});

it('the memory of calibration is foreseen, and is what it says', async () => {
  const file = detector();
  const data = samples(Array.from({ length: 10 }, () => image(64)));
  const said: string[] = [];
  const log = { ...silentLog, info: (message: string) => void said.push(message) };
  const options = {
    model: file,
    method: 'static' as const,
    calibrationData: data,
    output: path.join(temp(), 'm.onnx'),
  };
  await quantize({ ...options, report: temp() }, { log });
  const [, most, beside] = said
    .map((line) => /^Calibrating takes up to ([\d.]+) MB .* ([\d.]+) MB of it/.exec(line))
    .find(Boolean)!;
  // 14 values of 32 or 64 channels of 64 × 64 and the input, FLOAT, twice.
  expect(Number(beside)).toBeGreaterThan(10);
  expect(Number(beside)).toBeLessThan(40);
  let asked = 0;
  // There is memory for the graph, and then no more.
  const availableMemory = () => (asked++ === 0 ? 8e9 : (Number(most) - 1) * 1e6);
  await expect(quantize({ ...options, output: path.join(temp(), 'n.onnx') }, { log, availableMemory })).rejects.toThrow(
    /^Calibrating ".*" takes up to .* of it beside the model's own run, but .* are available: free memory/,
  );
});

it('few and generated samples are warned of, in plan and receipt', async () => {
  const few = await run(detector(32), samples([image(32), image(32)]));
  expect(few.plan.warnings.join()).toContain('There are 2 samples to calibrate with');
  const generated = await run(detector(32), 'generated');
  expect(generated.plan.warnings.join()).toContain('generated inputs');
  expect(JSON.parse(readFileSync(generated.report, 'utf8')).results.warnings.join()).toContain('generated inputs');
});
