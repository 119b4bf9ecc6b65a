import { expect, test } from 'vitest';
import { DataType, declaredInputs, declaredOutputs, indexRanges, readModel } from '../../src/model/index.ts';
import { floats, graph, int64s, model, node, saveModel, tensor, value } from '../support/onnx-builder.ts';
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

test('ids within a table: through Cast and Reshape, the smaller of two tables, another axis, dequantized tables', async () => {
  const file = saveModel(
    temp(),
    model(
      graph({
        nodes: [
          node('Cast', ['ids'], ['cast'], { to: DataType.INT32 }),
          node('Reshape', ['cast', 'shape'], ['flat']),
          node('Gather', ['large', 'flat'], ['a']),
          node('Gather', ['small', 'ids'], ['b']),
          node('Gather', ['wide', 'columns'], ['c'], { axis: 1 }),
          node('DequantizeLinear', ['table_q', 'scale'], ['table']),
          node('Gather', ['table', 'rows'], ['d']),
          node('Cast', ['count'], ['e'], { to: DataType.FLOAT }),
        ],
        inputs: ['ids', 'columns', 'rows', 'count'].map((name) => value(name, [2], DataType.INT64)),
        outputs: ['a', 'b', 'c', 'd', 'e'].map((name) => value(name, [null])),
        initializers: [
          int64s('shape', [1], [-1]),
          floats('large', [9, 2], new Float32Array(18)),
          floats('small', [7, 2], new Float32Array(14)),
          floats('wide', [3, 5], new Float32Array(15)),
          tensor('table_q', DataType.INT8, [4, 2], { rawData: new Uint8Array(8) }),
          floats('scale', [], [1]),
        ],
      }),
    ),
  );
  expect(indexRanges(await readModel(file))).toEqual({
    ids: { low: 0, high: 6 },
    columns: { low: 0, high: 4 },
    rows: { low: 0, high: 3 },
  });
});
