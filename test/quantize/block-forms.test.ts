import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { DataType, type GraphProto, type ModelProto, ModelProtoSchema, subgraphsOf } from '../../src/model/index.ts';
import { type QuantizeOptions, quantize } from '../../src/quantize/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import {
  constant,
  floats,
  graph,
  model,
  node,
  saveExternalModel,
  saveModel,
  tensor,
  value,
} from '../support/onnx-builder.ts';
import { type OrtFeed, ortRun } from '../support/ort-run.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';
import { cosine } from './real-models.ts';

const temp = useTemp();
const random = seeded(5);
const size = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1);
const weight = (name: string, ...dims: number[]) => floats(name, dims, random.floats(size(dims), 0.3));
const feed = (...dims: number[]): OrtFeed => ({ dims, data: random.floats(size(dims)) });
const ids = (rows: number, ...dims: number[]): OrtFeed => {
  return { dims, data: BigInt64Array.from({ length: size(dims) }, (_, i) => BigInt((i * 7) % rows)) };
};

interface Made {
  source: string;
  output: string;
  folder: string;
  proto: ModelProto;
  warnings: string[];
}

async function quantized(proto: ModelProto, options: Partial<QuantizeOptions> = {}, external = false): Promise<Made> {
  const folder = temp();
  const source = external ? saveExternalModel(folder, proto) : saveModel(folder, proto);
  const output = path.join(folder, 'blocks.onnx');
  const warnings: string[] = [];
  const log = { ...silentLog, warning: (message: string) => warnings.push(message) };
  await quantize({ model: source, output, threads: 1, method: 'weight-only', bits: 4, ...options }, { log });
  return { source, output, folder, proto: fromBinary(ModelProtoSchema, readFileSync(output)), warnings };
}

function operators(proto: ModelProto | GraphProto): string[] {
  const main = proto.$typeName === 'onnx.ModelProto' ? proto.graph! : proto;
  return main.node.flatMap((each) => [each.opType, ...[...subgraphsOf(each)].flatMap((sub) => operators(sub.graph))]);
}

async function expectAlike(made: Made, feeds: Record<string, OrtFeed>, least: number): Promise<void> {
  const [reference, result] = [await ortRun(made.source, feeds), await ortRun(made.output, feeds)];
  for (const [name, { data, dims }] of Object.entries(reference)) {
    expect(result[name]!.dims, name).toEqual(dims);
    expect(cosine(data as Float32Array, result[name]!.data as Float32Array), name).toBeGreaterThan(least);
  }
}

/** How alike random weights in that many bits are at least, one product deep. */
const LEAST = { 4: 0.98, 8: 0.9995 } as const;

const languageModel = () =>
  model(
    graph({
      inputs: [value('ids', ['batch', 'seq'], DataType.INT64)],
      outputs: [value('logits', ['batch', 'seq', 40])],
      nodes: [
        node('Gather', ['E', 'ids'], ['e']),
        node('MatMul', ['e', 'A'], ['a']),
        node('Relu', ['a'], ['r']),
        node('MatMul', ['r', 'B'], ['b']),
        node('Transpose', ['E'], ['T'], { perm: { ints: [1, 0] } }),
        node('MatMul', ['b', 'T'], ['logits']),
      ],
      initializers: [weight('E', 40, 64), weight('A', 64, 96), weight('B', 96, 64)],
    }),
  );

describe('weights in blocks', () => {
  it.each([
    [4, undefined, false],
    [4, 16, true],
    [4, 64, false],
    [8, 32, false],
    [8, 64, true],
  ] as const)(
    'run: %i bits, blocks of %s, symmetric %s; a tied table is stored once',
    async (bits, blockSize, weightSymmetric) => {
      const made = await quantized(languageModel(), { bits, blockSize, weightSymmetric });
      expect(operators(made.proto).sort()).toEqual(
        ['GatherBlockQuantized', 'MatMulNBits', 'MatMulNBits', 'MatMulNBits', 'Relu', 'Reshape'].sort(),
      );
      const ofTable = made.proto.graph!.initializer.filter(({ name }) => name.startsWith('E'));
      const codes = ofTable.filter(({ dims }) => size(dims.map(Number)) === (40 * 64 * bits) / 8);
      expect(codes.map(({ name }) => name)).toEqual([`E_Q${bits}`]);
      expect(ofTable.map(({ name }) => name)).not.toContain('E');
      await expectAlike(made, { ids: ids(40, 2, 5) }, bits === 4 ? 0.95 : 0.999);
    },
  );

  it.each([4, 8] as const)('take Gemm with its bias, transposed or not, in %i bits', async (bits) => {
    const made = await quantized(
      model(
        graph({
          inputs: [value('x', [3, 48]), value('c', [3, 20])],
          outputs: ['p', 'q', 'r', 's'].map((name) => value(name, [3, 20])),
          nodes: [
            node('Gemm', ['x', 'A', 'a'], ['p'], { transB: 1 }),
            node('Gemm', ['x', 'B'], ['q']),
            node('Gemm', ['x', 'A', 'c'], ['r'], { transB: 1 }),
            node('Gemm', ['x', 'A', 'a'], ['s'], { transB: 1, alpha: { float: 0.5 } }),
          ],
          initializers: [weight('A', 20, 48), weight('a', 20), weight('B', 48, 20)],
        }),
      ),
      { bits, blockSize: 16 },
    );
    expect(operators(made.proto).sort()).toEqual(['Add', 'Gemm', 'MatMulNBits', 'MatMulNBits', 'MatMulNBits']);
    await expectAlike(made, { x: feed(3, 48), c: feed(3, 20) }, LEAST[bits]);
  });

  it('reach weights in Constant nodes, behind Identity and in subgraphs', async () => {
    const branch = (name: string) =>
      graph({
        name,
        inputs: [],
        outputs: [value(name, [4, 6])],
        nodes: [constant(weight(`${name}_W`, 32, 6)), node('MatMul', ['x', `${name}_W`], [name])],
      });
    const made = await quantized(
      model(
        graph({
          inputs: [value('x', [4, 32]), value('condition', [], DataType.BOOL)],
          outputs: [value('p', [4, 6]), value('q', [4, 8])],
          nodes: [
            node('Identity', ['A'], ['same']),
            node('MatMul', ['x', 'same'], ['q']),
            node('If', ['condition'], ['p'], { then_branch: branch('yes'), else_branch: branch('no') }),
          ],
          initializers: [weight('A', 32, 8)],
        }),
      ),
    );
    expect(operators(made.proto).sort()).toEqual(['If', 'MatMulNBits', 'MatMulNBits', 'MatMulNBits']);
  });

  it('store what has no form in blocks in 8 bits', async () => {
    const made = await quantized(
      model(
        graph({
          inputs: [value('x', [1, 8, 20])],
          outputs: [value('y', [1, 20, 48]), value('z', [1, 16, 20])],
          nodes: [
            node('Conv', ['x', 'C'], ['z']),
            node('Transpose', ['z'], ['t'], { perm: { ints: [0, 2, 1] } }),
            node('MatMul', ['t', 'W'], ['y']),
          ],
          initializers: [weight('C', 16, 8, 1), weight('W', 16, 48)],
        }),
      ),
      { blockSize: 16 },
    );
    expect(operators(made.proto)).toContain('MatMulNBits');
    await expectAlike(made, { x: feed(1, 8, 20) }, 0.97);
  });

  it('leave a weight FLOAT for the node that must not change', async () => {
    const proto = model(
      graph({
        inputs: [value('x', [4, 32])],
        outputs: [value('y', [4, 24]), value('z', [4, 24])],
        nodes: [
          node('MatMul', ['x', 'W'], ['y'], {}, { name: 'first' }),
          node('MatMul', ['x', 'W'], ['z'], {}, { name: 'second' }),
        ],
        initializers: [weight('W', 32, 24)],
      }),
    );
    const made = await quantized(proto, { excludeNodes: ['second'] });
    expect(operators(made.proto)).toEqual(['MatMulNBits', 'MatMul']);
    const feeds = { x: feed(4, 32) };
    const [reference, result] = [await ortRun(made.source, feeds), await ortRun(made.output, feeds)];
    expect(result.z!.data).toEqual(reference.z!.data);
  });

  it('give the same file from external data, whose small tensors stay in the graph', async () => {
    const proto = model(
      graph({
        inputs: [value('x', ['n', 128])],
        outputs: [value('y', ['n', 24])],
        nodes: [node('MatMul', ['x', 'A'], ['a']), node('MatMul', ['a', 'B'], ['y'])],
        initializers: [weight('A', 128, 160), weight('B', 160, 24)],
      }),
    );
    const inline = await quantized(proto);
    const external = await quantized(proto, {}, true);
    expect(existsSync(`${external.output}.data`)).toBe(true);
    const feeds = { x: feed(3, 128) };
    const [a, b] = [await ortRun(inline.output, feeds), await ortRun(external.output, feeds)];
    expect(b.y!.data).toEqual(a.y!.data);
    // An eighth, a scale a block and the graph.
    expect(statSync(`${external.output}.data`).size).toBeLessThan(statSync(external.source).size + 128 * 160 * 4);
  });

  it('are cut by odd depths and few columns too', async () => {
    const nodes = [1, 3, 17, 33, 47].map((depth) => ({ depth, columns: depth % 5 || 1 }));
    const made = await quantized(
      model(
        graph({
          inputs: nodes.map(({ depth }) => value(`x${depth}`, [2, depth])),
          outputs: nodes.map(({ depth, columns }) => value(`y${depth}`, [2, columns])),
          nodes: nodes.map(({ depth }) => node('MatMul', [`x${depth}`, `W${depth}`], [`y${depth}`])),
          initializers: nodes.map(({ depth, columns }) => weight(`W${depth}`, depth, columns)),
        }),
      ),
      { bits: 8, blockSize: 16 },
    );
    await expectAlike(made, Object.fromEntries(nodes.map(({ depth }) => [`x${depth}`, feed(2, depth)])), 0.999);
  });
});

describe('blocks by operators of the standard', () => {
  const products = (opset: number) =>
    model(
      graph({
        inputs: [value('x', [3, 64])],
        outputs: [value('y', [3, 90]), value('z', [3, 90])],
        nodes: [node('MatMul', ['x', 'A'], ['y']), node('MatMul', ['x', 'B'], ['b']), node('Add', ['b', 'c'], ['z'])],
        initializers: [weight('A', 64, 90), weight('B', 64, 90), weight('c', 90)],
      }),
      { opset },
    );

  it.each([
    [4, false],
    [4, true],
    [8, false],
    [8, true],
  ] as const)('are DequantizeLinear in %i bits, symmetric %s', async (bits, weightSymmetric) => {
    const made = await quantized(products(21), { bits, blockSize: 32, weightSymmetric, quantFormat: 'qdq' });
    expect(operators(made.proto).sort()).toEqual(['Add', 'DequantizeLinear', 'DequantizeLinear', 'MatMul', 'MatMul']);
    expect(made.proto.irVersion).toBeGreaterThanOrEqual(bits === 4 ? 10n : 8n);
    await expectAlike(made, { x: feed(3, 64) }, LEAST[bits]);
  });

  it('need operator set 21: an older model says so and stores 8 bits', async () => {
    const made = await quantized(products(17), { quantFormat: 'qdq' });
    expect(operators(made.proto)).not.toContain('DequantizeLinear');
    const source = saveModel(temp(), products(17));
    const { plan } = await quantize({
      model: source,
      output: path.join(path.dirname(source), 'o.onnx'),
      method: 'weight-only',
      bits: 4,
      quantFormat: 'qdq',
    });
    expect(plan.nodes[0]!.reason).toContain('operator set 17 has no DequantizeLinear of blocks');
  });
});

describe('blocks that cannot be', () => {
  const small = () =>
    model(
      graph({
        inputs: [value('x', [4, 32])],
        outputs: [value('y', [4, 24]), value('z', [4, 24])],
        nodes: [node('MatMul', ['x', 'W'], ['y']), node('MatMul', ['x', 'V'], ['z'])],
        initializers: [weight('W', 32, 24), weight('V', 32, 24)],
      }),
    );

  it.each([
    [{ blockSize: 48 }, 'Input `block-size` is 48: it must be one of 16, 32, 64, 128, 256.'],
    [{ method: 'dynamic' }, 'Input `bits` is 4, which method `dynamic` does not do: use `weight-only` for 4 bits.'],
    [{ method: 'dynamic', bits: 8, blockSize: 32 }, 'Input `block-size` belongs to method `weight-only`'],
    [{ bits: 8, algorithm: 'rtn' }, 'Input `algorithm` is about blocks'],
    [{ bits: 8, quantFormat: 'qdq' }, 'Input `quant-format` is about blocks'],
    [{ algorithm: 'hqq' as 'rtn' }, 'Input `algorithm` is `hqq`: it must be one of rtn.'],
    [{ bits: 3 as 4 }, 'Input `bits` is 3'],
    [{ opTypes: ['Conv'] }, 'Input `op-types` names `Conv`, which has no form in 4 bits: name Gather, Gemm, MatMul'],
  ] as const)('are refused in a sentence: %o', async (options, sentence) => {
    await expect(quantized(small(), options)).rejects.toThrow(sentence);
  });

  it('have NaN: refused, or left FLOAT with a warning, nothing half-written', async () => {
    const proto = small();
    const values = random.floats(32 * 24);
    values[100] = Number.NaN;
    proto.graph!.initializer[0] = floats('W', [32, 24], values);
    const folder = temp();
    const source = saveModel(folder, proto);
    const run = (allowNonFinite: boolean) => {
      const warnings: string[] = [];
      const log = { ...silentLog, warning: (message: string) => warnings.push(message) };
      const options = { model: source, output: path.join(folder, 'out.onnx'), method: 'weight-only', bits: 4 } as const;
      return quantize({ ...options, allowNonFinite }, { log }).then((result) => ({ result, warnings }));
    };
    await expect(run(false)).rejects.toThrow('Weight "W" has 1 NaN value');
    expect(readdirSync(folder)).toEqual([path.basename(source)]);
    const { result, warnings } = await run(true);
    expect(warnings.join()).toContain('Weight W has 1 NaN value');
    expect(result.nodesQuantized).toBe(1);
    const made = fromBinary(ModelProtoSchema, readFileSync(path.join(folder, 'out.onnx')));
    expect(operators(made)).toEqual(['MatMul', 'MatMulNBits']);
    expect(made.graph!.initializer.map(({ name }) => name)).toContain('W');
  });

  it('are of FP16: said so', async () => {
    const half = tensor('W', DataType.FLOAT16, [32, 24], { rawData: new Uint8Array(32 * 24 * 2) });
    const proto = small();
    proto.graph!.initializer.splice(0, 2, half, { ...half, name: 'V' });
    await expect(quantized(proto)).rejects.toThrow('has FP16 weights');
  });
});
