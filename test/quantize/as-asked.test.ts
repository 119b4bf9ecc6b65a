import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { indexGraphs, ModelProtoSchema, readModel } from '../../src/model/index.ts';
import { plan, quantize, refusedWeights } from '../../src/quantize/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { floats, graph, int64s, model, node, saveExternalModel, saveModel, value } from '../support/onnx-builder.ts';
import { ortRun } from '../support/ort-run.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';
import { cosine } from './real-models.ts';

const temp = useTemp();
const random = seeded(41);
const weight = (name: string, ...dims: number[]) => floats(name, dims, random.floats(dims.reduce((a, b) => a * b, 1)));
const WEIGHTS = [weight('W1', 16, 16), weight('W2', 16, 16), weight('b', 16), weight('E', 8, 16)];
const x = { dims: [2, 16], data: random.floats(32) };

/** Nothing in it is a weight of an operator that is quantized. */
const unquantizable = () =>
  model(
    graph({
      nodes: [node('Mul', ['x', 'w'], ['h']), node('Relu', ['h'], ['y'])],
      inputs: [value('x', [2, 16])],
      outputs: [value('y', [2, 16])],
      initializers: [weight('w', 2, 16)],
    }),
    { metadata: { author: 'me' } },
  );

const mixed = () =>
  model(
    graph({
      nodes: [
        node('MatMul', ['x', 'W1'], ['h'], {}, { name: 'matmul' }),
        node('Relu', ['h'], ['r'], {}, { name: 'relu' }),
        node('Gemm', ['r', 'W2', 'b'], ['g'], {}, { name: 'gemm' }),
        node('Gather', ['E', 'i'], ['e'], {}, { name: 'gather' }),
        node('Add', ['g', 'e'], ['y'], {}, { name: 'add' }),
      ],
      inputs: [value('x', [2, 16])],
      outputs: [value('y', [2, 16])],
      initializers: [...WEIGHTS.map((each) => ({ ...each })), int64s('i', [2], [1, 5])],
    }),
  );

describe('allow-nothing', () => {
  it('copies the graph byte for byte', async () => {
    const folder = temp();
    const source = saveModel(folder, unquantizable());
    await expect(quantize({ model: source })).rejects.toThrow('Nothing in the model');
    const { model: made, nodesQuantized, root } = await quantize({ model: source, allowNothing: true });
    expect(readFileSync(made).equals(readFileSync(source))).toBe(true);
    expect(nodesQuantized).toBe(0);
    expect(root).toMatch(/^[0-9a-f]{64}$/);
  });

  it('copies external data too, byte for byte where the copy has its name', async () => {
    const folder = temp();
    const source = saveExternalModel(folder, unquantizable(), 'model.onnx');
    mkdirSync(path.join(folder, 'copy'));
    const output = path.join(folder, 'copy', 'model.onnx');
    // Twice: what is there already is no hindrance.
    for (let run = 0; run < 2; run += 1) {
      const { data } = await quantize({ model: source, output, allowNothing: true });
      expect(readFileSync(data).equals(readFileSync(`${source}.data`))).toBe(true);
      expect(readFileSync(output).equals(readFileSync(source))).toBe(true);
    }
    const { model: renamed } = await quantize({ model: source, allowNothing: true });
    expect(await ortRun(renamed, { x })).toEqual(await ortRun(source, { x }));
  });

  it('keeps what we would write in another way: order, padding, fields that we do not know', async () => {
    const folder = temp();
    const proto = unquantizable();
    proto.graph!.node.reverse();
    const source = saveModel(folder, proto);
    // Field 1000, wire type 2, two bytes.
    writeFileSync(source, Buffer.concat([readFileSync(source), Buffer.from([0xc2, 0x3e, 2, 1, 2])]));
    const { model: made } = await quantize({ model: source, allowNothing: true });
    expect(readFileSync(made).equals(readFileSync(source))).toBe(true);
  });
});

describe('op-types', () => {
  it.each([
    [['MatMul'], ['matmul', 'gemm']],
    [['Gemm'], ['gemm']],
    [['Gather'], ['gather']],
  ])('%o takes %o', async (opTypes, names) => {
    const planned = plan(await readModel(saveModel(temp(), mixed())), { opTypes });
    expect(planned.nodes.filter(({ form }) => form !== 'kept').map(({ name }) => name)).toEqual(names);
  });
});

it.each(['dynamic', 'weight-only', 'fp16'] as const)(
  'an unsorted graph comes out sorted and loads (%s)',
  async (method) => {
    const folder = temp();
    const reference = saveModel(folder, mixed(), 'sorted.onnx');
    const proto = mixed();
    proto.graph!.node.reverse();
    const source = saveModel(folder, proto);
    const { model: made } = await quantize({ model: source, method });
    const known = new Set(['', 'x']);
    const { main } = indexGraphs(await readModel(made));
    for (const name of main.constants.keys()) known.add(name);
    for (const { opType, input, output } of fromBinary(ModelProtoSchema, readFileSync(made)).graph!.node) {
      for (const name of input) expect(known.has(name), `${opType} reads ${name}`).toBe(true);
      for (const name of output) known.add(name);
    }
    const [a, b] = [await ortRun(reference, { x }), await ortRun(made, { x })];
    expect(cosine(a.y!.data as Float32Array, b.y!.data as Float32Array)).toBeGreaterThan(0.99);
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  },
);

describe('weights that a method would not take are known before it runs', () => {
  const spoiled = async (...values: number[]) => {
    const proto = mixed();
    const first = proto.graph!.initializer[0]!;
    first.rawData = first.rawData.slice();
    new Float32Array(first.rawData.buffer).set(values);
    return readModel(saveModel(temp(), proto));
  };
  const inf = Number.POSITIVE_INFINITY;

  it.each([
    ['dynamic', [inf], [{ name: 'W1', why: 'has 1 infinite value, for which there is no scale', fatal: false }]],
    [
      'weight-only',
      [-inf, inf],
      [{ name: 'W1', why: 'has 2 infinite values, for which there is no scale', fatal: false }],
    ],
    // FP16 has infinities.
    ['fp16', [inf, -inf], []],
    ['fp16', [1e6], [{ name: 'W1', why: 'has values that FP16 cannot hold', fatal: false }]],
    ['fp16', [Number.NaN], [{ name: 'W1', why: 'has 1 NaN value', fatal: true }]],
  ] as const)('%s: %o', async (method, values, expected) => {
    const model = await spoiled(...values);
    expect(await refusedWeights(model, { method }, { log: silentLog })).toEqual(expected);
    // And a run says the same.
    const run = quantize({ model: model.path, method, dryRun: true });
    if (expected.some(({ fatal }) => fatal)) return expect(run).rejects.toThrow(expected[0]!.why);
    const { warnings } = (await run).plan;
    expect(warnings.filter((each) => each.startsWith('Weight'))).toEqual(
      expected.map(({ name, why }) => `Weight ${name} ${why}: it stays FP32.`),
    );
  });
});
