import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { medianFigures, readHistory } from '../../src/compare/history.ts';
import { type CompareContext, type CompareOptions, compare } from '../../src/compare/index.ts';
import { InputError } from '../../src/errors.ts';
import { DataType, type ModelProto } from '../../src/model/index.ts';
import { readReceipt, silentLog } from '../../src/receipt/index.ts';
import { floats, graph, int64s, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const WIDTH = 16;

/** y = x · W, with W a little off where `noise` says so. */
function product(noise = 0, names = { input: 'x', output: 'y' }): ModelProto {
  const random = seeded(3);
  const weights = random.floats(WIDTH * WIDTH).map((each, index) => each + noise * Math.sin(index));
  return model(
    graph({
      nodes: [node('MatMul', [names.input, 'W'], [names.output])],
      inputs: [value(names.input, ['batch', WIDTH])],
      outputs: [value(names.output, ['batch', WIDTH])],
      initializers: [floats('W', [WIDTH, WIDTH], weights)],
    }),
  );
}

function folders() {
  const folder = temp();
  const temporaryFolder = path.join(folder, 'spool');
  mkdirSync(temporaryFolder);
  return { folder, temporaryFolder };
}

type Options = Partial<CompareOptions>;

async function run(
  reference: ModelProto,
  other: ModelProto,
  options: Options = {},
  context: Partial<CompareContext> = {},
) {
  const { folder, temporaryFolder } = folders();
  const files = { reference: saveModel(folder, reference, 'a.onnx'), model: saveModel(folder, other, 'b.onnx') };
  try {
    return await compare(
      { ...files, count: 2, maxSeconds: 1, threads: 1, ...options },
      { temporaryFolder, ...context },
    );
  } finally {
    expect(readdirSync(temporaryFolder)).toEqual([]);
    expect(childrenOf(process.pid)).toEqual([]);
  }
}

/** Session processes that `parent` has, alive or not yet reaped. */
function childrenOf(parent: number): string[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const ppid = Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
      return ppid === parent && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('session-process');
    } catch {
      return false; // It ended meanwhile.
    }
  });
}

/** One sentence, for people: no stack, no line break, an end. */
async function expectSentence(work: Promise<unknown>, pattern: RegExp): Promise<void> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(InputError);
  const { message } = error as InputError;
  expect(message).toMatch(pattern);
  expect(message).not.toMatch(/\n| at .*:\d+:\d+/);
}

describe('bad input is one sentence and leaves nothing', () => {
  test.each([
    ['other outputs', product(0, { input: 'x', output: 'z' }), /outputs of the reference are y, those of the model z/],
    ['other inputs', product(0, { input: 'u', output: 'y' }), /inputs of the reference are x, those of the model u/],
  ])('%s', async (_, other, pattern) => {
    await expectSentence(run(product(), other), pattern);
  });

  test('an input of another type', async () => {
    const cast = model(
      graph({
        nodes: [node('Cast', ['x'], ['f'], { to: DataType.FLOAT }), node('Identity', ['f'], ['y'])],
        inputs: [value('x', ['batch', WIDTH], DataType.INT64)],
        outputs: [value('y', ['batch', WIDTH])],
      }),
    );
    await expectSentence(run(product(), cast), /input x is FLOAT in the reference and INT64 in the model/);
  });

  test('outputs of another shape, known only when they are there', async () => {
    const flat = model(
      graph({
        nodes: [node('MatMul', ['x', 'W'], ['m']), node('Reshape', ['m', 'shape'], ['y'])],
        inputs: [value('x', ['batch', WIDTH])],
        outputs: [value('y', [null])],
        initializers: [floats('W', [WIDTH, WIDTH], new Float32Array(WIDTH * WIDTH)), int64s('shape', [1], [-1])],
      }),
    );
    await expectSentence(run(product(), flat), /Output y is float32\[1,16\] in the reference and float32\[16\]/);
  });

  test('samples of another shape, and none at all', async () => {
    const { folder } = folders();
    const bad = path.join(folder, 's.json');
    writeFileSync(bad, JSON.stringify([{ x: [[1, 2, 3]] }]));
    await expectSentence(run(product(), product(), { samples: bad }), /s\.json/);
    await expectSentence(run(product(), product(), { count: 0 }), /count is 0/);
    const empty = path.join(folder, 'empty');
    mkdirSync(empty);
    await expectSentence(run(product(), product(), { samples: empty }), /holds no sample/);
    await expectSentence(run(product(), product(), { samples: path.join(folder, 'absent.npz') }), /absent\.npz/);
  });

  test('an operator that the runtime lacks', async () => {
    const odd = model(
      graph({
        nodes: [node('NoSuchOperator', ['x'], ['y'], {}, { name: 'odd', domain: 'com.example' })],
        inputs: [value('x', ['batch', WIDTH])],
        outputs: [value('y', ['batch', WIDTH])],
      }),
      { domains: { 'com.example': 1 } },
    );
    await expectSentence(run(product(), odd), /b\.onnx.*(NoSuchOperator|com\.example)/);
  });

  test('a model that fails while it runs', async () => {
    const breaking = model(
      graph({
        nodes: [node('Reshape', ['x', 'shape'], ['r']), node('Identity', ['r'], ['y'])],
        inputs: [value('x', ['batch', WIDTH])],
        outputs: [value('y', [null])],
        initializers: [int64s('shape', [1], [7])],
      }),
    );
    await expectSentence(run(product(), breaking), /b\.onnx does not (run|load)/);
  });

  test('a truncated model and one that is not there', async () => {
    const { folder } = folders();
    const file = saveModel(folder, product(), 'cut.onnx');
    truncateSync(file, 200);
    await expectSentence(compare({ reference: file, model: file }), /cut\.onnx/);
    await expectSentence(compare({ reference: file, model: path.join(folder, 'none.onnx') }), /cut\.onnx|none\.onnx/);
  });

  test('too little memory is said with the figures, before anything is loaded', async () => {
    await expectSentence(
      run(product(), product(), {}, { availableMemory: () => 20e6 }),
      /^The reference needs at least 25\.0 MB of memory \(weights .*\), but 20\.0 MB are available/,
    );
  });

  test('outputs larger than the disk are refused with the figures', async () => {
    const huge = () =>
      model(
        graph({
          nodes: [node('Expand', ['x', 'shape'], ['y'])],
          inputs: [value('x', [1, 1])],
          outputs: [value('y', [2 ** 22, 2 ** 22])],
          initializers: [int64s('shape', [2], [2 ** 22, 2 ** 22])],
        }),
      );
    await expectSentence(
      run(huge(), huge(), {}, { availableMemory: () => 1e18 }),
      /writes 141 TB of outputs to .* [MGT]B free/,
    );
  });

  test('a regression limit with nothing to hold against', async () => {
    await expectSentence(run(product(), product(), { maxRegressionPercent: 5 }), /give baseline or history/);
  });
});

describe('interruption', () => {
  test('an abort ends both processes and removes what was spooled', async () => {
    const abort = new AbortController();
    const log = { ...silentLog, progress: () => abort.abort() };
    await expect(
      run(product(), product(1e-3), { maxSeconds: 60, minSpeedup: 1e6 }, { log, signal: abort.signal }),
    ).rejects.toThrow();
  });

  test('a killed comparison leaves no process behind, and the next one removes its files', async () => {
    const { folder, temporaryFolder } = folders();
    const reference = saveModel(folder, product(), 'a.onnx');
    const baseline = path.join(folder, 'baseline');
    const script = path.join(folder, 'run.mjs');
    const room = fileURLToPath(new URL('../../lib/compare/index.js', import.meta.url));
    writeFileSync(
      script,
      `import { compare } from ${JSON.stringify(room)};
       const log = { info() {}, warning() {}, error() {}, debug() {}, progress: () => console.log('running') };
       const temporaryFolder = ${JSON.stringify(temporaryFolder)};
       const file = ${JSON.stringify(reference)};
       const baseline = ${JSON.stringify(baseline)};
       const options = { reference: file, model: file, baseline, maxSeconds: 50, minSpeedup: 1, threads: 1 };
       await compare(options, { log, temporaryFolder });`,
    );
    const child = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    const sessions = childrenOf(child.pid!);
    expect(sessions.length).toBeGreaterThan(0);
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
    await expect.poll(() => sessions.filter(isAlive), { timeout: 120_000 }).toEqual([]);
    expect(readdirSync(temporaryFolder)).toHaveLength(1);
    expect(readdirSync(baseline)).toEqual([expect.stringMatching(/^\.partial-/)]);
    await compare({ reference, model: reference, baseline, count: 1, maxSeconds: 1, threads: 1 }, { temporaryFolder });
    expect(readdirSync(temporaryFolder)).toEqual([]);
    expect(readdirSync(baseline)).toEqual([expect.stringMatching(/^[0-9a-f]{32}$/)]);
  });
});

function isAlive(pid: string): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

describe('baseline', () => {
  const setting = () => {
    const { folder, temporaryFolder } = folders();
    const reference = saveModel(folder, product(), 'a.onnx');
    const other = saveModel(folder, product(1e-3), 'b.onnx');
    const baseline = path.join(folder, 'baseline');
    const options = { reference, model: other, baseline, count: 2, maxSeconds: 1, threads: 1 };
    return { folder, options, context: { temporaryFolder } };
  };
  const stored = (baseline: string) => {
    const [key] = readdirSync(baseline);
    const file = path.join(baseline, key!, 'baseline.json');
    return { file, content: JSON.parse(readFileSync(file, 'utf8')) };
  };

  test('the second run takes outputs and times from it and does not load the reference', async () => {
    const { options, context } = setting();
    const first = await compare(options, context);
    expect(first.figures.speed.mode).toBe('alternating');
    expect(readdirSync(options.baseline)).toHaveLength(1);
    // Gone: a second run that needed it would fail. Its weights are read for the digest only, so it stays on disk.
    const second = await compare(options, { ...context, availableMemory: () => 161e6 });
    expect(second.figures.speed.mode).toBe('stored');
    expect(second.figures.similarity).toBe(first.figures.similarity);
    expect(second.figures.reference.loadMs).toBe(first.figures.reference.loadMs);
    expect(stored(options.baseline).content.timings).toHaveLength(1);
  });

  test('times of another CPU are refused and measured anew, outputs are not', async () => {
    const { options, context } = setting();
    await compare(options, context);
    const { file, content } = stored(options.baseline);
    content.timings[0].cpu = 'Another CPU';
    content.figures.cpu = 'Another CPU';
    content.figures.figures.speedup = 1e9;
    writeFileSync(file, JSON.stringify(content));
    const second = await compare({ ...options, maxRegressionPercent: 1 }, context);
    expect(second.verdict).toBe('pass');
    expect(second.figures.speed.mode).toBe('alternating');
    const notes = second.figures.samples.notes.join('\n');
    expect(notes).toMatch(/stored times of the reference are of Another CPU.*measured anew/);
    expect(notes).toMatch(/speedup was measured on Another CPU.*no limit/);
    expect(stored(options.baseline).content.timings).toHaveLength(2);
  });

  test('damaged outputs are noticed and made anew', async () => {
    const { options, context } = setting();
    const first = await compare(options, context);
    const { file } = stored(options.baseline);
    const output = path.join(path.dirname(file), 'reference-0', '0.bin');
    const bytes = readFileSync(output);
    bytes[3]! ^= 0x40;
    writeFileSync(output, bytes);
    const warnings: string[] = [];
    const log = { ...silentLog, warning: (message: string) => warnings.push(message) };
    const second = await compare(options, { ...context, log });
    expect(warnings).toEqual([expect.stringMatching(/0\.bin is not what was stored/)]);
    expect(second.figures.similarity).toBe(first.figures.similarity);
  });

  test('figures worse than the stored ones by more than the limit fail and are listed as regressions', async () => {
    const { folder, options, context } = setting();
    await compare(options, context);
    const worse = saveModel(folder, product(0.05), 'b.onnx');
    const second = await compare({ ...options, model: worse, maxRegressionPercent: 10, diagnose: false }, context);
    expect(second.verdict).toBe('fail');
    expect(second.figures.regressions.join('\n')).toMatch(/The mse .* is above .* the limit that baseline .* leaves/);
  });

  /** A cache that keeps folders, which others may `change`. */
  const copies = (change: (folder: string) => void = () => undefined) => {
    const kept = temp();
    return {
      folder: temp(),
      restore: async (folder: string, key: string) => {
        if (!existsSync(path.join(kept, key))) return false;
        cpSync(path.join(kept, key), folder, { recursive: true });
        change(folder);
        return true;
      },
      save: async (folder: string, key: string) => cpSync(folder, path.join(kept, key), { recursive: true }),
    };
  };

  test('what comes out of a cache counts once the reference has answered to a sample; its times never do', async () => {
    const { options, context } = setting();
    const cache = copies((folder) => {
      const file = path.join(folder, 'baseline.json');
      const content = JSON.parse(readFileSync(file, 'utf8'));
      content.timings = [{ ...content.timings[0], ms: [1e9, 1e9, 1e9] }];
      writeFileSync(file, JSON.stringify(content));
    });
    const first = await compare(options, { ...context, cache });
    rmSync(options.baseline, { recursive: true });
    const second = await compare({ ...options, maxRegressionPercent: 50 }, { ...context, cache });
    expect(second.figures.speed.mode).toBe('alternating');
    expect(second.figures.similarity).toBe(first.figures.similarity);
    expect(second.figures.samples.notes.join()).toContain('from-cache');
    // From then on it is this machine's own.
    const third = await compare(options, { ...context, cache });
    expect(third.figures.speed.mode).toBe('stored');
    expect(third.figures.samples.notes.join()).not.toContain('from-cache');
    expect(stored(options.baseline).content.timings).toHaveLength(1);
  });

  test('a forged one lets no model pass, nor does one that a run left before it had looked', async () => {
    const { folder, options, context } = setting();
    // Answers are the bad model's own, with digests that agree.
    const bad = saveModel(folder, product(10), 'bad.onnx');
    const own = path.join(folder, 'own');
    await compare({ ...options, reference: bad, model: bad, baseline: own }, context);
    const [answers] = readdirSync(own);
    const forge = (place: string) => {
      const file = path.join(place, 'baseline.json');
      const { key } = JSON.parse(readFileSync(file, 'utf8'));
      cpSync(path.join(own, answers!), place, { recursive: true });
      writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), key }));
    };
    const cache = copies(forge);
    await compare(options, { ...context, cache });
    const attacked = { ...options, model: bad, diagnose: false };
    const { baseline: _, ...alone } = attacked;
    const honest = await compare(alone, context);
    expect(honest.verdict).toBe('fail');
    for (const left of [false, true]) {
      const [place] = readdirSync(options.baseline);
      if (left) {
        forge(path.join(options.baseline, place!));
        writeFileSync(path.join(options.baseline, place!, 'unchecked'), '');
      } else rmSync(options.baseline, { recursive: true });
      const warnings: string[] = [];
      const log = { ...silentLog, warning: (message: string) => void warnings.push(message) };
      const result = await compare(attacked, { ...context, log, cache });
      expect(warnings).toEqual([expect.stringMatching(/not what the reference answers; it runs again/)]);
      expect(result.verdict).toBe('fail');
      expect(result.figures.similarity).toBe(honest.figures.similarity);
    }
  });

  test('a cache brings it back, a broken cache costs a warning', async () => {
    const { options, context } = setting();
    const kept = new Map<string, string[]>();
    const cache = {
      folder: temp(),
      restore: async (_: string, key: string) => kept.has(key),
      save: async (folder: string, key: string) => void kept.set(key, readdirSync(folder)),
    };
    await compare(options, { ...context, cache });
    expect([...kept.values()]).toEqual([expect.arrayContaining(['baseline.json', 'reference-0', 'reference-1'])]);
    rmSync(options.baseline, { recursive: true });
    const warnings: string[] = [];
    const log = { ...silentLog, warning: (message: string) => warnings.push(message) };
    const fail = () => Promise.reject(new Error('503'));
    const result = await compare(options, { ...context, log, cache: { folder: temp(), restore: fail, save: fail } });
    expect(result.verdict).toBe('pass');
    expect(warnings).toEqual([
      expect.stringMatching(/cache gave no baseline: 503/),
      expect.stringMatching(/not cached: 503/),
    ]);
  });
});

describe('history', () => {
  test('grows by a line per run, and its median is a limit', async () => {
    const { folder, temporaryFolder } = folders();
    const reference = saveModel(folder, product(), 'a.onnx');
    const good = saveModel(folder, product(1e-3), 'b.onnx');
    const history = path.join(folder, 'trend', 'history.jsonl');
    const options = { reference, model: good, history, count: 2, maxSeconds: 1, threads: 1 };
    await compare(options, { temporaryFolder });
    const second = await compare({ ...options, maxRegressionPercent: 50 }, { temporaryFolder });
    expect(second.figures.history).toHaveLength(2);
    expect(readFileSync(history, 'utf8').trim().split('\n')).toHaveLength(2);
    expect((await readReceipt(second.report)).results).toMatchObject({ history: [{ model: 'b.onnx' }, {}] });
    const worse = saveModel(folder, product(0.05), 'c.onnx');
    const third = await compare(
      { ...options, model: worse, maxRegressionPercent: 50, diagnose: false },
      { temporaryFolder },
    );
    expect(third.figures.regressions.join('\n')).toMatch(/the limit that history .* leaves/);
    // What got worse is no measure for later runs: the median stays where it was.
    const entries = await readHistory(history);
    expect(entries.map(({ regressed }) => regressed)).toEqual([undefined, undefined, true]);
    expect(medianFigures(entries, entries[0]!.cpu)).toEqual(medianFigures(entries.slice(0, 2), entries[0]!.cpu));
  });

  test('a broken line is named', async () => {
    const { folder } = folders();
    const history = path.join(folder, 'h.jsonl');
    const entry = { createdAt: '', model: '', modelRoot: '', referenceRoot: '', cpu: '', verdict: '', figures: {} };
    const sound = { ...entry, referenceP50Ms: 1, modelP50Ms: 1, residentBytes: 1, size: 1 };
    for (const wrong of ['nonsense', '3', '{}', ...oddities(sound)]) {
      writeFileSync(history, `${JSON.stringify(sound)}\n${wrong}\n${JSON.stringify(sound)}\n`);
      await expect(readHistory(history), wrong).rejects.toThrow(InputError);
      await expect(readHistory(history), wrong).rejects.toThrow(/[Ll]ine 2 of .*h\.jsonl/);
    }
    await expectSentence(run(product(), product(), { history }), /[Ll]ine 2 of .*h\.jsonl/);
  });
});

/** An entry with each of its values of another type. */
function oddities(entry: object): string[] {
  const lines = Object.keys(entry).flatMap((key) =>
    [null, [], { a: '' }, true].map((odd) => JSON.stringify({ ...entry, [key]: odd })),
  );
  return lines;
}
