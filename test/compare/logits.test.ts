import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { compare } from '../../src/compare/index.ts';
import { looksLikeLogits, type RowsOptions, scoredOutputs } from '../../src/compare/logits.ts';
import type { StoredTensor } from '../../src/compare/metrics/outputs.ts';
import { indexGraphs, type NodeProto, readModel } from '../../src/model/index.ts';
import { bytesOf, floats, graph, int64s, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { seeded } from '../support/random.ts';
import { realModels } from '../support/real-models.ts';
import { useTemp } from '../support/temp.ts';

/** The main graph of a model whose output y is made by these operators, one behind the other, from x. */
function chain(...operators: string[]) {
  const nodes = operators.map((opType, index) =>
    node(opType, [index === 0 ? 'x' : `v${index - 1}`], [index === operators.length - 1 ? 'y' : `v${index}`]),
  );
  const proto = model(graph({ nodes, inputs: [value('x', [1, 8])], outputs: [value('y', [1, 8])] }));
  return indexGraphs({ proto }).main;
}

test.each([
  ['a matrix product', ['MatMul'], [1, 10], true],
  ['a classifier with bias and softmax', ['Gemm', 'Softmax'], [1, 10], true],
  ['scores per step, reshaped', ['MatMul', 'Add', 'Reshape'], [1, 40, 6625], true],
  ["SARAi's mel features: a product per frame", ['Gather', 'Reshape', 'MatMul'], [1, 2048, 245760], true],
  ['an image classifier', ['Conv', 'GlobalAveragePool', 'Flatten'], [1, 1000], true],
  ['a single score', ['Gemm', 'Sigmoid'], [1, 1], false],
  ['an image', ['Conv', 'Sigmoid'], [1, 1, 64, 64], false],
  ['rows of an image', ['Conv', 'Squeeze'], [1, 64, 64], false],
  ['a recurrent state', ['LSTM'], [2, 1, 128], false],
  ['normalized features', ['MatMul', 'LayerNormalization'], [1, 16, 768], false],
  ['an embedding', ['Gather'], [1, 16, 768], false],
  ['one number', ['MatMul'], [], false],
])('%s', (_, operators, dims, expected) => {
  expect(looksLikeLogits(chain(...operators), 'y', dims)).toBe(expected);
});

test('published models: text recognition answers in classes, text detection and speech do not', async () => {
  const outputOf = async (file: string) => {
    const { main } = indexGraphs(await readModel(file));
    return { main, names: main.graph.output.map(({ name }) => name) };
  };
  const recognition = await outputOf(realModels.ocrRecognition);
  expect(looksLikeLogits(recognition.main, recognition.names[0]!, [1, 40, 6625])).toBe(true);
  const detection = await outputOf(realModels.ocrDetection);
  expect(looksLikeLogits(detection.main, detection.names[0]!, [1, 1, 320, 320])).toBe(false);
  const speech = await outputOf(realModels.speech);
  for (const name of speech.names) expect(looksLikeLogits(speech.main, name, [2, 1, 64])).toBe(false);
});

describe('what stands behind an output', () => {
  /** The main graph of a model with these nodes, fed x; `w` is a constant. */
  const made = (nodes: NodeProto[]) => {
    const initializers = [floats('w', [1], [1])];
    const main = graph({ nodes, inputs: [value('x', [1, 8])], outputs: [value('y', [1, 8])], initializers });
    return looksLikeLogits(indexGraphs({ proto: model(main) }).main, 'y', [1, 8]);
  };
  const exponential = [node('GRU', ['x'], ['z']), node('Exp', ['z'], ['e']), node('ReduceSum', ['e'], ['s'])];

  test.each([
    ['a softmax written out', [...exponential, node('Div', ['e', 's'], ['y'])], true],
    [
      'one behind a Reshape',
      [...exponential, node('Div', ['e', 's'], ['p']), node('Reshape', ['p', 'w'], ['y'])],
      true,
    ],
    [
      'one by way of its reciprocal',
      [...exponential, node('Reciprocal', ['s'], ['r']), node('Mul', ['e', 'r'], ['y'])],
      true,
    ],
    ['a logarithm of a softmax', [...exponential, node('Log', ['s'], ['l']), node('Sub', ['z', 'l'], ['y'])], true],
    [
      'exponentials over another sum',
      [...exponential, node('ReduceSum', ['z'], ['o']), node('Div', ['e', 'o'], ['y'])],
      false,
    ],
    ['a product with its bias', [node('MatMul', ['x', 'w'], ['m']), node('Add', ['m', 'w'], ['y'])], true],
    [
      'a hidden state: a product added to what came before',
      [node('MatMul', ['x', 'w'], ['m']), node('Add', ['x', 'm'], ['y'])],
      false,
    ],
    [
      'a hidden state: a normalization written out',
      [
        node('MatMul', ['x', 'w'], ['m']),
        node('ReduceMean', ['m'], ['mean']),
        node('Sub', ['m', 'mean'], ['centred']),
        node('Sqrt', ['mean'], ['deviation']),
        node('Div', ['centred', 'deviation'], ['normal']),
        node('Mul', ['normal', 'w'], ['scaled']),
        node('Add', ['scaled', 'w'], ['y']),
      ],
      false,
    ],
    [
      'masked scores',
      [node('MatMul', ['x', 'w'], ['m']), node('Cast', ['x'], ['mask']), node('Where', ['mask', 'm', 'w'], ['y'])],
      true,
    ],
  ])('%s', (_, nodes, expected) => {
    expect(made(nodes)).toBe(expected);
  });
});

describe('outputs whose rows are scores', () => {
  const folder = useTemp();
  const stored = (name: string, dims: number[], values: number[]): StoredTensor => {
    const file = path.join(folder(), `${name}.bin`);
    writeFileSync(file, bytesOf(Float32Array.from(values)));
    return { name, dtype: 'float32', dims, path: file, length: values.length * 4 };
  };
  const main = chain('MatMul');
  const choose = async (outputs: StoredTensor[], options: RowsOptions) => [
    ...(await scoredOutputs(main, outputs, options)),
  ];
  const logits = () => stored('y', [2, 3], [1, 2, 3, -4, 5, 6]);
  const probabilities = () => stored('p', [2, 3], [0.2, 0.3, 0.5, 1, 0, 0]);
  const hidden = () => stored('h', [2, 3], [0.2, 0.3, 0.6, 1, 0, 0]);

  test('those that the user names, and no others', async () => {
    expect(await choose([logits(), probabilities(), hidden()], { named: ['h'], wanted: false })).toEqual(['h']);
    await expect(choose([logits()], { named: ['z'], wanted: false })).rejects.toThrow(/names z, but the outputs are y/);
    const flat = stored('flat', [6], [1, 2, 3, 4, 5, 6]);
    await expect(choose([flat], { named: ['flat'], wanted: false })).rejects.toThrow(/flat, which is float32\[6\]/);
  });

  test('else those whose rows sum to 1', async () => {
    expect(await choose([logits(), probabilities(), hidden()], { wanted: true })).toEqual(['p']);
  });

  test('else those that the graph makes as scores', async () => {
    expect(await choose([hidden(), logits()], { wanted: true })).toEqual(['y']);
  });

  test('else any rows, where a share is asked for', async () => {
    expect(await choose([hidden()], { wanted: true })).toEqual(['h']);
    expect(await choose([hidden()], { wanted: false })).toEqual([]);
  });

  test('rows of 1 with something below 0 are no probabilities', async () => {
    expect(await choose([stored('n', [1, 3], [-0.5, 0.5, 1])], { wanted: false })).toEqual([]);
  });
});

describe('a classifier of 214 classes whose exporter wrote its softmax out', () => {
  const folder = useTemp();
  const [FEATURES, STEPS, CLASSES] = [32, 40, 214];

  /** Softmax as ReduceMax, Sub, Exp, ReduceSum, Div; `percent` makes rows that sum to 100, which only the graph explains. */
  function classifier(name: string, { percent = false, noise = 0 } = {}) {
    const random = seeded(3);
    const weights = random.floats(FEATURES * CLASSES, 1);
    const changed = seeded(4)
      .floats(weights.length, noise)
      .map((each, index) => each + weights[index]!);
    const nodes = [
      node('MatMul', ['features', 'weights'], ['product']),
      node('Add', ['product', 'bias'], ['logits']),
      node('ReduceMax', ['logits'], ['greatest'], { axes: { ints: [-1] }, keepdims: 1 }),
      node('Sub', ['logits', 'greatest'], ['shifted']),
      node('Exp', ['shifted'], ['exponentials']),
      node('ReduceSum', ['exponentials', 'last_axis'], ['sum'], { keepdims: 1 }),
      node('Div', ['exponentials', 'sum'], [percent ? 'probabilities' : 'classes']),
      ...(percent ? [node('Mul', ['probabilities', 'hundred'], ['classes'])] : []),
    ];
    const main = graph({
      nodes,
      inputs: [value('features', [1, STEPS, FEATURES])],
      outputs: [value('classes', [1, STEPS, CLASSES])],
      initializers: [
        floats('weights', [FEATURES, CLASSES], changed),
        floats('bias', [CLASSES], random.floats(CLASSES, 1)),
        floats('hundred', [], [100]),
        int64s('last_axis', [1], [-1]),
      ],
    });
    return saveModel(folder(), model(main), name);
  }

  const agreementOf = async (noise: number, options: { percent?: boolean } = {}) => {
    const { figures, verdict } = await compare(
      {
        reference: classifier('reference.onnx', options),
        model: classifier('model.onnx', { ...options, noise }),
        minAgreement: 0.9,
        minSimilarity: null,
        minChannelSimilarity: null,
        diagnose: false,
        count: 5,
        maxSeconds: 0.3,
        threads: 1,
      },
      { temporaryFolder: folder() },
    );
    return { agreement: figures.agreement!, verdict };
  };

  test.each([{}, { percent: true }])('is held to the class that it names at each step: %o', async (options) => {
    const { main } = indexGraphs(await readModel(classifier('reference.onnx', options)));
    expect(looksLikeLogits(main, 'classes', [1, STEPS, CLASSES])).toBe(true);
    const sound = await agreementOf(0.01, options);
    expect(sound.agreement).toBeGreaterThan(0.9);
    expect(sound.verdict).toBe('pass');
    const broken = await agreementOf(3, options);
    expect(broken.agreement).toBeLessThan(0.5);
    expect(broken.verdict).toBe('fail');
  });
});
