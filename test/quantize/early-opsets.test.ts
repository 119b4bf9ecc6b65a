import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import {
  DataType,
  type GraphProto,
  ModelProtoSchema,
  type NodeProto,
  type TensorProto,
} from '../../src/model/index.ts';
import { type QuantizeOptions, quantize } from '../../src/quantize/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { floats, graph, int64s, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { type OrtFeed, ortRun } from '../support/ort-run.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';
import { cosine } from './real-models.ts';

const temp = useTemp();
const random = seeded(14);
const sizeOf = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1);
const weight = (name: string, ...dims: number[]) => floats(name, dims, random.floats(sizeOf(dims), 0.3));
const feed = (...dims: number[]): OrtFeed => ({ dims, data: random.floats(sizeOf(dims)) });

/** `x` has sizes [1, 3, 4, 4] and `y` whichever come out, of that many axes. */
function image(nodes: NodeProto[], initializers: TensorProto[], rank = 4): GraphProto {
  const sizes = Array.from({ length: rank }, () => null);
  return graph({ nodes, initializers, inputs: [value('x', [1, 3, 4, 4])], outputs: [value('y', sizes)] });
}

const old = (main: GraphProto, opset: number) => model(main, { opset, irVersion: 3 });
const today = (main: GraphProto) => model(main, { opset: 13, irVersion: 7 });

async function quantized(proto: ReturnType<typeof model>, options: Partial<QuantizeOptions> = {}) {
  const folder = temp();
  const source = saveModel(folder, proto);
  const output = path.join(folder, 'int8.onnx');
  await quantize({ model: source, output, threads: 1, ...options }, { log: silentLog });
  const made = fromBinary(ModelProtoSchema, readFileSync(output));
  return { source, output, opset: Number(made.opsetImport[0]!.version), made };
}

async function similarity(one: string, other: string, x: OrtFeed) {
  const [a, b] = [await ortRun(one, { x }), await ortRun(other, { x })];
  expect(b.y!.dims).toEqual(a.y!.dims);
  return cosine(a.y!.data as Float32Array, b.y!.data as Float32Array);
}

describe('models of operator sets that ONNX Runtime still has kernels for', () => {
  const main = () =>
    image(
      [
        node('Pad', ['x'], ['p'], { pads: { ints: [0, 0, 1, 1, 0, 0, 1, 1] } }),
        node('Conv', ['p', 'K'], ['c']),
        node('Relu', ['c'], ['r']),
        node('Clip', ['r'], ['l'], { min: 0.01, max: { float: 2 } }),
        node('Concat', ['l', 'l'], ['d'], { axis: 1 }),
        node('Reshape', ['d', 'shape'], ['f']),
        node('Cast', ['f'], ['g'], { to: DataType.FLOAT }),
        node('MatMul', ['g', 'W'], ['m']),
        node('Sum', ['m', 'm'], ['s']),
        node('Softmax', ['s'], ['y']),
      ],
      [weight('K', 8, 3, 3, 3), weight('W', 256, 10), int64s('shape', [2], [1, -1])],
      2,
    );

  it.each([
    ['dynamic', {}, 11],
    ['weight-only', {}, 11],
    ['weight-only', { bits: 4 as const }, 11],
    ['fp16', {}, 6],
    ['static', { calibrationData: 'generated' }, 13],
  ] as const)('are raised and quantized by %s %o', async (method, options, opset) => {
    const made = await quantized(old(main(), 6), { method, ...options });
    expect(made.opset).toBe(opset);
    expect(await similarity(made.source, made.output, feed(1, 3, 4, 4))).toBeGreaterThan(0.99);
  });

  it('give Reshape its shape as an input', async () => {
    const nodes = [node('Reshape', ['x'], ['f'], { shape: { ints: [1, -1] } }), node('MatMul', ['f', 'W'], ['y'])];
    const made = await quantized(old(image(nodes, [weight('W', 48, 8)], 2), 4));
    expect(await similarity(made.source, made.output, feed(1, 3, 4, 4))).toBeGreaterThan(0.99);
  });
});

const MATRIX = random.floats(16);

/** The forms that no kernel is left for, each with what means the same today. */
const FORMS: [name: string, opset: number, then: NodeProto[], now: NodeProto[], constants: TensorProto[]][] = [
  ...['Add', 'Sub', 'Mul', 'Div', 'Pow'].map((operator): (typeof FORMS)[number] => [
    `${operator} that broadcasts from an axis`,
    6,
    [node('Abs', ['x'], ['a']), node(operator, ['a', 'b'], ['y'], { broadcast: 1, axis: 1 })],
    [node('Abs', ['x'], ['a']), node(operator, ['a', 'column'], ['y'])],
    [floats('b', [3], [1, 2, 3]), floats('column', [3, 1, 1], [1, 2, 3])],
  ]),
  [
    'Add that broadcasts from an axis of a value that no one describes',
    6,
    [
      node('Conv', ['x', 'K'], ['c']),
      node('Relu', ['c'], ['r']),
      node('Add', ['r', 'b'], ['s'], { broadcast: 1, axis: 1 }),
      node('Relu', ['s'], ['y']),
    ],
    [
      node('Conv', ['x', 'K'], ['c']),
      node('Relu', ['c'], ['r']),
      node('Add', ['r', 'column'], ['s']),
      node('Relu', ['s'], ['y']),
    ],
    [
      floats('K', [3, 3, 1, 1], [1, 2, 3, 4, 5, 6, 7, 8, 9]),
      floats('b', [3], [1, 2, -3]),
      floats('column', [3, 1, 1], [1, 2, -3]),
    ],
  ],
  [
    'Mul that broadcasts from the first axis, a computed value',
    6,
    [node('Neg', ['b'], ['n']), node('Mul', ['x', 'n'], ['y'], { broadcast: 1, axis: 0 })],
    [node('Neg', ['column'], ['n']), node('Mul', ['x', 'n'], ['y'])],
    [floats('b', [1, 3], [1, 2, 3]), floats('column', [1, 3, 1, 1], [1, 2, 3])],
  ],
  [
    'Add that broadcasts at the end',
    5,
    [node('Add', ['x', 'b'], ['y'], { broadcast: 1, consumed_inputs: { ints: [0, 0] } })],
    [node('Add', ['x', 'b'], ['y'])],
    [floats('b', [4], [1, 2, 3, 4])],
  ],
  [
    'PRelu with a slope per channel',
    6,
    [node('PRelu', ['x', 'b'], ['y'])],
    [node('PRelu', ['x', 'column'], ['y'])],
    [floats('b', [3], [0.5, 2, -1]), floats('column', [3, 1, 1], [0.5, 2, -1])],
  ],
  [
    'PRelu with one slope',
    5,
    [node('PRelu', ['x', 'b'], ['y'], { consumed_inputs: { ints: [0, 0] } })],
    [node('PRelu', ['x', 'b'], ['y'])],
    [floats('b', [1], [0.25])],
  ],
  [
    'BatchNormalization and Dropout that say they test',
    6,
    [
      node('BatchNormalization', ['x', 's', 'b', 'b', 's'], ['n'], { is_test: 1, spatial: 1, epsilon: 0.01 }),
      node('Dropout', ['n'], ['y'], { is_test: 1, ratio: 0.3 }),
    ],
    [node('BatchNormalization', ['x', 's', 'b', 'b', 's'], ['y'], { epsilon: 0.01 })],
    [floats('s', [3], [1, 2, 3]), floats('b', [3], [0.1, 0.2, 0.3])],
  ],
  [
    'BatchNormalization of operator set 1',
    5,
    [
      node('BatchNormalization', ['x', 's', 'b', 'b', 's'], ['y'], {
        is_test: 1,
        consumed_inputs: { ints: [0, 0, 0, 1, 1] },
      }),
    ],
    [node('BatchNormalization', ['x', 's', 'b', 'b', 's'], ['y'])],
    [floats('s', [3], [1, 2, 3]), floats('b', [3], [0.1, 0.2, 0.3])],
  ],
  [
    'Cast whose type is a word',
    5,
    [node('Cast', ['x'], ['i'], { to: 'INT32' }), node('Cast', ['i'], ['y'], { to: 'FLOAT' })],
    [node('Cast', ['x'], ['i'], { to: 6 }), node('Cast', ['i'], ['y'], { to: 1 })],
    [],
  ],
  [
    'activations that say what they write over',
    1,
    [
      ...[node('Relu', ['x'], ['a'], { consumed_inputs: { ints: [0] } }), node('Sigmoid', ['a'], ['b'])],
      ...[node('Selu', ['x'], ['c']), node('Sum', ['b', 'c'], ['y'], { consumed_inputs: { ints: [0, 0] } })],
    ],
    [
      ...[node('Relu', ['x'], ['a']), node('Sigmoid', ['a'], ['b'])],
      ...[node('Selu', ['x'], ['c'], { alpha: 1.6732, gamma: 1.0507 }), node('Sum', ['b', 'c'], ['y'])],
    ],
    [],
  ],
  [
    'Upsample by height and width',
    6,
    [node('Upsample', ['x'], ['y'], { height_scale: { float: 2 }, width_scale: { float: 3 } })],
    [
      node('Resize', ['x', '', 'scales'], ['y'], {
        mode: 'nearest',
        coordinate_transformation_mode: 'asymmetric',
        nearest_mode: 'floor',
      }),
    ],
    [floats('scales', [4], [1, 1, 2, 3])],
  ],
  [
    'Pad and Concat of operator set 1',
    1,
    [
      node('Pad', ['x'], ['p'], { paddings: { ints: [0, 0, 1, 2, 0, 0, 0, 1] }, value: 0.5 }),
      node('Concat', ['p', 'p'], ['y']),
    ],
    [node('Pad', ['x', 'pads', 'half'], ['p']), node('Concat', ['p', 'p'], ['y'], { axis: 1 })],
    [int64s('pads', [8], [0, 0, 1, 2, 0, 0, 0, 1]), floats('half', [], [0.5])],
  ],
  [
    'Gemm that broadcasts',
    6,
    [
      ...[node('Flatten', ['x'], ['f']), node('Gemm', ['f', 'W', 'b'], ['g'], { broadcast: 1, beta: 0.5 })],
      node('Reshape', ['g', 'back'], ['y']),
    ],
    [
      ...[node('Flatten', ['x'], ['f']), node('Gemm', ['f', 'W', 'b'], ['g'], { beta: 0.5 })],
      node('Reshape', ['g', 'back'], ['y']),
    ],
    [weight('W', 48, 4), floats('b', [4], [1, 2, 3, 4]), int64s('back', [4], [1, 1, 2, 2])],
  ],
];

describe('forms of before operator set 7', () => {
  it.each(FORMS)('%s', async (_, opset, then, now, constants) => {
    // Something to quantize beside it.
    const full = (nodes: NodeProto[]) => {
      const used = constants.filter(({ name }) => nodes.some(({ input }) => input.includes(name)));
      const main = image([...nodes, node('MatMul', ['x', 'M'], ['z'])], [...used, floats('M', [4, 4], MATRIX)]);
      main.output.push(value('z', [1, 3, 4, 4]));
      return main;
    };
    const made = await quantized(old(full(then), opset));
    const reference = saveModel(temp(), today(full(now)));
    expect(made.opset).toBe(11);
    const x = feed(1, 3, 4, 4);
    expect(await similarity(reference, made.output, x)).toBeGreaterThan(0.999);
  });
});

describe('what cannot be raised is named', () => {
  const product = (nodes: NodeProto[], initializers: TensorProto[] = []) =>
    graph({
      nodes: [node('MatMul', ['x', 'W'], ['m'], {}, { name: 'mm' }), ...nodes],
      initializers: [weight('W', 16, 16), ...initializers],
      inputs: [value('x', [2, 16])],
      outputs: [value('m', [2, 16])],
    });

  it('each obstacle, node by node', async () => {
    const main = product(
      [
        node('Tile', ['m', 't', 'a'], ['t1'], {}, { name: 'tile' }),
        node('LpPool', ['m'], ['l1'], { p: 2.5, kernel_shape: { ints: [1] } }, { name: 'pool' }),
        node('Cast', ['m'], ['c1'], { to: 'FLOAT17' }, { name: 'cast' }),
        node('Nothing', ['m'], ['n1'], {}, { domain: 'org.example' }),
        node('Add', ['n1', 'v'], ['a1'], { broadcast: 1, axis: 0 }, { name: 'add' }),
      ],
      [floats('t', [], [2]), floats('a', [], [0]), floats('v', [2], [1, 2])],
    );
    const proto = model(main, { opset: 1, irVersion: 3, domains: { 'org.example': 1 } });
    const file = saveModel(temp(), proto);
    const failure = await quantize({ model: file }, { log: silentLog }).catch((error: Error) => error);
    expect(failure).toMatchObject({ name: 'InputError' });
    const { message } = failure as Error;
    for (const said of [
      'operator set 1 has no',
      'Tile node "tile" has the form of before operator set 6',
      'LpPool node "pool" has p = 2.5',
      'Cast node "cast" casts to `FLOAT17`',
      'Add node "add" broadcasts from axis 0, and how many axes its inputs have is not known',
    ]) {
      expect(message).toContain(said);
    }
  });

  it('training, and lengths that are numbers', async () => {
    const main = product(
      [
        node('BatchNormalization', ['m', 's', 's', 's', 's'], ['n', 'mean'], {}, { name: 'norm' }),
        node('Split', ['m', 's'], ['p', 'q'], {}, { name: 'split' }),
      ],
      [weight('s', 16)],
    );
    await expect(quantize({ model: saveModel(temp(), old(main, 1)) }, { log: silentLog })).rejects.toThrow(
      /norm" is in the form for training; Split node "split" takes its lengths/,
    );
  });
});
