import { readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { diagnose } from '../../src/compare/diagnosis/index.ts';
import { findLayers } from '../../src/compare/diagnosis/layers.ts';
import { compare } from '../../src/compare/index.ts';
import { readModel, writeModel } from '../../src/model/index.ts';
import { quantize } from '../../src/quantize/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { openSession } from '../../src/runtime/index.ts';
import { floats, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { realModels } from '../support/real-models.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

/** Multiplies every element of the initializer by `factor` and writes the model to `output`. */
async function scaled(file: string, initializer: string, factor: number, output: string): Promise<void> {
  const read = await readModel(file);
  const tensor = read.proto.graph!.initializer.find(({ name }) => name === initializer)!;
  const values = new Float32Array(new Uint8Array(tensor.rawData).buffer).map((each) => each * factor);
  tensor.rawData = new Uint8Array(values.buffer);
  await writeModel(read, output);
}

test('a real model with one layer damaged fails, and that layer is named first', async () => {
  const folder = temp();
  const reference = realModels.ocrRecognition;
  const quantized = path.join(folder, 'quantized.onnx');
  await quantize({ model: reference, output: quantized }, { log: silentLog });
  const read = await readModel(quantized);
  const scales = read.proto.graph!.initializer.filter(({ name }) => name.endsWith('_scale')).map(({ name }) => name);
  const scale = scales[Math.floor(scales.length / 3)]!;
  const damaged = path.join(folder, 'damaged.onnx');
  await scaled(quantized, scale, 4, damaged);
  const weight = scale.slice(0, -'_scale'.length);
  const victim = (await readModel(reference)).proto.graph!.node.find(({ input }) => input.includes(weight))!;
  const { verdict, figures } = await compare(
    { reference, model: damaged, dims: ['x=1x3x48x160'], count: 2, maxSeconds: 1, threads: 1 },
    { temporaryFolder: folder },
  );
  expect(verdict).toBe('fail');
  const [worst, next] = figures.diagnosis!.layers;
  expect(worst!.nodes).toEqual([victim.name]);
  expect(worst!.relativeError).toBeGreaterThan(5 * next!.relativeError);
  expect(figures.diagnosis!.excludeNodes[0]).toBe(victim.name);
  expect(figures.diagnosis!.notes).toEqual([]);
  expect(figures.diagnosis!.samples).toBe(2);
});

/** y = x · A · B; B is changed by `factor` where x is large only: that is what column 0 of A · B sees. */
function pair(factor: number) {
  const weights = (diagonal: (row: number) => number) => {
    const values = new Float32Array(WIDTH * WIDTH);
    for (let row = 0; row < WIDTH; row++) values[row * WIDTH + row] = diagonal(row);
    return values;
  };
  return model(
    graph({
      nodes: [
        node('MatMul', ['x', 'A'], ['a'], {}, { name: 'first' }),
        node('MatMul', ['a', 'B'], ['y'], {}, { name: 'second' }),
      ],
      inputs: [value('x', [1, WIDTH])],
      outputs: [value('y', [1, WIDTH])],
      initializers: [
        floats(
          'A',
          [WIDTH, WIDTH],
          weights(() => (factor === 1 ? 1 : 1.5)),
        ),
        floats(
          'B',
          [WIDTH, WIDTH],
          weights((row) => (row === 0 ? factor : 1)),
        ),
      ],
    }),
  );
}
const WIDTH = 16;

test('layers are ranked by the median over samples, the worst of them kept beside it', async () => {
  const folder = temp();
  const reference = await readModel(saveModel(folder, pair(1), 'a.onnx'));
  const damaged = await readModel(saveModel(folder, pair(100), 'b.onnx'));
  // Only the last sample looks at what is wrong with the second layer.
  const feeds = [1, 2, 3, 4].map((at, sample) => {
    const x = new Float32Array(WIDTH);
    x[sample === 3 ? 0 : at] = 1;
    return { x: { dtype: 'float32' as const, dims: [1, WIDTH], data: new Uint8Array(x.buffer) } };
  });
  const now = { ms: 0 };
  const options = {
    folder,
    openSession: (file: string) => openSession({ model: file, threads: 1 }),
    log: silentLog,
    maxSeconds: 1,
    clock: () => now.ms,
  };
  const samples = feeds.map((each) => async () => each);
  const { layers, samples: run } = await diagnose(reference, damaged, samples, options);
  expect(run).toBe(4);
  expect(layers).toMatchObject([
    { nodes: ['first'], relativeError: 0.5, worstError: 0.5, samples: 4 },
    { nodes: ['second'], relativeError: 0, worstError: 99, samples: 4 },
  ]);
  const late = samples.map((sample) => () => {
    now.ms += 600;
    return sample();
  });
  expect(await diagnose(reference, damaged, late, options)).toMatchObject({ samples: 2 });
  expect(readdirSync(folder).sort()).toEqual(['a.onnx', 'b.onnx']);
});

test('what is in an If is measured as a whole, which is said', async () => {
  const folder = temp();
  const output = path.join(folder, 'vad.onnx');
  await quantize({ model: realModels.speech, output }, { log: silentLog });
  const options = { dims: ['input=1x512', 'state=2x1x128'], ranges: ['sr=16000..16000'], minSimilarity: 1 };
  const { figures } = await compare(
    { reference: realModels.speech, model: output, ...options, count: 2, maxSeconds: 1, threads: 1 },
    { temporaryFolder: folder },
  );
  const { layers, notes } = figures.diagnosis!;
  expect(layers).toMatchObject([{ operators: ['If'], changed: true, samples: 2 }]);
  expect(layers[0]!.nodes).toContain('If_0_then_branch__Inline_0__/encoder/0/reparam_conv/Conv');
  // Not quantized, so nothing to exclude.
  expect(layers[0]!.nodes.join()).not.toMatch(/Add|Gather/);
  expect(notes).toEqual([expect.stringMatching(/^If \S+ is measured as a whole: /)]);
});

describe('findLayers', () => {
  test('a quantized MatMul is one layer, whatever it became, and activations are none', async () => {
    const folder = temp();
    const file = saveModel(
      folder,
      model(
        graph({
          nodes: [
            node('MatMul', ['x', 'A'], ['a'], {}, { name: 'first' }),
            node('Relu', ['a'], ['r']),
            node('MatMul', ['r', 'B'], ['y']),
          ],
          inputs: [value('x', [1, 32])],
          outputs: [value('y', [1, 32])],
          initializers: ['A', 'B'].map((name) => floats(name, [32, 32], new Float32Array(1024).fill(0.5))),
        }),
      ),
      'm.onnx',
    );
    const output = path.join(folder, 'q.onnx');
    await quantize({ model: file, output }, { log: silentLog });
    const layers = findLayers(await readModel(file), await readModel(output));
    expect(layers).toMatchObject([
      { nodes: ['first'], operators: ['MatMul'], inputs: ['x'], outputs: ['a'], changed: true },
      { nodes: ['y'], operators: ['MatMul'], inputs: ['r'], outputs: ['y'], changed: true },
    ]);
    expect(layers[0]!.parts.map(({ opType }) => opType)).toContain('MatMulInteger');
  });

  test('a model against itself has the same layers, none of them changed', async () => {
    const recognizer = await readModel(realModels.ocrRecognition);
    const layers = findLayers(recognizer, recognizer);
    expect(layers.length).toBeGreaterThan(50);
    expect(layers.filter(({ changed }) => changed)).toEqual([]);
  });

  test('a subgraph is cut as a whole, with what it captures', async () => {
    const vad = await readModel(realModels.speech);
    const layers = findLayers(vad, vad);
    const made = new Set(vad.proto.graph!.node.flatMap(({ output }) => output));
    const fed = new Set(vad.proto.graph!.input.map(({ name }) => name));
    expect(layers.length).toBeGreaterThan(0);
    for (const name of layers.flatMap(({ inputs }) => inputs)) expect(made.has(name) || fed.has(name)).toBe(true);
  });
});
