import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { assertFits, memoryNeed } from '../../src/compare/memory.ts';
import { DataType, type ModelProto, readModel } from '../../src/model/index.ts';
import { quantize } from '../../src/quantize/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { loadSamples, memoryOf, openSession } from '../../src/runtime/index.ts';
import { floats, graph, int64s, model, node, saveExternalModel, saveModel, value } from '../support/onnx-builder.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const SIZE = 2048;
const MATRIX = 4 * SIZE * SIZE;
const random = seeded(5).floats(SIZE * SIZE, 0.01);

const product = (name: string) =>
  model(
    graph({
      nodes: [node('MatMul', ['x', 'W'], ['y'], {}, { name })],
      inputs: [value('x', [1, SIZE])],
      outputs: [value('y', [1, SIZE])],
      initializers: [floats('W', [SIZE, SIZE], random)],
    }),
  );
const lookUp = () =>
  model(
    graph({
      nodes: [node('Gather', ['W', 'i'], ['y'])],
      inputs: [value('i', [1, 4], DataType.INT64)],
      outputs: [value('y', [1, 4, SIZE])],
      initializers: [floats('W', [SIZE, SIZE], random)],
    }),
  );
const wide = () =>
  model(
    graph({
      nodes: [node('Expand', ['x', 'shape'], ['y'])],
      inputs: [value('x', [1])],
      outputs: [value('y', [MATRIX / 4])],
      initializers: [int64s('shape', [1], [MATRIX / 4])],
    }),
  );

const need = async (file: string, outputBytes = 0, sizes = new Map<string, number>()) =>
  memoryNeed(await readModel(file), outputBytes, sizes);

describe.skipIf(!existsSync('/proc/self/status'))('what is said to be needed at least is really taken', () => {
  /** Memory of the child's own: pages that no file can give back. */
  const ownBytes = (pid: number) =>
    Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;
  const CASES: [string, ModelProto, typeof saveModel, 'dynamic' | 'weight-only' | undefined, number][] = [
    ['a matrix in external data is packed', product('m'), saveExternalModel, undefined, MATRIX],
    ['a matrix in the graph file', product('m'), saveModel, undefined, MATRIX],
    ['a quantized matrix', product('m'), saveExternalModel, 'dynamic', MATRIX / 4],
    ['a matrix that is dequantized', product('m'), saveExternalModel, 'weight-only', MATRIX],
    ['a table in external data stays there', lookUp(), saveExternalModel, undefined, 0],
    ['outputs count twice', wide(), saveModel, undefined, 2 * MATRIX],
  ];
  test.each(CASES)('%s', async (_, proto, save, method, known) => {
    const folder = temp();
    let file = save(folder, proto, 'm.onnx');
    if (method) {
      const output = path.join(folder, 'q.onnx');
      await quantize({ model: file, output, method }, { log: silentLog });
      file = output;
    }
    const { least, expected } = await need(file, proto.graph!.node[0]!.opType === 'Expand' ? MATRIX : 0);
    expect(least).toBeGreaterThanOrEqual(25e6 + known);
    expect(least).toBeLessThan(25e6 + known + 0.02 * MATRIX);
    const session = await openSession({ model: file, threads: 1 });
    try {
      const samples = await loadSamples(undefined, session.load.inputs, {});
      await session.run(await samples.get(0), { outputs: 'summary' });
      // Sizes differ a little with versions of Node.js.
      expect(ownBytes(session.pid)).toBeGreaterThan(least - 10e6);
      expect(expected).toBeGreaterThan(least);
      expect(memoryOf(session.pid)!.peakBytes).toBeGreaterThan(least);
    } finally {
      await session.close();
    }
  });
});

test('what cannot fit is refused with the figures, what can is not', async () => {
  const file = saveExternalModel(temp(), product('m'), 'm.onnx');
  const { least } = await need(file);
  expect(() => assertFits('model', needing(least), least)).not.toThrow();
  expect(() => assertFits('model', needing(least), least - 1)).toThrow(/^The model needs at least 41\.8 MB of memory/);
});

function needing(least: number) {
  return { least, held: least - 25e6, outputs: 0, expected: least };
}

test('intermediate results count by the shapes that stand in the graph, as long as somebody reads them', async () => {
  const values = (dims: (number | string)[]) =>
    saveModel(
      temp(),
      model(
        graph({
          nodes: [
            node('Sin', ['x'], ['a']),
            node('Cos', ['a'], ['b']),
            node('Add', ['a', 'b'], ['c']),
            node('Sin', ['c'], ['d']),
            node('ReduceSum', ['d'], ['y'], { keepdims: 0 }),
          ],
          inputs: [value('x', dims)],
          outputs: [value('y', [])],
          valueInfo: ['a', 'b', 'c', 'd'].map((name) => value(name, dims)),
        }),
      ),
      'm.onnx',
    );
  const none = (await need(values([1, 1]))).expected;
  // a, b and c at once.
  expect((await need(values([1000, 1000]))).expected - none).toBeCloseTo(3 * 4e6, -2);
  const file = values(['batch', 1000]);
  expect((await need(file, 0, new Map([['batch', 500]]))).expected - none).toBeCloseTo(3 * 2e6, -2);
});
