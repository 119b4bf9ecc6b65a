import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { score } from '../../src/compare/index.ts';
import {
  DataType,
  declaredInputs,
  type GraphProto,
  type ModelProto,
  ModelProtoSchema,
  readModel,
  subgraphsOf,
  type ValueInfoProto,
} from '../../src/model/index.ts';
import { type QuantizeOptions, quantize } from '../../src/quantize/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { loadSamples, valueInfoOf } from '../../src/runtime/index.ts';
import { floats, graph, int64s, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { type OrtFeed, ortRun } from '../support/ort-run.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';
import { cosine } from './real-models.ts';

const temp = useTemp();
const random = seeded(9);
const size = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1);
const weight = (name: string, ...dims: number[]) => floats(name, dims, random.floats(size(dims), 0.3));
const feed = (...dims: number[]): OrtFeed => ({ dims, data: random.floats(size(dims)) });

async function halved(proto: ModelProto, options: Partial<QuantizeOptions> = {}) {
  const source = saveModel(temp(), proto);
  const output = path.join(path.dirname(source), 'half.onnx');
  const { plan } = await quantize(
    { model: source, output, method: 'fp16', compute: true, threads: 1, ...options },
    { log: silentLog },
  );
  return { source, output, plan, proto: fromBinary(ModelProtoSchema, readFileSync(output)) };
}

const typeOf = ({ type }: ValueInfoProto) =>
  type?.value.case === 'tensorType' ? type.value.value.elemType : undefined;

function operators(main: GraphProto): string[] {
  return main.node.flatMap((each) => [each.opType, ...[...subgraphsOf(each)].flatMap((sub) => operators(sub.graph))]);
}

async function expectAlike(made: { source: string; output: string }, feeds: Record<string, OrtFeed>) {
  const [reference, result] = [await ortRun(made.source, feeds), await ortRun(made.output, feeds)];
  for (const [name, { data, dims }] of Object.entries(reference)) {
    expect(result[name]!.dims, name).toEqual(dims);
    expect(result[name]!.data, name).toBeInstanceOf(data.constructor);
    expect(cosine(data as Float32Array, result[name]!.data as Float32Array), name).toBeGreaterThan(0.99999);
    expect(result[name]!.data, name).not.toEqual(data);
  }
}

describe('fp16 that computes', () => {
  it('casts at the borders only, once for all readers', async () => {
    const made = await halved(
      model(
        graph({
          inputs: [value('x', [2, 3, 8, 8])],
          outputs: [value('y', [2, 4, 8, 8]), value('z', [2, 4, 8, 8])],
          nodes: [
            node('Conv', ['x', 'A', 'a'], ['h'], { pads: { ints: [1, 1, 1, 1] } }),
            node('Clip', ['h', 'low', 'high'], ['c']),
            node('Conv', ['c', 'B'], ['y'], { pads: { ints: [1, 1, 1, 1] } }),
            node('Add', ['c', 'y'], ['z']),
          ],
          initializers: [
            weight('A', 4, 3, 3, 3),
            weight('a', 4),
            weight('B', 4, 4, 3, 3),
            floats('low', [], [0]),
            floats('high', [], [6]),
          ],
        }),
      ),
    );
    // One for the input, one for each output.
    expect(operators(made.proto.graph!).sort()).toEqual(['Add', 'Cast', 'Cast', 'Cast', 'Clip', 'Conv', 'Conv']);
    expect(made.proto.graph!.initializer.every(({ dataType }) => dataType === DataType.FLOAT16)).toBe(true);
    await expectAlike(made, { x: feed(2, 3, 8, 8) });
  });

  it('leaves shapes, positions and sums alone: Resize, Range, ReduceMean, arithmetic of integers', async () => {
    const made = await halved(
      model(
        graph({
          inputs: [value('x', [1, 4, 6, 6])],
          outputs: [value('y', [1, 4, 12, 12]), value('m', [1, 4]), value('n', [1, 4])],
          nodes: [
            node('Conv', ['x', 'A'], ['h']),
            node('Resize', ['h', '', 'scales'], ['y'], { mode: 'nearest' }),
            node('Shape', ['h'], ['shape']),
            node('Gather', ['shape', 'zero'], ['batch'], { axis: 0 }),
            node('Add', ['batch', 'three'], ['four']),
            node('Concat', ['batch', 'four'], ['target'], { axis: 0 }),
            node('ReduceMean', ['h'], ['r'], { axes: { ints: [2, 3] }, keepdims: 0 }),
            node('Reshape', ['r', 'target'], ['m']),
            node('Relu', ['m'], ['p']),
            node('Sub', ['p', 'm'], ['n']),
          ],
          initializers: [
            weight('A', 4, 4, 1, 1),
            floats('scales', [4], [1, 1, 2, 2]),
            int64s('zero', [1], [0]),
            int64s('three', [1], [3]),
          ],
        }),
      ),
    );
    const forms = Object.fromEntries(made.plan.nodes.map(({ opType, form }) => [opType, form]));
    expect(forms).toMatchObject({
      Conv: 'half',
      Resize: 'kept',
      ReduceMean: 'kept',
      Add: 'kept',
      Gather: 'kept',
      Relu: 'half',
    });
    const [a, b] = [await ortRun(made.source, { x: feed(1, 4, 6, 6) }), undefined];
    expect(a.m!.dims).toEqual([1, 4]);
    expect(b).toBeUndefined();
    await expectAlike(made, { x: feed(1, 4, 6, 6) });
  });

  it('hands values to the bodies of If and Loop as FLOAT, and computes in them', async () => {
    const branch = (name: string) =>
      graph({
        name,
        inputs: [],
        outputs: [value(name, [4, 6])],
        nodes: [node('MatMul', ['h', `${name}_W`], [name])],
        initializers: [weight(`${name}_W`, 8, 6)],
      });
    const body = graph({
      name: 'body',
      inputs: [value('i', [], DataType.INT64), value('go', [], DataType.BOOL), value('s', [4, 6])],
      outputs: [value('on', [], DataType.BOOL), value('t', [4, 6])],
      nodes: [node('Identity', ['go'], ['on']), node('Mul', ['s', 'factor'], ['t'])],
    });
    const made = await halved(
      model(
        graph({
          inputs: [value('x', [4, 8]), value('condition', [], DataType.BOOL)],
          outputs: [value('y', [4, 6])],
          nodes: [
            node('MatMul', ['x', 'A'], ['h']),
            node('If', ['condition'], ['p'], { then_branch: branch('yes'), else_branch: branch('no') }),
            node('Loop', ['three', '', 'p'], ['y'], { body }),
          ],
          initializers: [weight('A', 8, 8), floats('factor', [1], [0.75]), int64s('three', [], [3])],
        }),
      ),
    );
    const forms = made.plan.nodes.map(({ opType, form }) => `${opType} ${form}`);
    expect(forms.filter((each) => each.endsWith('half')).sort()).toEqual([
      'MatMul half',
      'MatMul half',
      'MatMul half',
      'Mul half',
    ]);
  });

  it('keeps a node FP32 whose weight FP16 cannot hold', async () => {
    const made = await halved(
      model(
        graph({
          inputs: [value('x', [2, 8])],
          outputs: [value('y', [2, 8])],
          nodes: [
            node('MatMul', ['x', 'A'], ['h'], {}, { name: 'a' }),
            node('MatMul', ['h', 'B'], ['y'], {}, { name: 'b' }),
          ],
          initializers: [floats('A', [8, 8], random.floats(64, 1e6)), weight('B', 8, 8)],
        }),
      ),
    );
    expect(made.plan.nodes.map(({ form }) => form)).toEqual(['kept', 'half']);
  });

  it('takes and gives FP16 with `keep-io: false`, without Casts where all computes in it', async () => {
    const branch = (name: string, weights: string) =>
      graph({ name, inputs: [], outputs: [value(name, [2, 8])], nodes: [node('MatMul', ['x', weights], [name])] });
    const proto = model(
      graph({
        inputs: [value('x', [2, 8]), value('condition', [], DataType.BOOL)],
        outputs: [value('y', [2, 8]), value('p', [2, 8]), value('n', [], DataType.INT64)],
        nodes: [
          node('MatMul', ['x', 'A'], ['h']),
          node('Relu', ['h'], ['y']),
          node('If', ['condition'], ['p'], { then_branch: branch('yes', 'A'), else_branch: branch('no', 'B') }),
          node('Size', ['y'], ['n']),
        ],
        initializers: [weight('A', 8, 8), weight('B', 8, 8)],
      }),
    );
    const made = await halved(proto, { keepIo: false });
    const main = made.proto.graph!;
    expect([...main.input, ...main.output].map(typeOf)).toEqual([
      ...[DataType.FLOAT16, DataType.BOOL],
      ...[DataType.FLOAT16, DataType.FLOAT16, DataType.INT64],
    ]);
    // A body's output stays FLOAT: a Cast in each, one behind the If, none else.
    expect(operators(main).sort()).toEqual(
      ['Cast', 'Cast', 'Cast', 'If', 'MatMul', 'MatMul', 'MatMul', 'Relu', 'Size'].sort(),
    );
    // The samples are the reference's: FLOAT, rounded for a model that takes FP16.
    const reference = await readModel(made.source);
    const samples = await loadSamples(undefined, declaredInputs(reference).map(valueInfoOf), { count: 3, seed: 1 });
    const { similarity } = await score(made.output, { reference, samples });
    expect(similarity).toBeGreaterThan(0.99999);
  });

  it('refuses `keep-io: false` where nothing computes in FP16', async () => {
    await expect(
      halved(model(graph({ inputs: [], outputs: [], nodes: [] })), { keepIo: false, compute: false }),
    ).rejects.toThrow('Input `keep-io` is about values in FP16: set `compute` too, or leave it empty.');
  });

  it('keeps nodes FP32 whose values FP16 cannot hold on the samples', async () => {
    const proto = model(
      graph({
        inputs: [value('x', [2, 8])],
        outputs: [value('y', [2, 8])],
        nodes: [
          node('MatMul', ['x', 'A'], ['h'], {}, { name: 'a' }),
          node('Mul', ['h', 'large'], ['l'], {}, { name: 'up' }),
          node('Mul', ['l', 'small'], ['s'], {}, { name: 'down' }),
          node('MatMul', ['s', 'B'], ['y'], {}, { name: 'b' }),
        ],
        initializers: [weight('A', 8, 8), weight('B', 8, 8), floats('large', [], [60000]), floats('small', [], [1e-4])],
      }),
    );
    const samples = path.join(temp(), 'samples.json');
    writeFileSync(samples, JSON.stringify([{ x: [Array(8).fill(40), Array(8).fill(-40)] }]));
    const made = await halved(proto, { calibrationData: samples });
    expect(made.plan.nodes.map(({ form, name }) => [name, form])).toEqual([
      ['a', 'half'],
      ['up', 'kept'],
      ['down', 'kept'],
      ['b', 'half'],
    ]);
    expect(made.plan.notes.join()).toMatch(/cannot hold or only just stays FP32: l reached [0-9.e+]+\./);
    const x = { dims: [2, 8], data: Float32Array.from([...Array(8).fill(40), ...Array(8).fill(-40)]) };
    await expectAlike(made, { x });
    expect((await halved(proto)).plan.nodes.map(({ form }) => form)).toEqual(Array(4).fill('half'));
  });
});
