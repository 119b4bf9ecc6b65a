import { readdirSync, readFileSync, statSync } from 'node:fs';
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
  int64s,
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
const random = seeded(3);

const weight = (name: string, ...dims: number[]) =>
  floats(
    name,
    dims,
    random.floats(
      dims.reduce((a, b) => a * b, 1),
      0.3,
    ),
  );
const feed = (...dims: number[]): OrtFeed => ({ dims, data: random.floats(dims.reduce((a, b) => a * b, 1)) });

interface Made {
  source: string;
  output: string;
  folder: string;
  proto: ModelProto;
  warnings: string[];
}

async function quantized(proto: ModelProto, options: Partial<QuantizeOptions> = {}): Promise<Made> {
  const folder = temp();
  const source = saveModel(folder, proto);
  const output = path.join(folder, 'int8.onnx');
  const warnings: string[] = [];
  const log = { ...silentLog, warning: (message: string) => warnings.push(message) };
  await quantize({ model: source, output, threads: 1, ...options }, { log });
  return { source, output, folder, proto: fromBinary(ModelProtoSchema, readFileSync(output)), warnings };
}

function operators(proto: ModelProto | GraphProto): string[] {
  const main = proto.$typeName === 'onnx.ModelProto' ? proto.graph! : proto;
  return main.node.flatMap((each) => [each.opType, ...[...subgraphsOf(each)].flatMap((sub) => operators(sub.graph))]);
}

async function expectAlike(made: Pick<Made, 'source' | 'output'>, feeds: Record<string, OrtFeed>, least = 0.99) {
  const [reference, result] = [await ortRun(made.source, feeds), await ortRun(made.output, feeds)];
  for (const [name, { data }] of Object.entries(reference)) {
    expect(cosine(data as Float32Array, result[name]!.data as Float32Array), name).toBeGreaterThan(least);
  }
}

/** What onnx.checker demands of every graph: a value is made before it is read, by a node or around a subgraph. */
function expectOrdered(main: GraphProto, outer: ReadonlySet<string> = new Set()): void {
  const known = new Set([...outer, '', ...main.input.map((each) => each.name)]);
  for (const { name } of main.initializer) known.add(name);
  for (const each of main.node) {
    for (const name of each.input) expect(known.has(name), `${each.opType} reads ${name}`).toBe(true);
    for (const inner of subgraphsOf(each)) expectOrdered(inner.graph, known);
    for (const name of each.output) known.add(name);
  }
  for (const { name } of main.output) expect(known.has(name), name).toBe(true);
}

describe('where onnxruntime.quantization 1.32 is wrong', () => {
  it('quantizes weights in Constant nodes, on which 1.32 crashes or passes by', async () => {
    const made = await quantized(
      model(
        graph({
          nodes: [constant(weight('W', 32, 16)), node('MatMul', ['x', 'W'], ['y'], {}, { name: 'm' })],
          inputs: [value('x', [4, 32])],
          outputs: [value('y', [4, 16])],
        }),
      ),
    );
    expect(operators(made.proto)).toEqual(['DynamicQuantizeLinear', 'MatMulInteger', 'Cast', 'Mul', 'Mul']);
    await expectAlike(made, { x: feed(4, 32) });
  });

  it('quantizes subgraphs, captured weights and activations among them, before the node that captures', async () => {
    const branch = (name: string) =>
      graph({
        name,
        nodes: [
          node('MatMul', ['h', 'W'], [`${name}_a`]),
          constant(weight(`${name}_V`, 24, 8)),
          node('MatMul', [`${name}_a`, `${name}_V`], [`${name}_b`]),
        ],
        outputs: [value(`${name}_b`, [4, 8])],
      });
    const made = await quantized(
      model(
        graph({
          nodes: [
            node('Relu', ['x'], ['h']),
            node('If', ['c'], ['y'], { then_branch: branch('yes'), else_branch: branch('no') }),
          ],
          inputs: [value('x', [4, 24]), value('c', [], DataType.BOOL)],
          outputs: [value('y', [4, 8])],
          initializers: [weight('W', 24, 24)],
        }),
      ),
    );
    expect(operators(made.proto).filter((each) => each === 'MatMulInteger')).toHaveLength(4);
    expect(operators(made.proto).filter((each) => each === 'MatMul')).toHaveLength(0);
    expectOrdered(made.proto.graph!);
    // h is quantized once, outside.
    expect(made.proto.graph!.node.filter((each) => each.opType === 'DynamicQuantizeLinear')).toHaveLength(1);
  });

  it('gives a kept reader of a per-channel weight FP32 back without per-axis DequantizeLinear below opset 13', async () => {
    const shared = (opset: number) =>
      model(
        graph({
          nodes: [node('MatMul', ['x', 'W'], ['a']), node('Add', ['a', 'W'], ['y'])],
          inputs: [value('x', [12, 12])],
          outputs: [value('y', [12, 12])],
          initializers: [weight('W', 12, 12)],
        }),
        { opset },
      );
    const old = await quantized(shared(12));
    expect(operators(old.proto)).not.toContain('DequantizeLinear');
    await expectAlike(old, { x: feed(12, 12) });
    const asymmetric = await quantized(shared(11), { weightType: 'uint8' });
    await expectAlike(asymmetric, { x: feed(12, 12) });
    const today = await quantized(shared(13));
    expect(operators(today.proto)).toContain('DequantizeLinear');
    await expectAlike(today, { x: feed(12, 12) });
  });

  it.each(['int8', 'uint8'] as const)(
    'runs a stack of matrices per channel (%s), which fails at run time in 1.32',
    async (weightType) => {
      const stack = (readers: ReturnType<typeof node>[]) =>
        model(
          graph({
            nodes: [node('MatMul', ['x', 'W'], ['y']), ...readers],
            inputs: [value('x', [3, 4, 16])],
            outputs: [value('y', [3, 4, 10]), ...readers.map((each) => value(each.output[0]!, [3, 16, 10]))],
            initializers: [weight('W', 3, 16, 10)],
          }),
        );
      await expectAlike(await quantized(stack([]), { weightType }), { x: feed(3, 4, 16) });
      await expectAlike(await quantized(stack([node('Neg', ['W'], ['z'])]), { weightType }), { x: feed(3, 4, 16) });
    },
  );

  it('quantizes a vector on the right of MatMul with one scale', async () => {
    const made = await quantized(
      model(
        graph({
          nodes: [node('MatMul', ['x', 'v'], ['y'])],
          inputs: [value('x', [6, 20])],
          outputs: [value('y', [6])],
          initializers: [weight('v', 20)],
        }),
      ),
    );
    await expectAlike(made, { x: feed(6, 20) });
  });

  describe('NaN and infinite weights', () => {
    const broken = (bad: number) => {
      const values = random.floats(32 * 8, 0.3);
      values[77] = bad;
      return model(
        graph({
          nodes: [
            node('MatMul', ['x', 'W'], ['h'], {}, { name: 'good' }),
            node('MatMul', ['h', 'V'], ['y'], {}, { name: 'bad' }),
          ],
          inputs: [value('x', [2, 32])],
          outputs: [value('y', [2, 8])],
          initializers: [weight('W', 32, 32), floats('V', [32, 8], values)],
        }),
      );
    };

    it('NaN is refused in words', async () => {
      const folder = temp();
      const source = saveModel(folder, broken(Number.NaN));
      for (const method of ['dynamic', 'weight-only', 'fp16'] as const) {
        const run = quantize({ model: source, method, output: path.join(folder, 'int8.onnx') });
        await expect(run).rejects.toMatchObject({
          name: 'InputError',
          message: expect.stringMatching(/^Weight "V" has 1 NaN value, .*`allow-non-finite`\.$/),
        });
      }
      expect(readdirSync(folder)).toEqual(['model.onnx']);
    });

    it.each([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('%s stays FP32 with a warning', async (infinity) => {
      for (const method of ['dynamic', 'weight-only'] as const) {
        const made = await quantized(broken(infinity), { method });
        const kept = made.proto.graph!.initializer.find((each) => each.name === 'V');
        expect(kept?.dataType).toBe(DataType.FLOAT);
        expect(new Float32Array(new Uint8Array(kept!.rawData).buffer)[77]).toBe(infinity);
        expect(made.warnings.join()).toContain(
          'Weight V has 1 infinite value, for which there is no scale: it stays FP32.',
        );
      }
    });

    it('FP16 holds infinities exactly', async () => {
      const made = await quantized(broken(Number.NEGATIVE_INFINITY), { method: 'fp16' });
      const half = made.proto.graph!.initializer.find((each) => each.name === 'V_float16');
      expect(new Uint16Array(new Uint8Array(half!.rawData).buffer)[77]).toBe(0xfc00);
      expect(made.warnings).toEqual([]);
    });

    it('stays FP32 with allow-non-finite, and is named in a warning', async () => {
      const made = await quantized(broken(Number.NaN), { allowNonFinite: true });
      expect(operators(made.proto).filter((each) => each.startsWith('MatMul'))).toEqual(['MatMulInteger', 'MatMul']);
      expect(made.proto.graph!.initializer.find((each) => each.name === 'V')?.dataType).toBe(DataType.FLOAT);
      expect(made.warnings.join()).toContain('Weight V has 1 NaN value: it stays FP32.');
    });
  });

  const twoGemms = () =>
    model(
      graph({
        nodes: [
          node('Gemm', ['x', 'W', 'b'], ['h'], { transB: 1 }, { name: 'first' }),
          node('Gemm', ['h', 'V'], ['y'], {}, { name: 'second' }),
        ],
        inputs: [value('x', [3, 20])],
        outputs: [value('y', [3, 10])],
        initializers: [weight('W', 30, 20), weight('b', 30), weight('V', 30, 10)],
      }),
    );

  it('excludes a Gemm by the name it has in the model', async () => {
    const made = await quantized(twoGemms(), { excludeNodes: ['first'] });
    const kept = made.proto.graph!.node.find((each) => each.name === 'first');
    expect(kept?.opType).toBe('Gemm');
    expect(operators(made.proto)).toContain('MatMulInteger');
    await expectAlike(made, { x: feed(3, 20) });
  });

  it('includes by globs over the names of the model', async () => {
    const made = await quantized(twoGemms(), { includeNodes: ['sec*'] });
    expect(made.proto.graph!.node[0]).toMatchObject({ opType: 'Gemm', name: 'first' });
    await expect(quantized(twoGemms(), { includeNodes: ['third'] })).rejects.toThrow('no node is called `third`');
  });

  it('keeps a shared weight FP32 for the reader that was excluded, bit for bit', async () => {
    const proto = model(
      graph({
        nodes: [
          node('MatMul', ['x', 'W'], ['y'], {}, { name: 'quantized' }),
          node('MatMul', ['x', 'W'], ['z'], {}, { name: 'exact' }),
        ],
        inputs: [value('x', [2, 16])],
        outputs: [value('y', [2, 16]), value('z', [2, 16])],
        initializers: [weight('W', 16, 16)],
      }),
    );
    const made = await quantized(proto, { excludeNodes: ['exact'] });
    const x = feed(2, 16);
    const [reference, result] = [await ortRun(made.source, { x }), await ortRun(made.output, { x })];
    expect(result.z!.data).toEqual(reference.z!.data);
    expect(result.y!.data).not.toEqual(reference.y!.data);
  });

  it("turns an LSTM's batch-first values around DynamicQuantizeLSTM, which has no layout", async () => {
    const lstm = (layout: number) => {
      const first = layout === 1 ? [3, 5] : [5, 3];
      const state = layout === 1 ? [3, 2, 6] : [2, 3, 6];
      return model(
        graph({
          nodes: [
            node('LSTM', ['x', 'W', 'R', '', '', 'h', 'c'], ['Y', 'Yh', 'Yc'], {
              hidden_size: 6,
              direction: 'bidirectional',
              ...(layout ? { layout } : {}),
            }),
          ],
          inputs: [value('x', [...first, 4]), value('h', state), value('c', state)],
          outputs: [value('Y', layout ? [3, 5, 2, 6] : [5, 2, 3, 6]), value('Yh', state), value('Yc', state)],
          initializers: weights,
        }),
      );
    };
    const weights = [weight('W', 2, 24, 4), weight('R', 2, 24, 6)];
    const [batchFirst, timeFirst] = [await quantized(lstm(1)), await quantized(lstm(0))];
    const [x, h, c] = [feed(5, 3, 4), feed(2, 3, 6), feed(2, 3, 6)];
    const reference = await ortRun(timeFirst.output, { x, h, c });
    const result = await ortRun(batchFirst.output, {
      x: transposed(x, [1, 0, 2]),
      h: transposed(h, [1, 0, 2]),
      c: transposed(c, [1, 0, 2]),
    });
    expect(transposed(result.Y!, [1, 2, 0, 3])).toEqual(reference.Y);
    expect(transposed(result.Yh!, [1, 0, 2])).toEqual(reference.Yh);
    expect(transposed(result.Yc!, [1, 0, 2])).toEqual(reference.Yc);
    await expectAlike(timeFirst, { x, h, c });
  });

  it('keeps the zero points of an LSTM at 0 with weight-symmetric off, without which it fails at run time', async () => {
    const made = await quantized(
      model(
        graph({
          nodes: [node('LSTM', ['x', 'W', 'R'], ['Y'], { hidden_size: 6 })],
          inputs: [value('x', [5, 3, 4])],
          outputs: [value('Y', [5, 1, 3, 6])],
          initializers: [weight('W', 1, 24, 4), weight('R', 1, 24, 6)],
        }),
      ),
      { weightSymmetric: false },
    );
    expect(operators(made.proto)).toEqual(['DynamicQuantizeLSTM']);
    await expectAlike(made, { x: feed(5, 3, 4) });
  });

  it('refuses a model of FP16 weights in one sentence', async () => {
    const half = tensor('W', DataType.FLOAT16, [16, 16], { rawData: new Uint8Array(512) });
    const proto = model(
      graph({
        nodes: [node('MatMul', ['x', 'W'], ['y'])],
        inputs: [value('x', [2, 16], DataType.FLOAT16)],
        outputs: [value('y', [2, 16], DataType.FLOAT16)],
        initializers: [half],
      }),
    );
    await expect(quantized(proto)).rejects.toThrow(/has FP16 weights/);
  });

  it('writes the same bytes again, appends nothing and leaves nothing beside the input', async () => {
    const folder = temp();
    const proto = twoGemms();
    const source = saveExternalModel(folder, proto);
    const output = path.join(folder, 'out.onnx');
    const run = () => quantize({ model: source, output, report: path.join(folder, 'reports') }, { log: silentLog });
    const first = await run();
    const files = () =>
      Object.fromEntries(
        readdirSync(folder)
          .filter((name) => statSync(path.join(folder, name)).isFile())
          .map((name) => [name, readFileSync(path.join(folder, name), 'hex')]),
      );
    const before = files();
    const second = await run();
    expect(second.root).toBe(first.root);
    expect(files()).toEqual(before);
    expect(Object.keys(before).every((name) => /^(model|out)\.onnx(\.data)?$/.test(name))).toBe(true);
  });

  it('gives nameless nodes a scale Mul each, so that ONNX Runtime fuses all of them', async () => {
    const made = await quantized(
      model(
        graph({
          nodes: [node('MatMul', ['x', 'W'], ['a']), node('MatMul', ['x', 'V'], ['b'])],
          inputs: [value('x', [4, 32])],
          outputs: [value('a', [4, 32]), value('b', [4, 32])],
          initializers: [weight('W', 32, 32), weight('V', 32, 32)],
        }),
      ),
    );
    const names = made.proto.graph!.node.map((each) => each.name);
    expect(new Set(names).size).toBe(names.length);
    const optimized = path.join(made.folder, 'optimized.onnx');
    await ortRun(made.output, { x: feed(4, 32) }, { optimizedModelFilePath: optimized });
    const fused = operators(fromBinary(ModelProtoSchema, readFileSync(optimized)));
    expect(fused.sort()).toEqual(['DynamicQuantizeLinear', 'MatMulIntegerToFloat', 'MatMulIntegerToFloat']);
  });

  it('fuses a MatMul of an activation of its own to DynamicQuantizeMatMul', async () => {
    const made = await quantized(twoGemms());
    const optimized = path.join(made.folder, 'optimized.onnx');
    await ortRun(made.output, { x: feed(3, 20) }, { optimizedModelFilePath: optimized });
    const fused = operators(fromBinary(ModelProtoSchema, readFileSync(optimized)));
    expect(fused).toEqual(['DynamicQuantizeMatMul', 'DynamicQuantizeMatMul']);
  });

  it.each([true, false])(
    'takes a head before its tied embedding, per channel %s, an assertion in 1.32',
    async (perChannel) => {
      const tied = (opset: number) =>
        model(
          graph({
            nodes: [
              node('MatMul', ['x', 'E'], ['h']),
              node('Gather', ['E', 'ids'], ['e']),
              node('Add', ['h', 'e'], ['y']),
            ],
            inputs: [value('x', [5, 16]), value('ids', [5], DataType.INT64)],
            outputs: [value('y', [5, 16])],
            initializers: [weight('E', 16, 16)],
          }),
          { opset },
        );
      const ids: OrtFeed = { dims: [5], data: BigInt64Array.of(0n, 3n, 15n, 7n, 7n) };
      for (const opset of [11, 17]) {
        const made = await quantized(tied(opset), { perChannel });
        expect(made.proto.graph!.initializer.filter((each) => each.dims.length === 2)).toHaveLength(1);
        await expectAlike(made, { x: feed(5, 16), ids });
      }
    },
  );

  it('quantizes activations that are all positive in a model of opset 10, on which the chain of 1.32 breaks', async () => {
    const made = await quantized(
      model(
        graph({
          nodes: [node('MatMul', ['x', 'W'], ['y'])],
          inputs: [value('x', [4, 16])],
          outputs: [value('y', [4, 12])],
          initializers: [weight('W', 16, 12)],
        }),
        { opset: 10, irVersion: 5 },
      ),
    );
    const x = { dims: [4, 16], data: Float32Array.from({ length: 64 }, () => 2 + random.next()) };
    await expectAlike(made, { x }, 0.999);
  });

  it("leaves the standard's Attention alone, which 1.32 takes for ONNX Runtime's", async () => {
    const attention = model(
      graph({
        nodes: [node('Attention', ['q', 'K', 'v'], ['h']), node('MatMul', ['h', 'W'], ['y'])],
        inputs: ['q', 'v'].map((name) => value(name, [1, 2, 4, 8])),
        outputs: [value('y', [1, 2, 4, 8])],
        initializers: [weight('K', 1, 2, 4, 8), weight('W', 8, 8)],
      }),
      { opset: 23, irVersion: 10 },
    );
    expect(operators((await quantized(attention)).proto)).toContain('Attention');
  });
});

describe('older models', () => {
  it('raises what changed between operator sets 9 and 11, and computes the same', async () => {
    const nodes = [
      node('Slice', ['x'], ['s'], { axes: { ints: [2, 3] }, starts: { ints: [1, -5] }, ends: { ints: [8, 9000] } }),
      node('Clip', ['s'], ['c'], { min: { float: -1 }, max: { float: 0.75 } }),
      node('Clip', ['c'], ['c2'], { max: { float: 0.5 } }),
      node('Pad', ['c2'], ['p'], { pads: { ints: [0, 0, 1, 0, 0, 0, 0, 2] }, value: { float: 0.25 } }),
      node('Upsample', ['p', 'scales'], ['u'], { mode: 'nearest' }),
      node('Upsample', ['p', 'scales'], ['l'], { mode: 'linear' }),
      node('TopK', ['u'], ['t', 'i'], { axis: 3, k: 4 }),
      node('Scatter', ['t', 'where', 'what'], ['w'], { axis: 3 }),
      node('BatchNormalization', ['w', 'one', 'one', 'one', 'one'], ['n']),
      node('MatMul', ['x', 'W'], ['m']),
    ];
    const made = await quantized(
      model(
        graph({
          nodes,
          inputs: [value('x', [1, 1, 8, 8])],
          outputs: [value('l', [1, 1, 16, 21]), value('n', [1, 1, 16, 4]), value('m', [1, 1, 8, 8])],
          initializers: [
            weight('W', 8, 8),
            floats('scales', [4], [1, 1, 2, 3]),
            int64s('where', [1, 1, 1, 1], [2]),
            floats('what', [1, 1, 1, 1], [5]),
            floats('one', [1], [1]),
          ],
        }),
        { opset: 9, irVersion: 4 },
      ),
    );
    expect(made.proto.opsetImport[0]!.version).toBe(11n);
    expect(operators(made.proto)).toContain('MatMulInteger');
    const x = feed(1, 1, 8, 8);
    const [reference, result] = [await ortRun(made.source, { x }), await ortRun(made.output, { x })];
    expect(result.n).toEqual(reference.n);
    expect(result.l).toEqual(reference.l);
  });

  it('stores weights INT8 where the operator set cannot be raised, and says why', async () => {
    const made = await quantized(
      model(
        graph({
          nodes: [node('Dropout', ['x'], ['d', 'mask']), node('MatMul', ['d', 'W'], ['y'])],
          inputs: [value('x', [4, 40])],
          outputs: [value('y', [4, 40]), value('mask', [4, 40])],
          initializers: [weight('W', 40, 40)],
        }),
        { opset: 9, irVersion: 4 },
      ),
    );
    expect(made.proto.opsetImport[0]!.version).toBe(9n);
    expect(operators(made.proto)).toEqual(['Cast', 'Mul', 'Dropout', 'MatMul']);
  });

  it('takes initializers of IR 3, which are inputs too, for the constants they are', async () => {
    const made = await quantized(
      model(
        graph({
          nodes: [node('MatMul', ['x', 'W'], ['h']), node('Add', ['h', 'b'], ['y'])],
          inputs: [value('x', [4, 16]), value('W', [16, 8]), value('b', [8])],
          outputs: [value('y', [4, 8])],
          initializers: [weight('W', 16, 8), weight('b', 8)],
        }),
        { opset: 8, irVersion: 3 },
      ),
    );
    expect(made.proto.graph!.input.map((each) => each.name)).toEqual(['x']);
    await expectAlike(made, { x: feed(4, 16) });
  });
});

function transposed({ dims, data }: OrtFeed, perm: number[]): OrtFeed {
  const shape = perm.map((axis) => dims[axis]!);
  const strides = dims.map((_, axis) => dims.slice(axis + 1).reduce((a, b) => a * b, 1));
  const result = new Float32Array(data.length);
  for (let i = 0; i < result.length; i += 1) {
    let rest = i;
    let from = 0;
    for (let k = shape.length - 1; k >= 0; k -= 1) {
      from += (rest % shape[k]!) * strides[perm[k]!]!;
      rest = Math.floor(rest / shape[k]!);
    }
    result[i] = data[from] as number;
  }
  return { dims: shape, data: result };
}
