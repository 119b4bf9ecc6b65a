import { expect, test } from 'vitest';
import { looksLikeLogits } from '../../src/compare/logits.ts';
import { indexGraphs, readModel } from '../../src/model/index.ts';
import { graph, model, node, value } from '../support/onnx-builder.ts';
import { realModels } from '../support/real-models.ts';

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
