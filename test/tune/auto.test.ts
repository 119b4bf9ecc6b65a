import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readSubject, type Subject, withScorer } from '../../src/compare/index.ts';
import { InputError } from '../../src/errors.ts';
import { declaredInputs, readModel } from '../../src/model/index.ts';
import { type QuantizeOptions, quantize, readOverrides } from '../../src/quantize/index.ts';
import { readReceipt, silentLog } from '../../src/receipt/index.ts';
import { environment, loadSamples, npyHeader, resolveRuntime, valueInfoOf } from '../../src/runtime/index.ts';
import { Bench } from '../../src/tune/bench.ts';
import { candidatesOf } from '../../src/tune/candidates.ts';
import { giveBack } from '../../src/tune/give-back.ts';
import { type AutoContext, type AutoOptions, type AutoResult, auto } from '../../src/tune/index.ts';
import { Journal } from '../../src/tune/journal.ts';
import { type Gates, gatesOf } from '../../src/tune/options.ts';
import { scriptArguments } from '../support/child.ts';
import { bytesOf, floats, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { seeded } from '../support/random.ts';
import { realModels } from '../support/real-models.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

/**
 * Convolutions of which one writes a channel a thousand times as large as its others: on one scale for all of them,
 * which is what static has for activations, the others are lost.
 */
function unevenConvolutions() {
  const random = seeded(3);
  const channels = 16;
  const weight = (name: string, from: number) =>
    floats(name, [channels, from, 3, 3], random.floats(channels * from * 9, Math.sqrt(2 / (from * 9))));
  const spread = new Float32Array(channels).fill(1);
  spread[0] = 1000;
  const back = Float32Array.from(spread, (factor) => 1 / factor);
  const conv = (index: number, from: string, to: string) => [
    node('Conv', [from, `W${index}`], [`c${index}`], { pads: { ints: [1, 1, 1, 1] } }, { name: `conv${index}` }),
    node('Relu', [`c${index}`], [to], {}, { name: `relu${index}` }),
  ];
  return model(
    graph({
      inputs: [value('x', [1, 4, 24, 24])],
      outputs: [value('y', [1, channels, 24, 24])],
      nodes: [
        ...conv(0, 'x', 'r0'),
        ...conv(1, 'r0', 'r1'),
        node('Mul', ['r1', 'spread'], ['wide'], {}, { name: 'widen' }),
        node(
          'MaxPool',
          ['wide'],
          ['pooled'],
          { kernel_shape: { ints: [3, 3] }, pads: { ints: [1, 1, 1, 1] } },
          { name: 'pool' },
        ),
        node('Mul', ['pooled', 'back'], ['narrow'], {}, { name: 'narrow' }),
        ...conv(2, 'narrow', 'r2'),
        ...conv(3, 'r2', 'y'),
      ],
      initializers: [
        weight('W0', 4),
        weight('W1', channels),
        weight('W2', channels),
        weight('W3', channels),
        floats('spread', [1, channels, 1, 1], spread),
        floats('back', [1, channels, 1, 1], back),
      ],
    }),
    { opset: 17 },
  );
}

/** A block of a transformer without its attention: products, Gelu by Erf, a residual. */
function transformer(layers = 2, width = 128) {
  const random = seeded(5);
  const weight = (name: string, from: number, to: number) =>
    floats(name, [from, to], random.floats(from * to, 1 / Math.sqrt(from)));
  const names = Array.from({ length: layers }, (_, i) => `/layer.${i}`);
  return model(
    graph({
      inputs: [value('h0', [1, 16, width])],
      outputs: [value(`h${layers}`, [1, 16, width])],
      nodes: names.flatMap((name, i) => [
        node('MatMul', [`h${i}`, `${name}/up`], [`u${i}`], {}, { name: `${name}/up/MatMul` }),
        node('Relu', [`u${i}`], [`r${i}`], {}, { name: `${name}/Relu` }),
        node('MatMul', [`r${i}`, `${name}/down`], [`d${i}`], {}, { name: `${name}/down/MatMul` }),
        node('Add', [`d${i}`, `h${i}`], [`h${i + 1}`], {}, { name: `${name}/Add` }),
      ]),
      initializers: names.flatMap((name) => [
        weight(`${name}/up`, width, 4 * width),
        weight(`${name}/down`, 4 * width, width),
      ]),
    }),
    { opset: 17 },
  );
}

/** Samples of one input, along a new first axis. */
function samples(folder: string, count: number, dims: number[]): string {
  const elements = count * dims.reduce((product, size) => product * size, 1);
  const file = path.join(folder, 'samples.npy');
  const data = bytesOf(seeded(17).floats(elements, 1));
  writeNpy(file, [count, ...dims], data);
  return file;
}

function writeNpy(file: string, dims: number[], data: Uint8Array) {
  writeFileSync(file, Buffer.concat([npyHeader('float32', dims), data]));
}

const context: AutoContext = { log: silentLog };
/** Times of so small models on whatever machine say nothing: no gate here. */
const anyTime = { maxSlowdown: 1000, maxSeconds: 240, threads: 1 };

async function replayed(source: string, overrides: string, replay: Record<string, string>) {
  const output = path.join(temp(), path.basename(overrides).replace('.overrides.yaml', '.onnx'));
  const options: QuantizeOptions = {
    model: source,
    output,
    method: replay.method as never,
    ...(replay.bits ? { bits: Number(replay.bits) as 4 } : {}),
    ...(replay['calibration-data'] ? { calibrationData: replay['calibration-data'] } : {}),
    ...(replay['calibration-count'] ? { calibrationCount: Number(replay['calibration-count']) } : {}),
    overrides: await readOverrides(overrides),
  };
  await quantize(options, { log: silentLog });
  return readFileSync(output);
}

describe('auto on convolutions of which static loses channels', () => {
  let folder = '';
  let source = '';
  let options: AutoOptions;
  let result: AutoResult;
  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'onnx-auto-test-'));
    source = saveModel(folder, unevenConvolutions());
    options = { model: source, calibrationData: samples(folder, 12, [1, 4, 24, 24]), prefer: 'size', ...anyTime };
    result = await auto(options, context);
  });

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('takes what is alike on three parts of the samples, and leaves nothing else', () => {
    const { trials, chosen, confirmed, final, samples: parts } = result.findings;
    expect(trials.map(({ form }) => form)).toEqual(
      expect.arrayContaining(['static', 'dynamic', 'weight-only', 'weight-only, folded']),
    );
    expect(trials.find(({ form }) => form === 'static')!.similarity).toBeLessThan(0.98);
    expect(trials.find(({ form }) => form === chosen.form)!.verdict).toBe('chosen');
    for (const { similarity } of [confirmed, final]) expect(similarity).toBeGreaterThan(0.98);
    expect(parts).toEqual({ choose: 6, confirm: 3, final: 3, generated: false });
    expect(result.findings.sentence).toMatch(/, \d\.\d × smaller, \d\.\d{3} alike; /);
    expect(readdirSync(folder).sort()).toEqual([
      'model.onnx',
      'model_auto.auto.jsonl',
      'model_auto.onnx',
      'model_auto.overrides.yaml',
      'model_auto.quantize.json',
      'samples.npy',
    ]);
  });

  it('is written again, byte for byte, from its overrides file', async () => {
    const again = await replayed(source, result.overrides, result.findings.replay);
    expect(again.equals(readFileSync(result.model))).toBe(true);
  });

  it('says in the receipt what was tried and why', async () => {
    const { inputs, results } = await readReceipt(result.report);
    expect(inputs).toMatchObject({ method: 'auto', prefer: 'size' });
    expect(results.auto).toEqual(JSON.parse(JSON.stringify(result.findings)));
  });

  it('goes on where the journal ends, and decides the same', async () => {
    const journal = path.join(folder, 'model_auto.auto.jsonl');
    const whole = readFileSync(journal, 'utf8');
    const before = readFileSync(result.model);
    // As a kill leaves it: the last finding cut in half.
    writeFileSync(journal, whole.slice(0, -40));
    const said: string[] = [];
    const log = { ...silentLog, info: (text: string) => said.push(text) };
    const again = await auto(options, { log });
    expect(said.filter((text) => text.startsWith('Tried'))).toEqual([]);
    expect(again.findings.chosen).toEqual(result.findings.chosen);
    expect(readFileSync(again.model).equals(before)).toBe(true);
  }, 120_000);

  it('refuses where nothing passes, naming the best and what it lacks, and leaves the model of before', async () => {
    const before = readFileSync(result.model);
    await expect(auto({ ...options, maxSizeRatio: 0.14 }, context)).rejects.toThrow(
      /^None of \d+ models passes\. The best is .*, and it lacks: 0\.\d+ of the size, above 0\.14; lower that limit/,
    );
    expect(readFileSync(result.model).equals(before)).toBe(true);
  }, 120_000);

  it('gives back the layer that does the harm, and no more', async () => {
    const spent = await withBench(folder, options, async (bench, gates) => {
      const [candidate] = candidatesOf(options, await readModel(source), 6);
      const trial = await bench.trial(candidate!, true);
      return giveBack({ ...candidate!, trial, given: [] }, bench, gates);
    });
    expect(spent).toBeDefined();
    expect(spent!.trial.similarity).toBeGreaterThan(0.98);
    expect(spent!.given.map(({ nodes, as }) => [nodes, as])).toEqual([[['conv2'], 'keep']]);
    expect(spent!.trial.nodesQuantized).toBe(3);
  });
});

describe('auto on a transformer', () => {
  it('chooses on made-up inputs, and says so, where it is given none', async () => {
    const source = saveModel(temp(), transformer());
    const warnings: string[] = [];
    const log = { ...silentLog, warning: (text: string) => warnings.push(text) };
    const { findings, overrides, model: made } = await auto({ model: source, ...anyTime }, { log });
    expect(warnings.join('\n')).toMatch(/made-up inputs/);
    expect(findings.trials.map(({ form }) => form)).not.toContain('static');
    expect(findings.trials.map(({ form }) => form)).toContain('weight-only, 4 bits');
    expect(findings.final.similarity).toBeGreaterThan(0.98);
    expect((await replayed(source, overrides, findings.replay)).equals(readFileSync(made))).toBe(true);
  });
});

describe('auto on published models', () => {
  const random = seeded(23);
  /** Bars on a light ground, as print has them. */
  const print = () => {
    const dark = Array.from({ length: 192 }, () => random.next() < 0.4);
    return Array.from({ length: 3 * 48 * 192 }, (_, i) => (dark[i % 192] ? -0.8 : 0.7) + 0.2 * random.next());
  };
  /** A tone that swells, and hiss. */
  const sound = () => {
    const [pitch, loud] = [0.02 + 0.1 * random.next(), 0.5 * random.next()];
    return Array.from({ length: 576 }, (_, i) => loud * Math.sin(pitch * i) + 0.02 * random.next());
  };
  const state = () => Array.from({ length: 256 }, () => random.next() - 0.5);
  it.each<[string, string, () => object, number]>([
    ['the direction of a line', realModels.ocrDirection, () => ({ x: { dims: [1, 3, 48, 192], data: print() } }), 0.45],
    [
      'speech, where all that computes is in the body of an If',
      realModels.speechIfless,
      () => ({
        input: { dims: [1, 576], data: sound() },
        state: { dims: [2, 1, 128], data: state() },
        sr: 16000,
      }),
      0.45,
    ],
  ])(
    'keeps what they say of %s, and makes it again',
    async (_, source, sample, sizeRatio) => {
      const folder = temp();
      const given = path.join(folder, 'samples.json');
      writeFileSync(given, JSON.stringify(Array.from({ length: 12 }, () => sample())));
      const output = path.join(folder, 'made.onnx');
      const options = { model: source, output, calibrationData: given, prefer: 'size' as const, ...anyTime };
      const { findings, overrides } = await auto(options, context);
      const { similarity, channelSimilarity } = findings.final;
      expect(similarity).toBeGreaterThan(0.98);
      expect(channelSimilarity ?? 1).toBeGreaterThan(0.9);
      expect(findings.trials.find(({ form }) => form === 'static')!.refused).toBeNull();
      expect(findings.trials.find(({ verdict }) => verdict === 'chosen')!.sizeRatio).toBeLessThan(sizeRatio);
      expect((await replayed(source, overrides, findings.replay)).equals(readFileSync(output))).toBe(true);
    },
    240_000,
  );
});

describe('what a search meets', () => {
  it('says what a processor without VNNI costs, and works', async () => {
    const source = saveModel(temp(), transformer(1, 16));
    const warnings: string[] = [];
    const log = { ...silentLog, warning: (text: string) => warnings.push(text) };
    const old = () => ({ ...environment(), arch: 'x64' as const, isa: ['sse4_2', 'avx2'] });
    const { model: made } = await auto({ model: source, ...anyTime, maxSeconds: 60 }, { log, environment: old });
    expect(warnings.filter((text) => text.startsWith('This processor has no VNNI'))).toHaveLength(1);
    expect(readdirSync(path.dirname(source))).toContain(path.basename(made));
  }, 120_000);

  it('holds every model against what metric-command prints', async () => {
    const folder = temp();
    const source = saveModel(folder, transformer(1, 16));
    const program = path.join(folder, 'metric.cjs');
    writeFileSync(program, 'console.log(process.argv.length === 5 ? 0.75 : 0);');
    const metricCommand = `"${process.execPath}" "${program}"`;
    const options = { model: source, ...anyTime, maxSeconds: 60, metricCommand };
    await expect(auto({ ...options, minMetric: 0.8 }, context)).rejects.toThrow(
      /^None of \d+ models passes\. The best is .* and it lacks: metric 0\.75 below 0\.8; lower that limit/,
    );
    expect(readdirSync(folder)).not.toContain('model_auto.onnx');
    const { findings } = await auto({ ...options, minMetric: 0.7 }, context);
    expect(findings.final.metric).toBe(0.75);
  }, 240_000);

  it('refuses before it writes where the disk has no room for a candidate', async () => {
    const folder = temp();
    const options = { model: saveModel(folder, transformer(1, 16)), calibrationData: samples(folder, 6, [1, 16, 16]) };
    const huge = (source: Subject) => ({ ...source, size: 1e18 });
    const before = readdirSync(folder);
    const tried = withBench(
      folder,
      options,
      async (bench) => bench.trial(candidatesOf(options, await readModel(options.model), 6)[0]!, false),
      huge,
    );
    await expect(tried).rejects.toThrow(/^The temporary folder .* has .* free, and each model that `auto` tries takes/);
    expect(readdirSync(folder).filter((name) => !before.includes(name))).toEqual(['bench.jsonl']);
  }, 60_000);

  it('leaves no model when it is killed, goes on by its journal, and then removes what the killed one had', async () => {
    const folder = temp();
    const source = saveModel(folder, transformer(1, 32));
    const temporary = mkdtempSync(path.join(folder, 'temporary-'));
    const script = `
      const { auto } = await import(lib('tune/index.js'));
      const log = { info: console.log, warning() {}, error() {}, debug() {}, progress() {} };
      await auto({ model: args[0], maxSlowdown: 1000, maxSeconds: 60, threads: 1 }, { log, temporaryFolder: args[1] });`;
    const run = (onLine?: (line: string, kill: () => void) => void) =>
      new Promise<string>((resolve, reject) => {
        const child = spawn(process.execPath, scriptArguments(script, [source, temporary]));
        let said = '';
        child.stdout.setEncoding('utf8').on('data', (text: string) => {
          said += text;
          onLine?.(text, () => child.kill('SIGKILL'));
        });
        child.once('error', reject).once('close', () => resolve(said));
      });
    await run((text, kill) => text.includes('Tried') && kill());
    expect(readdirSync(folder)).not.toContain('model_auto.onnx');
    expect(readdirSync(folder)).toContain('model_auto.auto.jsonl');
    const said = await run();
    expect(said).toMatch(/^Going on with [1-9]\d* findings of /m);
    expect(readdirSync(folder)).toContain('model_auto.onnx');
    expect(readdirSync(temporary)).toEqual([]);
  }, 240_000);
});

describe('bad input is one sentence', () => {
  it.each<[string, Partial<AutoOptions>, RegExp]>([
    ['no room for rounding', { minSimilarity: 1 }, /^Input `min-similarity` is 1, which no model of fewer bits/],
    ['smaller than 4 bits', { maxSizeRatio: 0.05 }, /^Input `max-size-ratio` is 0\.05, and even 4 bits/],
    ['no time at all', { maxSlowdown: 0 }, /^Input `max-slowdown` is 0: give the time/],
    ['a metric without a program', { minMetric: 1 }, /^Input `min-metric` needs a program/],
    ['what auto decides', { bits: 4 }, /^Input `bits` is what method `auto` decides itself/],
    ['a plan', { dryRun: true }, /^Method `auto` decides by running models/],
    ['a limit too short', { maxSeconds: 0.001 }, /^Input `max-seconds` is 0\.001, too short to make and measure one/],
    ['samples of another model', { calibrationData: 'wrong' }, /x/],
  ])(
    'for %s',
    async (_, given, sentence) => {
      const folder = temp();
      const model = saveModel(folder, transformer(1, 16));
      const wrong = given.calibrationData ? { calibrationData: samples(folder, 3, [7]) } : {};
      await expect(auto({ model, ...given, ...wrong }, context)).rejects.toThrow(InputError);
      await expect(auto({ model, ...given, ...wrong }, context)).rejects.toThrow(sentence);
      expect(readdirSync(folder).filter((name) => name.includes('_auto.o'))).toEqual([]);
    },
    60_000,
  );
});

/** A bench on the samples of `options`, all of which choose. */
async function withBench<T>(
  folder: string,
  options: AutoOptions,
  body: (bench: Bench, gates: Gates) => Promise<T>,
  as = (source: Subject) => source,
) {
  const source = as(await readSubject(options.model));
  const runtime = await resolveRuntime({ log: silentLog });
  const inputs = declaredInputs(source.model).map(valueInfoOf);
  const given = await loadSamples(options.calibrationData, inputs, { count: 6 });
  const journal = await Journal.open(path.join(folder, 'bench.jsonl'), 'bench', silentLog);
  return withScorer({ reference: source.model, samples: given, runtime, threads: 1 }, (choose) =>
    body(
      new Bench({
        source,
        fileName: 'bench.onnx',
        scorers: { choose, confirm: choose, final: choose },
        journal,
        folder,
        maxSeconds: 240,
        threads: 1,
        seed: 0,
        log: silentLog,
        signal: undefined,
      }),
      gatesOf(options),
    ),
  );
}
