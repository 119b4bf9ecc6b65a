import { expect, test } from 'vitest';
import { indexRanges } from '../../src/inputs/ids.ts';
import { DataType, readModel } from '../../src/model/index.ts';
import { floats, graph, int64s, model, node, saveModel, tensor, value } from '../support/onnx-builder.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

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

test('ids within a table: with an offset, clipped, and from the end where they are negative', async () => {
  const names = ['moved', 'less', 'clipped', 'wrapped', 'both', 'far'];
  const file = saveModel(
    temp(),
    model(
      graph({
        nodes: [
          node('Add', ['two', 'moved'], ['m']),
          node('Gather', ['table', 'm'], ['a']),
          node('Sub', ['less', 'two'], ['l']),
          node('Gather', ['table', 'l'], ['b']),
          node('Clip', ['clipped', 'two', 'five'], ['c5']),
          node('Gather', ['table', 'c5'], ['c']),
          node('Less', ['wrapped', 'zero'], ['negative']),
          node('Add', ['wrapped', 'ten'], ['w10']),
          node('Where', ['negative', 'w10', 'wrapped'], ['w']),
          node('Gather', ['table', 'w'], ['d']),
          node('Add', ['both', 'far'], ['sum']),
          node('Gather', ['table', 'sum'], ['e']),
        ],
        inputs: names.map((name) => value(name, [2], DataType.INT64)),
        outputs: ['a', 'b', 'c', 'd', 'e'].map((name) => value(name, [null])),
        initializers: [
          floats('table', [10, 2], new Float32Array(20)),
          int64s('zero', [], [0]),
          int64s('two', [1], [2]),
          int64s('five', [], [5]),
          int64s('ten', [], [10]),
        ],
      }),
    ),
  );
  expect(indexRanges(await readModel(file))).toEqual({
    moved: { low: 0, high: 7 },
    less: { low: 2, high: 11 },
    clipped: { low: 2, high: 5 },
    wrapped: { low: 0, high: 9 },
  });
});

test('ids in a graph that goes in circles', async () => {
  const circle = model(
    graph({
      nodes: [node('Where', ['c', 'ids', 'b'], ['a']), node('Cast', ['a'], ['b'], { to: DataType.INT64 })],
      inputs: [value('ids', [2], DataType.INT64), value('c', [2], DataType.BOOL)],
      outputs: [value('b', [2], DataType.INT64)],
    }),
  );
  expect(indexRanges(await readModel(saveModel(temp(), circle)))).toEqual({});
});
