import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { DataType, type GraphProto, type ModelProto, ModelProtoSchema, subgraphsOf } from '../../src/model/index.ts';
import { type QuantizeOptions, quantize } from '../../src/quantize/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { floats, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { type OrtFeed, ortRun } from '../support/ort-run.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';
import { cosine } from './real-models.ts';

const temp = useTemp();
const random = seeded(17);
const weight = (name: string, ...dims: number[]) => floats(name, dims, random.floats(dims[0]! * (dims[1] ?? 1), 0.3));
const feed = (...dims: number[]): OrtFeed => ({ dims, data: random.floats(dims.reduce((a, b) => a * b, 1)) });

async function quantized(proto: ModelProto, options: Partial<QuantizeOptions> = {}) {
  const folder = temp();
  const source = saveModel(folder, proto);
  const output = path.join(folder, 'out.onnx');
  const warnings: string[] = [];
  const log = { ...silentLog, warning: (message: string) => warnings.push(message) };
  const { plan } = await quantize({ model: source, output, threads: 1, ...options }, { log });
  return { source, output, warnings, plan, proto: fromBinary(ModelProtoSchema, readFileSync(output)) };
}

function operators(main: GraphProto): string[] {
  return main.node.flatMap((each) => [each.opType, ...[...subgraphsOf(each)].flatMap((sub) => operators(sub.graph))]);
}

const tensorsOf = ({ graph: main }: ModelProto) => main!.initializer.map(({ name }) => name).sort();
const one = ['W_quantized', 'W_scale', 'W_zero_point'];

async function expectAlike(made: { source: string; output: string }, feeds: Record<string, OrtFeed>) {
  const [reference, result] = [await ortRun(made.source, feeds), await ortRun(made.output, feeds)];
  for (const [name, { data }] of Object.entries(reference)) {
    expect(cosine(data as Float32Array, result[name]!.data as Float32Array), name).toBeGreaterThan(0.99);
  }
}

/** Two layers over one weight, as torch exports them: the second reads it through Identity. */
const twice = (identities: ReturnType<typeof node>[], second: string, extra: ReturnType<typeof node>[] = []) =>
  model(
    graph({
      nodes: [
        ...identities,
        node('MatMul', ['x', 'W'], ['h']),
        node('Relu', ['h'], ['r']),
        node('MatMul', ['r', second], ['y']),
        ...extra,
      ],
      inputs: [value('x', [4, 64])],
      outputs: [value('y', [4, 64]), ...extra.map((each) => value(each.output[0]!, [64, 64]))],
      initializers: [weight('W', 64, 64)],
    }),
  );

describe('a weight that nodes share through Identity', () => {
  it('is quantized once, and neither FP32 nor the Identity is left', async () => {
    const made = await quantized(twice([node('Identity', ['W'], ['W2'])], 'W2'));
    expect(tensorsOf(made.proto)).toEqual(one);
    expect(operators(made.proto.graph!)).not.toContain('Identity');
    expect(statSync(made.output).size).toBeLessThan(statSync(made.source).size / 2);
    await expectAlike(made, { x: feed(4, 64) });
  });

  it('is looked for behind a chain of them', async () => {
    const chain = [node('Identity', ['W'], ['a']), node('Identity', ['a'], ['b']), node('Identity', ['b'], ['W2'])];
    const made = await quantized(twice(chain, 'W2'));
    expect(tensorsOf(made.proto)).toEqual(one);
    expect(operators(made.proto.graph!)).not.toContain('Identity');
    await expectAlike(made, { x: feed(4, 64) });
  });

  it('is found from subgraphs', async () => {
    const branch = (name: string) =>
      graph({
        name,
        nodes: [node('Identity', ['W2'], [`${name}_w`]), node('MatMul', ['x', `${name}_w`], [name])],
        outputs: [value(name, [4, 64])],
      });
    const made = await quantized(
      model(
        graph({
          nodes: [
            node('Identity', ['W'], ['W2']),
            node('ReduceMax', ['x'], ['largest'], { keepdims: 0 }),
            node('Cast', ['largest'], ['c'], { to: DataType.BOOL }),
            node('If', ['c'], ['p'], { then_branch: branch('yes'), else_branch: branch('no') }),
            node('MatMul', ['p', 'W'], ['y']),
          ],
          inputs: [value('x', [4, 64])],
          outputs: [value('y', [4, 64])],
          initializers: [weight('W', 64, 64)],
        }),
      ),
    );
    expect(tensorsOf(made.proto)).toEqual(one);
    expect(operators(made.proto.graph!).filter((each) => each === 'MatMulInteger')).toHaveLength(3);
    expect(operators(made.proto.graph!)).not.toContain('Identity');
    await expectAlike(made, { x: feed(4, 64) });
  });

  it('is dequantized for a reader of FLOAT that comes first, instead of being there twice', async () => {
    const made = await quantized(
      model(
        graph({
          nodes: [
            node('Identity', ['W'], ['W2']),
            node('Add', ['x', 'W2'], ['s']),
            node('Mul', ['s', 'W'], ['t']),
            node('MatMul', ['t', 'W'], ['y']),
          ],
          inputs: [value('x', [64, 64])],
          outputs: [value('y', [64, 64])],
          initializers: [weight('W', 64, 64)],
        }),
      ),
    );
    expect(tensorsOf(made.proto)).toEqual(one);
    expect(operators(made.proto.graph!)[0]).toBe('DequantizeLinear');
    expect(statSync(made.output).size).toBeLessThan(statSync(made.source).size / 2);
    await expectAlike(made, { x: feed(64, 64) });
  });

  it('is stored once by weight-only, with the channels that its reader knows', async () => {
    const made = await quantized(twice([node('Identity', ['W'], ['W2'])], 'W2'), { method: 'weight-only' });
    expect(tensorsOf(made.proto)).toEqual(['W_quantized', 'W_scale']);
    await expectAlike(made, { x: feed(4, 64) });
  });

  it('stays FP32 bit for bit where the graph gives it out', async () => {
    const made = await quantized(twice([], 'W', [node('Identity', ['W'], ['out'])]));
    const x = feed(4, 64);
    const [reference, result] = [await ortRun(made.source, { x }), await ortRun(made.output, { x })];
    expect(result.out).toEqual(reference.out);
  });
});

it('warns loudly where the result is not smaller, and the receipt has the written figures', async () => {
  // Quantized for one reader and FP32 for the other: 8 bits are added.
  const proto = model(
    graph({
      nodes: [
        node('MatMul', ['x', 'W'], ['h'], {}, { name: 'a' }),
        node('MatMul', ['h', 'W'], ['y'], {}, { name: 'b' }),
      ],
      inputs: [value('x', [4, 64])],
      outputs: [value('y', [4, 64])],
      initializers: [weight('W', 64, 64)],
    }),
  );
  const made = await quantized(proto, { excludeNodes: ['a'] });
  expect(statSync(made.output).size).toBeGreaterThan(statSync(made.source).size);
  expect(made.warnings.join('\n')).toMatch(/^The result is not smaller than the source: \d+ bytes, /m);
  const receipt = JSON.parse(readFileSync(path.join(path.dirname(made.output), 'out.quantize.json'), 'utf8'));
  expect(receipt.results.weights.after).toBe(64 * 64 * 4 + 64 * 64 + 64 * 5);
  expect(receipt.results.warnings).toEqual(made.warnings);
});
