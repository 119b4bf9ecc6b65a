import path from 'node:path';
import { expect, it } from 'vitest';
import { readModel, writeModel } from '../../src/model/index.ts';
import { raiseOpset } from '../../src/quantize/graph/opset.ts';
import { type AttributeValue, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { type OrtFeed, ortRun } from '../support/ort-run.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const random = seeded(13);
const x: OrtFeed = { dims: [2, 3, 4, 6], data: random.floats(144) };

const CASES: [name: string, opType: string, outputs: number, attributes: Record<string, AttributeValue>][] = [
  ['Split into equal parts', 'Split', 2, { axis: 3 }],
  ['Split by lengths', 'Split', 3, { axis: -1, split: { ints: [1, 2, 3] } }],
  ['ReduceSum over axes', 'ReduceSum', 1, { axes: { ints: [1, -1] }, keepdims: 0 }],
  ['ReduceSum over all', 'ReduceSum', 1, {}],
  ['Unsqueeze', 'Unsqueeze', 1, { axes: { ints: [0, 3] } }],
  ['Softmax over the last axis', 'Softmax', 1, { axis: 3 }],
  ['Softmax over the axes from 1 on', 'Softmax', 1, {}],
  ['Softmax over the last two axes', 'Softmax', 1, { axis: 2 }],
  ['Softmax over all', 'Softmax', 1, { axis: 0 }],
  ['LogSoftmax over the axes from -3 on', 'LogSoftmax', 1, { axis: -3 }],
  ['Hardmax over the axes from 2 on', 'Hardmax', 1, { axis: 2 }],
];

it.each(CASES)('operator set 13 computes the same: %s', async (_, opType, count, attributes) => {
  const outputs = Array.from({ length: count }, (_each, i) => `y${i}`);
  const main = graph({
    nodes: [node('Relu', ['x'], ['r']), node(opType, ['r'], outputs, attributes)],
    inputs: [value('x', [2, 3, 4, 6])],
    outputs: outputs.map((name) => value(name, [])),
  });
  // Not even the rank of what comes out is known.
  for (const { type } of main.output) if (type?.value.case === 'tensorType') delete type.value.value.shape;
  const file = saveModel(temp(), model(main, { opset: 11, irVersion: 6 }));
  const raised = raiseOpset(await readModel(file), 13);
  if ('obstacle' in raised) throw new Error(raised.obstacle);
  const made = path.join(temp(), 'raised.onnx');
  await writeModel(raised.model, made);
  expect((await readModel(made)).proto.opsetImport[0]!.version).toBe(13n);
  const [before, after] = [await ortRun(file, { x }), await ortRun(made, { x })];
  for (const name of outputs) {
    expect(after[name]!.dims).toEqual(before[name]!.dims);
    for (const [at, expected] of (before[name]!.data as Float32Array).entries()) {
      expect(Math.abs(Number(after[name]!.data[at]) - expected)).toBeLessThan(1e-5);
    }
  }
});

it('Squeeze takes its axes as an input', async () => {
  const main = graph({
    nodes: [
      node('Unsqueeze', ['x'], ['u'], { axes: { ints: [1] } }),
      node('Squeeze', ['u'], ['y'], { axes: { ints: [1] } }),
    ],
    inputs: [value('x', [2, 3, 4, 6])],
    outputs: [value('y', [2, 3, 4, 6])],
  });
  const raised = raiseOpset(await readModel(saveModel(temp(), model(main, { opset: 12 }))), 13);
  if ('obstacle' in raised) throw new Error(raised.obstacle);
  const made = path.join(temp(), 'raised.onnx');
  await writeModel(raised.model, made);
  expect((await ortRun(made, { x })).y).toEqual(x);
});
