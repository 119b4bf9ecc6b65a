import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { DataType, readModel } from '../../src/model/index.ts';
import { plan, planText, type QuantizeOptions, quantize } from '../../src/quantize/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { floats, graph, model, node, saveExternalModel, saveModel, tensor, value } from '../support/onnx-builder.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const random = seeded(11);
const weight = (name: string, ...dims: number[]) => floats(name, dims, random.floats(dims.reduce((a, b) => a * b, 1)));

/** One node of each fate. */
const mixed = () =>
  model(
    graph({
      nodes: [
        node('Conv', ['x', 'C'], ['c'], {}, { name: 'stem' }),
        node('Flatten', ['c'], ['f'], {}, { name: 'flatten' }),
        node('Gemm', ['f', 'A'], ['h'], { alpha: 0.5 }, { name: 'scaled' }),
        node('MatMul', ['h', 'B'], ['m'], {}, { name: 'head' }),
        node('MatMul', ['m', 'D'], ['y'], {}, { name: 'double' }),
      ],
      inputs: [value('x', [1, 3, 8, 8])],
      outputs: [value('y', [1, 4])],
      initializers: [
        weight('C', 16, 3, 3, 3),
        weight('A', 576, 64),
        weight('B', 64, 32),
        tensor('D', DataType.DOUBLE, [32, 4], { rawData: new Uint8Array(1024) }),
      ],
    }),
  );

async function planned(options: Omit<QuantizeOptions, 'model'> = {}) {
  return plan(await readModel(saveModel(temp(), mixed())), options);
}

describe('plan', () => {
  it('says for every node what happens to it and why', async () => {
    const { nodes } = await planned();
    expect(nodes.map(({ name, form }) => [name, form])).toEqual([
      ['stem', 'stored'],
      ['flatten', 'kept'],
      ['scaled', 'stored'],
      ['head', 'dynamic'],
      ['double', 'kept'],
    ]);
    const reason = Object.fromEntries(nodes.map((each) => [each.name, each.reason]));
    expect(reason.stem).toContain('name Conv in `op-types`');
    expect(reason.scaled).toContain('alpha or beta is not 1');
    expect(reason.head).toBe('becomes MatMulInteger');
    expect(reason.double).toBe('its weights are DOUBLE, not FLOAT');
  });

  it('adds up: weights before and after, what a run takes, what is loaded', async () => {
    const folder = temp();
    const file = saveModel(folder, mixed());
    const { weights, disk, loadedWeights, quantizeMemory, nodesQuantized, notes } = plan(await readModel(file));
    const [conv, gemm, head] = [432, 576 * 64, 64 * 32];
    expect(weights.before).toBe(4 * (conv + gemm + head));
    expect(weights.quantized).toBe(weights.before);
    // One byte per element, a scale per channel, and a zero point per channel where a node reads it.
    expect(weights.after).toBe(conv + 16 * 4 + gemm + 64 * 4 + head + 32 * 5);
    // Weight-only weights are FP32 again once loaded.
    expect(loadedWeights).toBe(4 * (conv + gemm) + head + 32 * 5);
    expect(quantizeMemory).toBe(128 * 2 ** 20);
    expect(nodesQuantized).toBe(3);
    expect(notes.join()).toContain('FP32 again once the model is loaded');
    const output = path.join(folder, 'out.onnx');
    await quantize({ model: file, output }, { log: silentLog });
    expect(Math.abs(readFileSync(output).length - disk)).toBeLessThan(2000);
  });

  it('takes ConvInteger where op-types names Conv, and then nothing else', async () => {
    const { nodes } = await planned({ opTypes: ['Conv'] });
    expect(nodes.map(({ form }) => form)).toEqual(['dynamic', 'kept', 'kept', 'kept', 'kept']);
    expect(nodes[3]!.reason).toBe('MatMul is not among `op-types`');
  });

  it('stores what weight-only and fp16 say', async () => {
    expect((await planned({ method: 'weight-only' })).nodes.map(({ form }) => form)).toEqual([
      'stored',
      'kept',
      'stored',
      'stored',
      'kept',
    ]);
    const half = await planned({ method: 'fp16' });
    expect(half.weights.after).toBe(half.weights.before / 2);
  });

  it('warns loudly where less than half of the weight bytes are quantized', async () => {
    const some = await planned({ includeNodes: ['head'] });
    expect(some.warnings.join()).toMatch(/^Only 5 % of the weight bytes are quantized/);
    expect((await planned()).warnings).toEqual([]);
  });

  it('warns of bytes between tensors that no tensor uses, and refuses bytes behind the last one', async () => {
    const proto = mixed();
    const file = saveExternalModel(temp(), proto);
    const data = `${file}.data`;
    const size = statSync(data).size;
    appendFileSync(data, new Uint8Array(1000));
    const overlong = await readModel(file);
    expect(() => plan(overlong, {})).toThrow(
      `"${data}" is longer than the model says: it has ${size + 1000} bytes and ${size} are used; export the model again`,
    );
    expect(() => plan(overlong, {})).toThrow(InputError);
    // The same weights once more behind the old ones, as a rerun of onnx.save appends them.
    appendFileSync(data, readFileSync(data).subarray(0, size));
    for (const tensor of proto.graph!.initializer) {
      const offset = tensor.externalData.find(({ key }) => key === 'offset');
      if (offset) offset.value = String(Number(offset.value) + size + 1000);
    }
    saveModel(path.dirname(file), proto, path.basename(file));
    expect(plan(await readModel(file), {}).warnings).toEqual([
      `${path.basename(data)} holds ${size + 1000} bytes that no tensor uses; they are not copied into the result.`,
    ]);
  });

  it('refuses to quantize nothing, with the commonest reason', async () => {
    await expect(planned({ excludeNodes: ['*'] })).rejects.toThrow(
      /^Nothing in the model .* can be quantized with `dynamic`: its weights stay because excluded by/,
    );
  });

  it('prints a table that a person can read', async () => {
    const folder = temp();
    const file = saveModel(folder, mixed());
    const text = planText(plan(await readModel(file)));
    expect(text).toMatch(/^node +operator +form +before +after +why$/m);
    expect(text).toMatch(/^head +MatMul +dynamic +8\.19 kB +2\.21 kB +becomes MatMulInteger$/m);
    expect(text).toMatch(/^ {2}1 × Flatten: /m);
    expect(text).toMatch(/^Memory: at most 134 MB to quantize; about 151 kB of weights once loaded$/m);
  });

  it('writes nothing in a dry run', async () => {
    const folder = temp();
    const file = saveModel(folder, mixed());
    const lines: string[] = [];
    const log = { ...silentLog, info: (line: string) => lines.push(line) };
    const result = await quantize({ model: file, dryRun: true }, { log });
    expect(readdirSync(folder)).toEqual(['model.onnx']);
    expect(result).toMatchObject({ nodesQuantized: 3, root: '', data: '', report: '' });
    expect(lines.join('\n')).toBe(planText(result.plan));
  });
});

describe('bad input is one sentence and leaves nothing behind', () => {
  const cases: [string, Partial<QuantizeOptions>, RegExp][] = [
    ['an unknown method', { method: 'magic' as never }, /^Input `method` is `magic`: it must be one of dynamic, /],
    ['static without data', { method: 'static' }, /^Method `static` has to see the model at work: give inputs as /],
    [
      'auto, which is no method of its own',
      { method: 'auto' as 'dynamic' },
      /^Input `method` is `auto`: it must be one of/,
    ],
    [
      'calibration data without static',
      { calibrationData: 'x' },
      /^Input `calibration-data` belongs to method `static`/,
    ],
    ['4 bits', { bits: 4 }, /^Input `bits` is 4, which method `dynamic` does not do: use `weight-only`/],
    ['no threads', { threads: 0 }, /^Input `threads` is 0/],
    ['3 bits', { bits: 3 as never }, /^Input `bits` is 3/],
    [
      'an unknown weight type',
      { weightType: 'int3' as never },
      /^Input `weight-type` is `int3`: it must be one of int8, uint8\.$/,
    ],
    [
      'reduce-range in weight-only',
      { method: 'weight-only', reduceRange: true },
      /^Input `reduce-range` belongs to method `dynamic`, not to `weight-only`: leave it empty\.$/,
    ],
    ['an operator that is not quantized', { opTypes: ['Softmax'] }, /^Input `op-types` names `Softmax`: this release/],
    ['a name that no node has', { excludeNodes: ['haed'] }, /^Input `exclude-nodes`: no node is called `haed`/],
  ];

  it.each(cases)('%s', async (_, options, message) => {
    const folder = temp();
    const file = saveModel(folder, mixed());
    const run = quantize({ model: file, output: path.join(folder, 'out.onnx'), ...options }, { log: silentLog });
    await expect(run).rejects.toMatchObject({ name: 'InputError', message: expect.stringMatching(message) });
    expect(readdirSync(folder)).toEqual(['model.onnx']);
  });

  it('output equal to input, also by another path', async () => {
    const folder = temp();
    const file = saveModel(folder, mixed());
    const bytes = readFileSync(file);
    mkdirSync(path.join(folder, 'sub'));
    for (const output of [file, path.join(folder, 'sub', '..', 'model.onnx')]) {
      await expect(quantize({ model: file, output }, { log: silentLog })).rejects.toMatchObject({ name: 'InputError' });
    }
    expect(readFileSync(file)).toEqual(bytes);
  });

  it("output equal to the model's external data", async () => {
    const folder = temp();
    const file = saveExternalModel(folder, mixed());
    const bytes = readFileSync(`${file}.data`);
    const run = quantize({ model: file, output: `${file}.data` }, { log: silentLog });
    await expect(run).rejects.toThrow(/is the model's external data: name another file\.$/);
    expect(readFileSync(`${file}.data`)).toEqual(bytes);
    expect(readdirSync(folder)).toEqual(['model.onnx', 'model.onnx.data']);
  });

  it.each(['dynamic', 'weight-only', 'fp16'] as const)('a model that is already quantized (%s)', async (method) => {
    const folder = temp();
    const file = saveModel(folder, mixed());
    const once = path.join(folder, 'once.onnx');
    await quantize({ model: file, output: once, method }, { log: silentLog });
    const before = readdirSync(folder);
    await expect(quantize({ model: once, method: 'weight-only' }, { log: silentLog })).rejects.toThrow(
      /is already quantized \(.*\): quantize the FP32 model it was made from\.$/,
    );
    expect(readdirSync(folder)).toEqual(before);
  });

  it('a model without a standard operator set', async () => {
    const proto = mixed();
    proto.opsetImport = [];
    const file = saveModel(temp(), proto);
    await expect(quantize({ model: file }, { log: silentLog })).rejects.toThrow(/imports no standard operator set/);
  });

  it('something that is no model', async () => {
    const folder = temp();
    const file = path.join(folder, 'text.onnx');
    writeFileSync(file, 'hello');
    await expect(quantize({ model: file }, { log: silentLog })).rejects.toMatchObject({ name: 'InputError' });
    expect(existsSync(path.join(folder, 'text_int8.onnx'))).toBe(false);
  });
});

it('the memory that is planned counts the nodes whose new form takes more than their bytes say', async () => {
  const count = 10_000;
  const proto = model(
    graph({
      nodes: Array.from({ length: count }, (_, i) => node('MatMul', [`v${i}`, 'W'], [`v${i + 1}`])),
      inputs: [value('v0', [1, 4])],
      outputs: [value(`v${count}`, [1, 4])],
      initializers: [floats('W', [4, 4], new Float32Array(16))],
    }),
  );
  expect(plan(await readModel(saveModel(temp(), proto))).quantizeMemory).toBe(96 * 2 ** 20 + count * 8192);
});

it('the memory that is planned grows with the graph, not with the weights, and must be there', async () => {
  const nodes = Array.from({ length: 20_000 }, (_, i) => node('Relu', [`value${i}`], [`value${i + 1}`]));
  const proto = model(
    graph({
      nodes: [...nodes, node('MatMul', ['value20000', 'W'], ['y'])],
      inputs: [value('value0', [1, 512])],
      outputs: [value('y', [1, 512])],
      initializers: [floats('W', [512, 512], new Float32Array(512 * 512))],
    }),
  );
  const folder = temp();
  const file = saveModel(folder, proto);
  const read = await readModel(file);
  const graphSize = read.size - 4 * 512 * 512;
  const { quantizeMemory } = plan(read);
  expect(quantizeMemory).toBe(96 * 2 ** 20 + 80 * graphSize);
  const run = (available: number) =>
    quantize(
      { model: file, output: path.join(folder, 'out.onnx'), dryRun: true },
      { log: silentLog, availableMemory: () => available },
    );
  await expect(run(quantizeMemory - 1)).rejects.toThrow(InputError);
  await expect(run(quantizeMemory - 1)).rejects.toThrow(/takes up to \d+ MB of memory, because its graph has 0?\.?\d/);
  await expect(run(quantizeMemory)).resolves.toMatchObject({ nodesQuantized: 1 });
});
