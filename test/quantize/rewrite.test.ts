import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { DataType, type GraphProto, type ModelProto, ModelProtoSchema, subgraphsOf } from '../../src/model/index.ts';
import { type QuantizeOptions, quantize } from '../../src/quantize/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { constant, floats, graph, int64s, model, node, saveModel, tensor, value } from '../support/onnx-builder.ts';
import { type OrtFeed, ortRun } from '../support/ort-run.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';
import { cosine, realModels } from './real-models.ts';

const temp = useTemp();
const random = seeded(5);
const size = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1);
const weight = (name: string, ...dims: number[]) => floats(name, dims, random.floats(size(dims), 0.3));
const feed = (...dims: number[]): OrtFeed => ({ dims, data: random.floats(size(dims)) });

async function quantized(proto: ModelProto, options: Partial<QuantizeOptions> = {}) {
  const folder = temp();
  const source = saveModel(folder, proto);
  const output = path.join(folder, 'out.onnx');
  await quantize({ model: source, output, threads: 1, ...options }, { log: silentLog });
  return { source, output, proto: fromBinary(ModelProtoSchema, readFileSync(output)) };
}

function operators(main: GraphProto): string[] {
  return main.node.flatMap((each) => [each.opType, ...[...subgraphsOf(each)].flatMap((sub) => operators(sub.graph))]);
}

async function expectAlike(made: { source: string; output: string }, feeds: Record<string, OrtFeed>, least = 0.99) {
  const [reference, result] = [await ortRun(made.source, feeds), await ortRun(made.output, feeds)];
  for (const [name, { data }] of Object.entries(reference)) {
    expect(cosine(data as Float32Array, result[name]!.data as Float32Array), name).toBeGreaterThan(least);
  }
}

describe('graphs', () => {
  it('quantizes inside a Loop: its own weights, those it captures, and what it carries', async () => {
    const body = graph({
      name: 'body',
      nodes: [
        node('MatMul', ['h_in', 'W'], ['a']),
        constant(weight('V', 16, 16)),
        node('MatMul', ['a', 'V'], ['b']),
        node('MatMul', ['x', 'W'], ['captured']),
        node('Add', ['b', 'captured'], ['h_out']),
        node('Identity', ['more'], ['more_out']),
      ],
      inputs: [value('i', [], DataType.INT64), value('more', [], DataType.BOOL), value('h_in', [4, 16])],
      outputs: [value('more_out', [], DataType.BOOL), value('h_out', [4, 16])],
    });
    const made = await quantized(
      model(
        graph({
          nodes: [node('Loop', ['n', '', 'x'], ['y'], { body })],
          inputs: [value('x', [4, 16])],
          outputs: [value('y', [4, 16])],
          initializers: [weight('W', 16, 16), int64s('n', [], [3])],
        }),
      ),
    );
    const kinds = operators(made.proto.graph!);
    expect(kinds.filter((each) => each === 'MatMulInteger')).toHaveLength(3);
    // What the body captures is quantized once, before the loop.
    expect(made.proto.graph!.node.map((each) => each.opType)).toEqual(['DynamicQuantizeLinear', 'Loop']);
    await expectAlike(made, { x: feed(4, 16) });
  });

  it('gives new tensors names that nothing has', async () => {
    const made = await quantized(
      model(
        graph({
          nodes: [
            node('Relu', ['x'], ['x_quantized']),
            node('Neg', ['x'], ['x_scale']),
            node('MatMul', ['x', 'W'], ['m'], {}, { name: 'W_quantized' }),
            node('Sum', ['m', 'x_quantized', 'x_scale', 'W_scale'], ['y']),
          ],
          inputs: [value('x', [4, 8])],
          outputs: [value('y', [4, 8])],
          initializers: [weight('W', 8, 8), weight('W_scale', 4, 8)],
        }),
      ),
    );
    const outputs = made.proto.graph!.node.flatMap((each) => each.output);
    expect(new Set(outputs).size).toBe(outputs.length);
    await expectAlike(made, { x: feed(4, 8) });
  });

  it('keeps a weight that is an output of the model', async () => {
    const made = await quantized(
      model(
        graph({
          nodes: [node('MatMul', ['x', 'W'], ['y'])],
          inputs: [value('x', [4, 8])],
          outputs: [value('y', [4, 8]), value('W', [8, 8])],
          initializers: [weight('W', 8, 8)],
        }),
      ),
    );
    const x = feed(4, 8);
    const [reference, result] = [await ortRun(made.source, { x }), await ortRun(made.output, { x })];
    expect(result.W).toEqual(reference.W);
  });

  it('shares one quantized weight among its readers, in the main graph and below', async () => {
    const branch = (name: string) =>
      graph({ name, nodes: [node('MatMul', ['x', 'W'], [name])], outputs: [value(name, [4, 16])] });
    const made = await quantized(
      model(
        graph({
          nodes: [
            node('If', ['c'], ['p'], { then_branch: branch('yes'), else_branch: branch('no') }),
            node('MatMul', ['p', 'W'], ['y']),
          ],
          inputs: [value('x', [4, 16]), value('c', [], DataType.BOOL)],
          outputs: [value('y', [4, 16])],
          initializers: [weight('W', 16, 16)],
        }),
      ),
    );
    expect(made.proto.graph!.initializer.map((each) => each.name)).toEqual(['W_scale', 'W_zero_point', 'W_quantized']);
  });

  it('reads an embedding that subgraphs share back to FP32 where it stands, once', async () => {
    const branch = (name: string, opType: string) =>
      graph({ name, nodes: [node(opType, ['e'], [name])], outputs: [value(name, [3, 8])] });
    const made = await quantized(
      model(
        graph({
          nodes: [
            node('Gather', ['E', 'ids'], ['e']),
            node('If', ['c'], ['y'], { then_branch: branch('yes', 'Relu'), else_branch: branch('no', 'Neg') }),
            node('Abs', ['e'], ['z']),
          ],
          inputs: [value('ids', [3], DataType.INT64), value('c', [], DataType.BOOL)],
          outputs: [value('y', [3, 8]), value('z', [3, 8])],
          initializers: [weight('E', 20, 8)],
        }),
      ),
    );
    expect(made.proto.graph!.node.map((each) => each.opType)).toEqual(['Gather', 'DequantizeLinear', 'If', 'Abs']);
  });

  it('takes a Gemm whose bias is left out as an empty name', async () => {
    const made = await quantized(
      model(
        graph({
          nodes: [node('Gemm', ['x', 'W', ''], ['y'], { transB: 1 })],
          inputs: [value('x', [4, 16])],
          outputs: [value('y', [4, 12])],
          initializers: [weight('W', 12, 16)],
        }),
      ),
    );
    expect(operators(made.proto.graph!)).not.toContain('Add');
    await expectAlike(made, { x: feed(4, 16) });
  });

  it('keeps what it does not know: metadata, other domains, doc strings', async () => {
    const proto = model(
      graph({
        nodes: [node('MatMul', ['x', 'W'], ['y'])],
        inputs: [value('x', [4, 16])],
        outputs: [value('y', [4, 12])],
        initializers: [weight('W', 16, 12)],
      }),
      { metadata: { author: 'someone' }, domains: { 'org.example': 3 } },
    );
    proto.docString = 'a model';
    const { proto: made } = await quantized(proto);
    expect(made.docString).toBe('a model');
    expect(made.producerName).toBe('onnx-builder');
    expect(made.opsetImport.map(({ domain, version }) => `${domain} ${version}`)).toEqual([' 17', 'org.example 3']);
    expect(made.metadataProps.map(({ key, value }) => [key, value])).toEqual([
      ['author', 'someone'],
      ['onnx-quantize-actions', 'dynamic int8 per-channel'],
    ]);
  });
});

describe('weight-only', () => {
  const chain = () =>
    model(
      graph({
        nodes: [
          node('Conv', ['x', 'C', 'b'], ['c']),
          node('ConvTranspose', ['c', 'T'], ['t'], { strides: { ints: [2] } }),
          node('Transpose', ['t'], ['s'], { perm: { ints: [2, 0, 1] } }),
          node('GRU', ['s', 'GW', 'GR'], ['g'], { hidden_size: 12 }),
          node('RNN', ['s', 'RW', 'RR'], ['r'], { hidden_size: 12, direction: 'bidirectional' }),
          node('Gather', ['E', 'ids'], ['e']),
        ],
        inputs: [value('x', [2, 8, 20]), value('ids', [5], DataType.INT64)],
        outputs: [value('g', [37, 1, 2, 12]), value('r', [37, 2, 2, 12]), value('e', [5, 24])],
        initializers: [
          weight('C', 16, 8, 3),
          weight('b', 16),
          weight('T', 16, 16, 3),
          weight('GW', 1, 36, 16),
          weight('GR', 1, 36, 12),
          weight('RW', 2, 12, 16),
          weight('RR', 2, 12, 12),
          weight('E', 40, 24),
        ],
      }),
    );

  it.each<Partial<QuantizeOptions>>([
    { perChannel: true },
    { perChannel: false },
    { weightType: 'uint8' },
    { weightType: 'uint8', weightSymmetric: true },
    { weightSymmetric: false },
  ])('stores every kind of weight and computes alike: %o', async (options) => {
    const made = await quantized(chain(), { method: 'weight-only', ...options });
    const small = made.proto.graph!.initializer.filter(
      ({ dataType }) => dataType === DataType.INT8 || dataType === DataType.UINT8,
    );
    expect(small.map(({ name }) => name)).toEqual(
      ['C', 'T', 'GW', 'GR', 'RW', 'RR', 'E'].map((name) => `${name}_quantized`),
    );
    const ids = { dims: [5], data: BigInt64Array.of(0n, 1n, 39n, 4n, 4n) };
    await expectAlike(made, { x: feed(2, 8, 20), ids }, 0.995);
  });

  it('finds weights behind operators that only move elements', async () => {
    const made = await quantized(
      model(
        graph({
          nodes: [
            node('Transpose', ['W'], ['t'], { perm: { ints: [1, 0] } }),
            node('Identity', ['t'], ['i']),
            node('MatMul', ['x', 'i'], ['y']),
          ],
          inputs: [value('x', [4, 32])],
          outputs: [value('y', [4, 24])],
          initializers: [weight('W', 24, 32)],
        }),
      ),
    );
    expect(operators(made.proto.graph!)).toEqual(['Cast', 'Mul', 'Transpose', 'Identity', 'MatMul']);
    await expectAlike(made, { x: feed(4, 32) });
  });

  it('does not store a weight twice for a reader that must not change', async () => {
    const run = quantized(
      model(
        graph({
          nodes: [
            node('Conv', ['x', 'C'], ['y'], {}, { name: 'a' }),
            node('Conv', ['x', 'C'], ['z'], {}, { name: 'b' }),
          ],
          inputs: [value('x', [2, 8, 20])],
          outputs: [value('y', [2, 16, 18]), value('z', [2, 16, 18])],
          initializers: [weight('C', 16, 8, 3)],
        }),
      ),
      { excludeNodes: ['a'] },
    );
    await expect(run).rejects.toThrow(/Nothing in the model/);
  });
});

describe('fp16', () => {
  it.each(realModels.slice(0, 3))('halves $name and computes the same to three digits', async ({ file, feeds }) => {
    const output = path.join(temp(), 'half.onnx');
    const result = await quantize({ model: file, output, method: 'fp16' }, { log: silentLog });
    expect(result.compressionRatio).toBeGreaterThan(1.5);
    const [reference, made] = [await ortRun(file, feeds()), await ortRun(output, feeds())];
    for (const [name, { data }] of Object.entries(reference)) {
      expect(cosine(data as Float32Array, made[name]!.data as Float32Array)).toBeGreaterThan(0.999);
    }
  });

  it('leaves what FP16 cannot hold', async () => {
    const large = random.floats(32 * 32);
    large[5] = 70_000;
    const made = await quantized(
      model(
        graph({
          nodes: [node('MatMul', ['x', 'W'], ['h']), node('MatMul', ['h', 'V'], ['y'])],
          inputs: [value('x', [2, 32])],
          outputs: [value('y', [2, 32])],
          initializers: [weight('W', 32, 32), floats('V', [32, 32], large)],
        }),
      ),
      { method: 'fp16' },
    );
    const types = Object.fromEntries(made.proto.graph!.initializer.map(({ name, dataType }) => [name, dataType]));
    expect(types).toEqual({ V: DataType.FLOAT, W_float16: DataType.FLOAT16 });
    await expectAlike(made, { x: feed(2, 32) }, 0.9999);
  });

  it('does not touch weights of other types', async () => {
    const doubles = tensor('D', DataType.DOUBLE, [32, 32], { rawData: new Uint8Array(32 * 32 * 8) });
    const run = quantized(
      model(
        graph({
          nodes: [node('MatMul', ['x', 'D'], ['y'])],
          inputs: [value('x', [2, 32], DataType.DOUBLE)],
          outputs: [value('y', [2, 32], DataType.DOUBLE)],
          initializers: [doubles],
        }),
      ),
      { method: 'fp16' },
    );
    await expect(run).rejects.toThrow(/^Nothing in the model/);
  });
});
