import { mkdirSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { outputFigures } from '../../src/compare/figures.ts';
import { type CompareContext, type CompareOptions, compare } from '../../src/compare/index.ts';
import { DataType, type ModelProto } from '../../src/model/index.ts';
import { quantize } from '../../src/quantize/index.ts';
import { type Log, readReceipt, silentLog } from '../../src/receipt/index.ts';
import { floats, graph, model, node, saveExternalModel, saveModel, value } from '../support/onnx-builder.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

const WIDTH = 64;
const CLASSES = 10;

/** Four layers with weights in external data; `scales` multiplies a layer's weights. */
function network(scales: Record<number, number> = {}, seed = 1): ModelProto {
  const random = seeded(seed);
  const layers = [0, 1, 2, 3];
  const columns = (layer: number) => (layer === 3 ? CLASSES : WIDTH);
  const weights = layers.map((layer) => {
    const values = random.floats(WIDTH * columns(layer), 1 / Math.sqrt(WIDTH));
    return floats(
      `W${layer}`,
      [WIDTH, columns(layer)],
      values.map((each) => each * (scales[layer] ?? 1)),
    );
  });
  const nodes = layers.flatMap((layer) => {
    const input = layer === 0 ? 'x' : `h${layer - 1}`;
    if (layer === 3) return [node('MatMul', [input, 'W3'], ['logits'], {}, { name: 'head' })];
    return [
      node('MatMul', [input, `W${layer}`], [`m${layer}`], {}, { name: `layer${layer}` }),
      node('Tanh', [`m${layer}`], [`h${layer}`]),
    ];
  });
  return model(
    graph({
      nodes,
      inputs: [value('x', ['batch', WIDTH])],
      outputs: [value('logits', ['batch', CLASSES])],
      initializers: weights,
    }),
  );
}

/** A model, its dynamic INT8 form and an empty folder for what is spooled. */
async function quantizedPair(proto = network(), like = proto) {
  const folder = temp();
  const reference = saveExternalModel(folder, like, 'reference.onnx');
  const source = saveExternalModel(folder, proto, 'source.onnx');
  const quantized = path.join(folder, 'model.onnx');
  await quantize({ model: source, output: quantized }, { log: silentLog });
  const temporaryFolder = path.join(folder, 'spool');
  mkdirSync(temporaryFolder);
  return { folder, reference, model: quantized, temporaryFolder };
}

type Pair = Awaited<ReturnType<typeof quantizedPair>>;

function run(
  pair: Pick<Pair, 'reference' | 'model' | 'temporaryFolder'>,
  options: Partial<CompareOptions> = {},
  context: Partial<CompareContext> = {},
) {
  const { reference, model, temporaryFolder } = pair;
  return compare(
    { reference, model, maxSeconds: 2, threads: 1, count: 3, ...options },
    { temporaryFolder, ...context },
  );
}

/** Nothing spooled is left, nothing beside the models but what belongs there. */
function expectNothingLeft({ temporaryFolder }: Pick<Pair, 'temporaryFolder'>): void {
  expect(readdirSync(temporaryFolder)).toEqual([]);
}

describe('compare', () => {
  test('a model quantized by us passes, with all figures in its receipt', async () => {
    const pair = await quantizedPair();
    const { verdict, failures, figures, report } = await run(pair, { minSimilarity: 0.98, minAgreement: 0.5 });
    expect(failures).toEqual([]);
    expect(verdict).toBe('pass');
    expect(figures.similarity).toBeGreaterThan(0.99);
    expect(figures.similarity).toBeLessThan(1);
    expect(figures.agreement).not.toBeNull();
    expect(figures.sqnrDb).toBeGreaterThan(20);
    expect(figures.mse).toBeGreaterThan(0);
    expect(figures.speed.modelMs.length).toBeGreaterThanOrEqual(6);
    expect(figures.speed.mode).toBe('alternating');
    expect(figures.speed.pairs.length).toBeGreaterThan(0);
    if (figures.speed.interval) expect(figures.speed.interval.low).toBeLessThanOrEqual(figures.speed.speedup);
    expect(figures.reference.residentBytes).toBeGreaterThan(30e6);
    expect(figures.reference.peakBytes).toBeGreaterThanOrEqual(figures.reference.residentBytes * 0.9);
    expect(figures.model.size).toBeLessThan(figures.reference.size);
    const receipt = await readReceipt(report);
    expect(report).toBe(path.join(pair.folder, 'model.compare.json'));
    expect(receipt.modelRoot).toBe(figures.model.root);
    expect(receipt.files.map(({ path: file }) => file)).toContain('model.onnx');
    expect(receipt.environment.ort).toMatch(/^\d+\.\d+/);
    expect(receipt.results).toMatchObject({ similarity: figures.similarity });
    expectNothingLeft(pair);
  });

  test('a model equals itself', async () => {
    const pair = await quantizedPair();
    const { verdict, figures } = await run(
      { ...pair, model: pair.reference },
      { minSimilarity: 1, maxMse: 0, maxMae: 0 },
    );
    expect(verdict).toBe('pass');
    expect(figures).toMatchObject({ similarity: 1, agreement: 1, mse: 0, mae: 0, maxAbs: 0 });
  });

  test('the worst sample is saved so that it can be compared again', async () => {
    const pair = await quantizedPair();
    const first = await run(pair, { count: 4 });
    const { saved, cosine, name } = first.figures.worstSample;
    expect(name).toMatch(/^generated \d \(seed 0\)$/);
    const again = await run(pair, { samples: saved });
    expect(again.figures.samples.count).toBe(1);
    expect(again.figures.similarity).toBeCloseTo(cosine, 12);
  });

  test('the receipt knows the similarity of each sample, in their order', async () => {
    const pair = await quantizedPair();
    const { figures } = await run(pair, { count: 4 });
    const { cosines, similarity, worst } = figures.outputs[0]!;
    expect(cosines).toHaveLength(4);
    expect(cosines[worst.sample]).toBeCloseTo(worst.cosine, 6);
    expect(Math.min(...cosines)).toBe(cosines[worst.sample]);
    expect(cosines.reduce((sum, each) => sum + each, 0) / 4).toBeCloseTo(similarity, 6);
  });

  test('of many samples it keeps so few that it stays small', () => {
    const nothing = { referenceNans: 0, modelNans: 0, unequalInfinities: 0, signal: 1, noise: 0 };
    const comparison = { ...nothing, cosine: 1, mse: 0, mae: 0, maxAbs: 0, sqnrDb: 99, elements: 1 };
    const sample = ['a', 'b'].map((name) => ({ ...comparison, name }));
    const outputs = outputFigures(new Array(5000).fill(sample), new Map());
    expect(outputs.map(({ cosines }) => cosines.length)).toEqual([1024, 1024]);
  });

  test('the same seed gives the same figures, another one others', async () => {
    const pair = await quantizedPair();
    const a = await run(pair, { seed: 1 });
    const b = await run(pair, { seed: 1 });
    const c = await run(pair, { seed: 2 });
    expect(b.figures.similarity).toBe(a.figures.similarity);
    expect(c.figures.similarity).not.toBe(a.figures.similarity);
  });

  test('one at a time where both do not fit: the same figures, timed in blocks', async () => {
    const pair = await quantizedPair();
    const together = await run(pair);
    const apart = await run(pair, { maxSeconds: 1 }, { availableMemory: () => 180e6 });
    expect(apart.figures.speed.mode).toBe('blocks');
    expect(apart.figures.similarity).toBe(together.figures.similarity);
    expect(apart.figures.speed.pairs.length).toBeGreaterThan(0);
    expect(apart.figures.model.peakBytes).toBeGreaterThan(30e6);
    expectNothingLeft(pair);
  });
});

describe('gates', () => {
  test('each failing limit says figure, limit and what to do', async () => {
    const pair = await quantizedPair();
    const { verdict, failures } = await run(pair, {
      minSimilarity: 0.9999999,
      maxMse: 1e-9,
      maxMae: 1e-9,
      minSpeedup: 1000,
      diagnose: false,
    });
    expect(verdict).toBe('fail');
    expect(failures).toHaveLength(4);
    expect(failures[0]).toMatch(/^The similarity 0\.99\d+ is below the limit 1: .*exclude-nodes/);
    // It is already.
    expect(failures[0]).not.toMatch(/per channel/);
    expect(failures[1]).toMatch(/^The mse \S+ is above the limit 1\.000e-9: /);
    expect(failures[3]).toMatch(/^The speedup \S+ is below the limit 1000: /);
  });

  test('too few pairs leave a speed-up open, and allow-inconclusive lets that pass', async () => {
    const pair = await quantizedPair();
    // A clock that runs out after the first pair.
    const clock = () => {
      let now = 0;
      return () => (now += 600_000);
    };
    const options = { minSpeedup: 0.001, maxSeconds: 1 };
    const open = await run(pair, options, { clock: clock() });
    expect(open.verdict).toBe('inconclusive');
    expect(open.failures).toEqual([
      expect.stringMatching(/^After 1 pair of blocks .* cannot be held .* raise max-seconds/),
    ]);
    const allowed = await run(pair, { ...options, allowInconclusive: true }, { clock: clock() });
    expect(allowed.verdict).toBe('inconclusive');
    expect(allowed.failures).toEqual([]);
    expect((await readReceipt(allowed.report)).verdict).toBe('inconclusive');
  });

  test('a limit for agreement holds the rows of any float output where none looks like logits', async () => {
    const pair = await quantizedPair(features(), features());
    expect((await run(pair, { diagnose: false })).figures.agreement).toBeNull();
    const { failures, figures } = await run(pair, { minAgreement: 1.5, diagnose: false });
    expect(figures.agreement).toBeGreaterThan(0);
    expect(failures).toEqual([expect.stringMatching(/agreement [0-9.]+ is below/)]);
  });

  test('NaN anywhere fails, and the figures stay numbers', async () => {
    const folder = temp();
    const logarithm = (name: string, shift: number) =>
      saveModel(
        folder,
        model(
          graph({
            nodes: [node('Add', ['x', 'shift'], ['s']), node('Log', ['s'], ['y'])],
            inputs: [value('x', [1, 4])],
            outputs: [value('y', [1, 4])],
            initializers: [floats('shift', [1], [shift])],
          }),
        ),
        name,
      );
    const pair = { reference: logarithm('a.onnx', 10), model: logarithm('b.onnx', -10), temporaryFolder: folder };
    const { verdict, failures, figures } = await run(pair, { ranges: ['x=-1..1'], diagnose: false });
    expect(verdict).toBe('fail');
    expect(failures[0]).toMatch(/^Output y has 12 NaN in the model: /);
    for (const figure of [figures.similarity, figures.mse, figures.mae, figures.sqnrDb]) expect(figure).not.toBeNaN();
  });

  test('integer outputs must be equal', async () => {
    const folder = temp();
    const rounded = (name: string, factor: number) =>
      saveModel(
        folder,
        model(
          graph({
            nodes: [node('Mul', ['x', 'f'], ['m']), node('Cast', ['m'], ['y'], { to: DataType.INT64 })],
            inputs: [value('x', [1, 64])],
            outputs: [value('y', [1, 64], DataType.INT64)],
            initializers: [floats('f', [1], [factor])],
          }),
        ),
        name,
      );
    const pair = { reference: rounded('a.onnx', 100), model: rounded('b.onnx', 101), temporaryFolder: folder };
    const { failures } = await run(pair, { diagnose: false });
    expect(failures).toEqual([expect.stringMatching(/^Output y holds no floats and differs in \d+ of 192 elements/)]);
    const tolerant = await run(pair, { diagnose: false, minAgreement: 0.01 });
    expect(tolerant.verdict).toBe('pass');
    expect(tolerant.figures.outputs[0]!.agreement).toBeLessThan(1);
  });
});

/** A model whose output is normalized features and no logits. */
function features(): ModelProto {
  const random = seeded(4);
  return model(
    graph({
      nodes: [node('MatMul', ['x', 'W'], ['m'], {}, { name: 'layer' }), node('Tanh', ['m'], ['y'])],
      inputs: [value('x', [1, WIDTH])],
      outputs: [value('y', [1, WIDTH])],
      initializers: [floats('W', [WIDTH, WIDTH], random.floats(WIDTH * WIDTH))],
    }),
  );
}

describe('diagnosis', () => {
  test.each([0, 1, 2])('the layer whose scale is four times too large is named first: layer%i', async (bad) => {
    const pair = await quantizedPair(network({ [bad]: 4 }), network());
    const said: string[] = [];
    const log: Log = { ...silentLog, info: (message) => said.push(message) };
    const { verdict, figures } = await run(pair, {}, { log });
    expect(verdict).toBe('fail');
    const [worst, next] = figures.diagnosis!.layers;
    expect(worst!.nodes).toEqual([`layer${bad}`]);
    // y = 4x: the error is three times the signal.
    expect(worst!.relativeError).toBeCloseTo(3, 1);
    expect(next!.relativeError).toBeLessThan(0.1);
    expect(figures.diagnosis!.excludeNodes).toEqual([`layer${bad}`]);
    expect(said).toContain(`Try exclude-nodes: layer${bad}`);
    expectNothingLeft(pair);
  });
});
