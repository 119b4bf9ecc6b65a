import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { DataType } from '../../src/model/enums.ts';
import { ModelProtoSchema } from '../../src/model/onnx_pb.ts';
import {
  type AttributeValue,
  floats,
  graph,
  int64s,
  model,
  node,
  saveModel,
  tensor,
  value,
} from '../support/onnx-builder.ts';
import { type OrtFeed, ortRun } from '../support/ort-run.ts';
import { seeded } from '../support/random.ts';
import { quantizeStatic, saveSamples } from '../support/static-run.ts';
import { useTemp } from '../support/temp.ts';
import { cosine } from './real-models.ts';

const temp = useTemp();
const random = seeded(16);
const SIZE = 48;
const image = (): OrtFeed => ({ dims: [1, 3, SIZE, SIZE], data: random.floats(3 * SIZE * SIZE) });

type Step = [opType: string, attributes?: Record<string, AttributeValue>, ...inputs: string[]];

/** A row of operators between convolutions of 32 channels, each reading the one before it. */
function row(steps: readonly Step[], initializers: Parameters<typeof graph>[0]['initializers'] = []) {
  const conv = (name: string, outputs: number, inputs: number, kernel: number) =>
    floats(
      name,
      [outputs, inputs, kernel, kernel],
      random.floats(outputs * inputs * kernel ** 2, Math.sqrt(2 / (inputs * kernel ** 2))),
    );
  const pads = { ints: [1, 1, 1, 1] };
  const nodes = [
    node('Conv', ['x', 'A'], ['u'], { pads }, { name: 'first' }),
    node('Conv', ['u', 'A2'], ['v0'], { pads }, { name: 'in' }),
  ];
  for (const [index, [opType, attributes = {}, ...inputs]] of steps.entries()) {
    const read = inputs.length > 0 ? inputs.map((name) => (name === '$' ? `v${index}` : name)) : [`v${index}`];
    const outputs = opType === 'Split' ? [`v${index + 1}`, `rest${index}`] : [`v${index + 1}`];
    nodes.push(node(opType, read, outputs, attributes, { name: `${index} ${opType}` }));
  }
  nodes.push(
    node('Conv', [`v${steps.length}`, 'B'], ['w'], { pads }, { name: 'second' }),
    node('Conv', ['w', 'C'], ['y'], {}, { name: 'last' }),
  );
  const main = graph({
    nodes,
    inputs: [value('x', [1, 3, SIZE, SIZE])],
    outputs: [value('y', [null, null, null, null])],
    initializers: [
      conv('A', 32, 3, 3),
      conv('A2', 32, 32, 3),
      conv('B', 32, 32, 3),
      conv('C', 4, 32, 1),
      ...initializers,
    ],
  });
  return saveModel(temp(), model(main, { opset: 17 }));
}

/** Quantizes, and returns the forms of the operators and what the runtime makes of them. */
async function made(file: string) {
  const data = saveSamples(temp(), Array.from({ length: 10 }, image));
  const { plan, model: output } = await quantizeStatic(temp(), file, data);
  const x = image();
  const optimized = path.join(temp(), 'optimized.onnx');
  const [expected, found] = [
    await ortRun(file, { x }),
    await ortRun(output, { x }, { optimizedModelFilePath: optimized }),
  ];
  const { node: nodes } = fromBinary(ModelProtoSchema, readFileSync(optimized)).graph!;
  return {
    plan,
    alike: cosine(expected.y!.data as Float32Array, found.y!.data as Float32Array),
    computed: nodes.map(({ opType }) => opType),
  };
}

describe('operators between convolutions', () => {
  it('that only move elements move bytes', async () => {
    const steps: Step[] = [
      ['DepthToSpace', { blocksize: 2 }],
      ['SpaceToDepth', { blocksize: 2 }],
      ['Pad', {}, '$', 'pads'],
      ['Slice', {}, '$', 'starts', 'ends'],
      ['Pad', { mode: 'reflect' }, '$', 'pads'],
      ['Pad', {}, '$', 'pads', 'zero'],
      ['Unsqueeze', {}, '$', 'axis'],
      ['Expand', {}, '$', 'expanded'],
      ['Slice', {}, '$', 'from', 'to', 'axis'],
      ['Squeeze', {}, '$', 'axis'],
      ['Transpose', { perm: { ints: [0, 2, 3, 1] } }],
      ['Tile', {}, '$', 'repeats'],
      ['Reshape', {}, '$', 'shape'],
    ];
    const side = SIZE + 4;
    const file = row(steps, [
      int64s('pads', [8], [0, 0, 1, 1, 0, 0, 1, 1]),
      floats('zero', [], [0]),
      int64s('starts', [4], [0, 0, 1, 1]),
      int64s('ends', [4], [1, 32, SIZE + 1, SIZE + 1]),
      int64s('axis', [1], [0]),
      int64s('expanded', [5], [2, 1, 32, side, side]),
      int64s('from', [1], [1]),
      int64s('to', [1], [2]),
      int64s('repeats', [4], [1, 1, 2, 1]),
      int64s('shape', [4], [1, 32, side, 2 * side]),
    ]);
    const { plan, alike, computed } = await made(file);
    const kept = plan.nodes.filter(({ form }) => form !== 'static').map(({ name }) => name);
    expect(kept).toEqual(['first', 'last']);
    // In and out once; nothing between.
    expect(computed.filter((each) => each === 'QuantizeLinear')).toHaveLength(1);
    expect(computed.filter((each) => each === 'DequantizeLinear').length).toBeLessThanOrEqual(2);
    expect(alike).toBeGreaterThan(0.99);
  });

  it('that compute have kernels of 8 bits', async () => {
    const conv: Step = ['Conv', { pads: { ints: [1, 1, 1, 1] } }, '$', 'B'];
    const steps: Step[] = [
      ['Sigmoid'],
      ['Mul', {}, '$', 'v0'],
      conv,
      ['Where', {}, 'mask', '$', 'v0'],
      conv,
      ['LeakyRelu', { alpha: 0.25 }],
      conv,
      ['HardSwish'],
      conv,
      ['Add', {}, '$', 'v7'],
      ['GlobalAveragePool'],
      ['Sigmoid'],
      ['Mul', {}, '$', 'v10'],
      ['Concat', { axis: 1 }, '$', 'v10'],
      ['Split', { axis: 1 }],
    ];
    const mask = tensor('mask', DataType.BOOL, [1, 32, 1, 1], {
      rawData: Uint8Array.from({ length: 32 }, (_, i) => i % 2),
    });
    const { plan, alike, computed } = await made(row(steps, [mask]));
    const kept = plan.nodes.filter(({ form }) => form !== 'static').map(({ name }) => name);
    expect(kept).toEqual(['first', 'last']);
    const kernels = ['Sigmoid', 'Mul', 'Where', 'LeakyRelu', 'Add', 'GlobalAveragePool', 'Concat'];
    expect(computed).toEqual(expect.arrayContaining(kernels.map((each) => `QLinear${each}`)));
    expect(alike).toBeGreaterThan(0.98);
  });

  it('that have none stay FLOAT, and the plan says so', async () => {
    const { plan, alike } = await made(
      row(
        [
          ['Sub', {}, '$', 'v0'],
          ['Abs'],
          ['Add', {}, '$', 'v0'],
          ['InstanceNormalization', {}, '$', 'one', 'nought'],
          ['Pad', {}, '$', 'pads', 'half'],
        ],
        [
          floats('one', [32], new Float32Array(32).fill(1)),
          floats('nought', [32], new Float32Array(32)),
          int64s('pads', [8], [0, 0, 1, 1, 0, 0, 1, 1]),
          floats('half', [], [0.5]),
        ],
      ),
    );
    const reasonOf = (name: string) => plan.nodes.find((each) => each.name === name)?.reason;
    expect(reasonOf('0 Sub')).toBe('ONNX Runtime computes no Sub in 8 bits on a CPU');
    expect(reasonOf('3 InstanceNormalization')).toBe(
      'ONNX Runtime computes no InstanceNormalization in 8 bits on a CPU',
    );
    expect(reasonOf('4 Pad')).toContain('pads with something else than a constant 0');
    expect(alike).toBeGreaterThan(0.99);
  });
});
