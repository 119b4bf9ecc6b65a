import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { compare, score, withScorer } from '../../src/compare/index.ts';
import { declaredInputs, readModel } from '../../src/model/index.ts';
import { quantize } from '../../src/quantize/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { loadSamples, valueInfoOf } from '../../src/runtime/index.ts';
import { floats, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

/** Two products with a ReLU between them, from `seed`. */
function network(seed: number, columns = 12) {
  const random = seeded(seed);
  return model(
    graph({
      inputs: [value('x', ['batch', 32])],
      nodes: [
        node('MatMul', ['x', 'first'], ['h'], {}, { name: 'first' }),
        node('Relu', ['h'], ['r']),
        node('MatMul', ['r', 'second'], ['y'], {}, { name: 'second' }),
      ],
      outputs: [value('y', ['batch', columns])],
      initializers: [
        floats('first', [32, 64], random.floats(32 * 64, 0.2)),
        floats('second', [64, columns], random.floats(64 * columns, 0.2)),
      ],
    }),
  );
}

async function setup() {
  const folder = temp();
  const reference = saveModel(folder, network(1), 'reference.onnx');
  const quantized = path.join(folder, 'quantized.onnx');
  await quantize({ model: reference, output: quantized }, { log: silentLog });
  const temporaryFolder = path.join(folder, 'spool');
  mkdirSync(temporaryFolder);
  const samples = await loadSamples(undefined, declaredInputs(await readModel(reference)).map(valueInfoOf), {
    count: 5,
  });
  return { folder, reference, quantized, temporaryFolder, samples };
}

describe('score', () => {
  test('tells where the time of the reference goes, by node, and leaves no profile', async () => {
    const { folder, reference, temporaryFolder, samples } = await setup();
    const before = readdirSync(folder).sort();
    const times = await withScorer({ reference, samples, threads: 1, temporaryFolder }, (scorer) => scorer.nodeTimes());
    expect([...times.keys()]).toEqual(expect.arrayContaining(['first', 'second']));
    for (const microseconds of times.values()) expect(microseconds).toBeGreaterThanOrEqual(0);
    expect(readdirSync(temporaryFolder)).toEqual([]);
    expect(readdirSync(folder).sort()).toEqual(before);
  });

  test('finds what compare finds, and leaves no file', async () => {
    const { folder, reference, quantized, temporaryFolder, samples } = await setup();
    const files = () => readdirSync(folder).sort();
    const before = files();
    const found = await score(quantized, { reference, samples, threads: 1, temporaryFolder });
    expect(files()).toEqual(before);
    expect(readdirSync(temporaryFolder)).toEqual([]);
    const options = { reference, model: quantized, count: 5, threads: 1, maxSeconds: 0.2 };
    const { figures } = await compare(options, { temporaryFolder });
    const { similarity, channelSimilarity, agreement, mse, mae, sqnrDb, outputs } = figures;
    expect(found).toMatchObject({ similarity, channelSimilarity, agreement, mse, mae, sqnrDb, outputs, samples: 5 });
    expect(found.similarity).toBeLessThan(1);
  });

  test('runs the reference once for any number of models', async () => {
    const { folder, reference, quantized, temporaryFolder, samples } = await setup();
    const others = [7, 8].map((seed) => saveModel(folder, network(seed), `other-${seed}.onnx`));
    await withScorer({ reference, samples, threads: 1, temporaryFolder }, async (scorer) => {
      const good = await scorer.score(quantized);
      // Were it needed again, it would not be there.
      rmSync(reference);
      const scores = await Promise.all(others.map((other) => scorer.score(other)));
      expect(good.similarity).toBeGreaterThan(0.99);
      for (const { similarity } of scores) expect(similarity).toBeLessThan(0.5);
    });
    expect(readdirSync(temporaryFolder)).toEqual([]);
  });

  test('refuses what cannot be compared in one sentence, and goes on', async () => {
    const { folder, reference, quantized, temporaryFolder, samples } = await setup();
    const other = saveModel(folder, network(2, 13), 'other.onnx');
    const broken = saveModel(
      folder,
      model(
        graph({
          nodes: [node('NoSuch', ['x'], ['y'])],
          inputs: [value('x', ['batch', 32])],
          outputs: [value('y', ['batch', 12])],
        }),
      ),
      'broken.onnx',
    );
    await withScorer({ reference, samples, threads: 1, temporaryFolder }, async (scorer) => {
      await expect(scorer.score(other)).rejects.toThrow(/compare models that answer in the same shape/);
      await expect(scorer.score(broken)).rejects.toThrow(/broken\.onnx needs an operator/);
      expect((await scorer.score(quantized)).similarity).toBeGreaterThan(0.99);
    });
    expect(readdirSync(temporaryFolder)).toEqual([]);
  });
});
