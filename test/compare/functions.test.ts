import path from 'node:path';
import { expect, test } from 'vitest';
import { compare } from '../../src/compare/index.ts';
import { quantize } from '../../src/quantize/index.ts';
import { readReceipt, silentLog } from '../../src/receipt/index.ts';
import { validate } from '../../src/validate/index.ts';
import { floats, graph, model, modelFunction, node, saveExternalModel, value } from '../support/onnx-builder.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const WIDTH = 64;

/** A MatMul of the main graph, then two calls of a function that holds weights in a function that it calls. */
function network(scale = 1) {
  const random = seeded(11);
  const weights = (name: string, factor = 1) =>
    floats(
      name,
      [WIDTH, WIDTH],
      random.floats(WIDTH * WIDTH, 1 / 8).map((each) => each * factor),
    );
  const first = weights('W');
  const inner = weights('', scale);
  const multiply = [node('Constant', [], ['k'], { value: inner }), node('MatMul', ['i', 'k'], ['o'])];
  const bend = [node('Multiply', ['i'], ['m'], {}, { domain: 'local' }), node('Tanh', ['m'], ['o'])];
  const call = (input: string, output: string, name: string) =>
    node('Bend', [input], [output], {}, { domain: 'local', name });
  return model(
    graph({
      nodes: [
        node('MatMul', ['x', 'W'], ['h'], {}, { name: 'plain' }),
        call('h', 'a', 'one'),
        node('MatMul', ['a', 'V'], ['b'], {}, { name: 'between' }),
        call('b', 'y', 'two'),
      ],
      inputs: [value('x', ['batch', WIDTH])],
      outputs: [value('y', ['batch', WIDTH])],
      initializers: [first, weights('V')],
    }),
    {
      domains: { local: 1 },
      functions: [
        modelFunction({ domain: 'local', name: 'Bend', inputs: ['i'], outputs: ['o'], nodes: bend }),
        modelFunction({ domain: 'local', name: 'Multiply', inputs: ['i'], outputs: ['o'], nodes: multiply }),
      ].map((each) => {
        each.opsetImport.push({ ...each.opsetImport[0]!, domain: 'local', version: 1n });
        return each;
      }),
    },
  );
}

const few = { threads: 1, maxSeconds: 1 };

test('functions of a model are left alone, which the plan says, and pass through validate and compare', async () => {
  const folder = temp();
  const reference = saveExternalModel(folder, network(), 'model.onnx');
  const output = path.join(folder, 'model_int8.onnx');
  const { report } = await quantize({ model: reference, output }, { log: silentLog });
  const { results } = await readReceipt(report);
  expect(results).toMatchObject({ nodesQuantized: 2 });
  expect((results as { notes: string[] }).notes).toContainEqual(
    "The model's own functions (2) are left as they are. They hold 1 FP32 tensor, 16384 bytes: export the model with its functions inlined to have those quantized.",
  );
  const checked = await validate({ model: output, ...few, runs: 5 }, { log: silentLog });
  expect(checked.failures).toEqual([]);
  const alike = await compare({ reference, model: output, ...few, count: 2 });
  expect(alike.verdict).toBe('pass');

  const source = saveExternalModel(folder, network(4), 'source.onnx');
  const damaged = path.join(folder, 'damaged.onnx');
  await quantize({ model: source, output: damaged }, { log: silentLog });
  const { verdict, figures } = await compare({ reference, model: damaged, ...few, count: 2 });
  expect(verdict).toBe('fail');
  const [worst, next, third] = figures.diagnosis!.layers;
  expect([worst!.nodes, next!.nodes].sort()).toEqual([['one'], ['two']]);
  expect(next!.relativeError).toBeGreaterThan(5 * third!.relativeError);
});
