import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { DataType } from '../../src/model/enums.ts';
import { TensorProtoSchema } from '../../src/model/onnx_pb.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { difference } from '../../src/validate/expected.ts';
import { type ValidateOptions, validate } from '../../src/validate/index.ts';
import { bytesOf, constant, floats, graph, model, node, saveModel, tensor, value } from '../support/onnx-builder.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

/** y = 2 x; `declared` is what the model says y's shape is. */
const doubling = (declared: number[] = [1, 4]) =>
  model(
    graph({
      inputs: [value('x', [1, 4])],
      nodes: [node('Mul', ['x', 'two'], ['y'])],
      outputs: [value('y', declared)],
      initializers: [floats('two', [], [2])],
    }),
  );

/** A model that is fed nothing. */
const fixed = () =>
  model(graph({ nodes: [constant(floats('c', [2], [1, 2])), node('Neg', ['c'], ['y'])], outputs: [value('y', [2])] }));

function testData(folder: string, files: Record<string, number[]>, set = 'test_data_set_0', name = ''): void {
  mkdirSync(path.join(folder, set), { recursive: true });
  for (const [file, values] of Object.entries(files)) {
    const dims = file.startsWith('in') || values.length === 4 ? [1, values.length] : [values.length];
    const proto = create(TensorProtoSchema, { ...floats(name, dims, values) });
    writeFileSync(path.join(folder, set, `${file}.pb`), toBinary(TensorProtoSchema, proto));
  }
}

async function check(folder: string, options: Partial<ValidateOptions> = {}) {
  const samples = path.join(folder, 'test_data_set_0');
  const { verdict, failures, receipt } = await validate(
    { model: path.join(folder, 'model.onnx'), samples, runs: 10, maxSeconds: 1, threads: 1, ...options },
    { log: silentLog },
  );
  const inference = receipt.results.checks.find(({ name }) => name === 'inference')!;
  return { verdict, failures, findings: inference.findings, figures: inference.figures };
}

describe('ONNX test data', () => {
  test('a model that answers as expected passes', async () => {
    const folder = temp();
    saveModel(folder, doubling());
    testData(folder, { input_0: [1, 2, 3, 4], output_0: [2, 4, 6, 8] });
    const { failures, figures } = await check(folder, { rtol: 0, atol: 0 });
    expect(failures).toEqual([]);
    expect(figures).toContainEqual({ name: 'Largest error against the expected outputs', value: 0, unit: '' });
  });

  test('one that does not fails where a tolerance is given, and is noted where none is', async () => {
    const folder = temp();
    saveModel(folder, doubling());
    testData(folder, { input_0: [1, 2, 3, 4], output_0: [2, 4, 6, 8.5] });
    const strict = await check(folder, { rtol: 0.01 });
    expect(strict.verdict).toBe('fail');
    expect(strict.failures).toEqual([
      expect.stringMatching(
        /^With rtol 0\.01 and atol 1e-7 output y differs from .*output_0\.pb in 1 of 4 values, by 0\.5 at most: /,
      ),
    ]);
    expect((await check(folder, { atol: 0.5 })).failures).toEqual([]);
    const lenient = await check(folder);
    expect(lenient.failures).toEqual([]);
    expect(lenient.findings).toContainEqual(
      expect.stringMatching(/differs from .* Give rtol or atol to make that a limit\.$/),
    );
  });

  test('an output of another shape or name is said', async () => {
    const folder = temp();
    saveModel(folder, doubling());
    testData(folder, { input_0: [1, 2, 3, 4], output_0: [2, 4], output_1: [1] });
    const { failures, findings } = await check(folder, { rtol: 1 });
    expect(failures).toEqual([expect.stringMatching(/output y is float32\[1,4\] where .* has float32\[2\]/)]);
    expect(findings).toContainEqual(
      expect.stringMatching(/output_1\.pb is for output 1, which the model does not have/),
    );
  });

  test('what is no tensor is noted', async () => {
    const folder = temp();
    saveModel(folder, doubling());
    testData(folder, { input_0: [1, 2, 3, 4] });
    const text = toBinary(TensorProtoSchema, tensor('y', DataType.STRING, [1], { stringData: [Buffer.from('cat')] }));
    writeFileSync(path.join(folder, 'test_data_set_0', 'output_0.pb'), text);
    const { findings } = await check(folder, { rtol: 1 });
    expect(findings).toContainEqual(expect.stringMatching(/output_0\.pb was not compared with/));
  });

  test('a set without inputs works for a model without any', async () => {
    const folder = temp();
    saveModel(folder, fixed());
    testData(folder, { output_0: [-1, -2] });
    const { figures, failures } = await check(folder, { rtol: 0 });
    expect(failures.filter((failure) => failure.includes('rtol'))).toEqual([]);
    expect(figures).toContainEqual({ name: 'Largest error against the expected outputs', value: 0, unit: '' });
  });

  test('a set without inputs is refused for a model that has some', async () => {
    const folder = temp();
    saveModel(folder, doubling());
    testData(folder, { output_0: [2, 4, 6, 8] });
    await expect(check(folder)).rejects.toThrow(/holds no input_0\.pb/);
  });
});

test('a shape that is not the declared one is a warning', async () => {
  const folder = temp();
  // The shape is what is fed, so that no runtime knows it before.
  const reshaping = graph({
    inputs: [value('x', [1, 2])],
    nodes: [
      node('Cast', ['x'], ['sizes'], { to: DataType.INT64 }),
      node('Squeeze', ['sizes'], ['shape']),
      node('Reshape', ['w', 'shape'], ['y']),
    ],
    outputs: [value('y', [1, 4])],
    initializers: [floats('w', [4], [1, 2, 3, 4])],
  });
  saveModel(folder, model(reshaping));
  testData(folder, { input_0: [2, 2] });
  const { failures, findings } = await check(folder);
  expect(failures).toEqual([]);
  expect(findings).toContainEqual('Output y has the shape [2,2], but the model declares [1,4].');
});

test('NaN equals NaN, an infinity its like, and nothing else', () => {
  const of = (...values: number[]) => ({
    dtype: 'float32' as const,
    dims: [values.length],
    data: bytesOf(Float32Array.from(values)),
  });
  const { NaN: nan, POSITIVE_INFINITY: infinity } = Number;
  expect(difference(of(nan, infinity, 1), of(nan, infinity, 1), 0, 0)).toEqual({ beyond: 0, largest: 0, elements: 3 });
  expect(difference(of(nan, infinity, 1), of(1, -infinity, infinity), 1, 1)).toMatchObject({ beyond: 3 });
});
