import { expect, test } from 'vitest';
import { DataType, declaredInputs, declaredOutputs, readModel } from '../../src/model/index.ts';
import { floats, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

test('inputs are what a caller feeds, with symbolic and unknown sizes', async () => {
  const file = saveModel(
    temp(),
    model(
      graph({
        nodes: [node('MatMul', ['x', 'W'], ['y'])],
        inputs: [value('x', ['batch', null, 4]), value('W', [4, 2])],
        outputs: [value('y', ['batch', null, 2])],
        initializers: [floats('W', [4, 2], new Float32Array(8))],
      }),
    ),
  );
  const read = await readModel(file);
  expect(declaredInputs(read)).toEqual([{ name: 'x', dtype: DataType.FLOAT, dims: ['batch', '', 4] }]);
  expect(declaredOutputs(read)).toEqual([{ name: 'y', dtype: DataType.FLOAT, dims: ['batch', '', 2] }]);
});
