import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { findLayers } from '../../src/compare/diagnosis/layers.ts';
import { compare } from '../../src/compare/index.ts';
import { readModel, writeModel } from '../../src/model/index.ts';
import { quantize } from '../../src/quantize/index.ts';
import { silentLog } from '../../src/report/index.ts';
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

test('a real model with one layer damaged fails, and that layer is named first', { timeout: 120_000 }, async () => {
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
