import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readModel, weightForms } from '../../src/model/index.ts';
import { quantize } from '../../src/quantize/index.ts';
import { readReceipt, silentLog } from '../../src/receipt/index.ts';
import { actionSummary } from '../../src/report/index.ts';
import { environment, openSession, resolveRuntime } from '../../src/runtime/index.ts';
import { type ValidateOptions, type ValidateResult, validate } from '../../src/validate/index.ts';
import { describe as inWords, type Tuning, tune, tuningSentence } from '../../src/validate/tune.ts';
import { floats, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const run = promisify(execFile);

const network = () =>
  model(
    graph({
      inputs: [value('x', ['batch', 64])],
      nodes: [
        node('MatMul', ['x', 'first'], ['h'], {}, { name: 'first' }),
        node('Relu', ['h'], ['r']),
        node('MatMul', ['r', 'second'], ['y'], {}, { name: 'second' }),
      ],
      outputs: [value('y', ['batch', 64])],
      initializers: ['first', 'second'].map((name, seed) => floats(name, [64, 64], seeded(seed).floats(4096, 0.2))),
    }),
  );

describe('tune', () => {
  let found: Tuning;
  let result: ValidateResult;
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), 'onnx-quantize-tune-'));
    const file = saveModel(folder, network());
    result = await validate({ model: file, runs: 10, maxSeconds: 3, threads: 1, tune: true }, { log: silentLog });
    found = result.receipt.results.tuning!;
  });

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('tries threads, arena, prepacking and graph levels, each once', () => {
    const { physicalCores, cores } = environment();
    const tried = found.tried.map(({ options }) => inWords(options));
    expect(new Set(tried).size).toBe(tried.length);
    for (const threads of new Set([1, physicalCores, cores])) {
      expect(found.tried.some(({ options }) => options.threads === threads)).toBe(true);
    }
    if (found.notes.length > 0) return;
    for (const change of [
      { arena: false },
      { prepacking: false },
      { graphLevel: 'extended' },
      { graphLevel: 'basic' },
    ]) {
      expect(found.tried).toContainEqual(expect.objectContaining({ options: expect.objectContaining(change) }));
    }
  });

  test('says what is best and how much faster, or that nothing is', async () => {
    expect(found.now.options).toEqual({ threads: 1, arena: true, graphLevel: 'all', prepacking: true });
    if (found.gain === 1) expect(found.best).toEqual(found.now);
    else expect(found.gain).toBeCloseTo(found.now.p50Ms / found.best.p50Ms, 12);
    expect(tuningSentence(found)).toMatch(
      found.gain === 1 ? /nothing that was tried is faster than 1 thread/ : /times as fast as 1 thread/,
    );
    const summary = actionSummary(await readReceipt(result.report));
    expect(summary).toContain('```python\noptions = onnxruntime.SessionOptions()');
    expect(summary).toContain('onnxruntime');
  });

  test('its code for Node.js runs', async () => {
    const { directory } = await resolveRuntime({ log: silentLog });
    const options = { threads: 2, arena: false, graphLevel: 'extended' as const, prepacking: false };
    const slow = await tune({
      session: { model: path.join(folder, 'model.onnx') },
      now: options,
      feeds: [{ x: { dtype: 'float32', dims: [1, 64], data: new Uint8Array(256) } }],
      // Nothing but what is now is tried, so that the code has all options in it.
      maxSeconds: 0,
      clock: () => performance.now(),
      log: silentLog,
    });
    expect(slow.tried).toHaveLength(1);
    expect(slow.notes[0]).toMatch(/was not tried: the time was up/);
    expect(slow.snippets.python).toContain(
      'options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED',
    );
    expect(slow.snippets.node).toContain('enableCpuMemArena: false');
    const script = path.join(folder, 'run.cjs');
    writeFileSync(
      script,
      `(async () => { const ort = require(${JSON.stringify(directory)});\n${slow.snippets.node}\nconsole.log(session.outputNames.join()); })();`,
    );
    const { stdout } = await run(process.execPath, [script], {
      cwd: folder,
      env: { ...process.env, ORT_DISABLE_TELEMETRY: '1' },
    });
    expect(stdout.trim()).toBe('y');
  });
});

test('a session is made with the options that are asked for, and answers the same', async () => {
  const file = saveModel(temp(), network());
  const feeds = { x: { dtype: 'float32' as const, dims: [1, 64], data: new Uint8Array(256).fill(63) } };
  const answers: { min: number; max: number }[] = [];
  for (const options of [{}, { graphLevel: 'basic' as const, prepacking: false, arena: false }]) {
    const session = await openSession({ model: file, threads: 1, ...options });
    answers.push((await session.run(feeds, { outputs: 'summary' })).summaries[0]!);
    await session.close();
  }
  // Other kernels add in another order.
  expect(answers[1]!.min).toBeCloseTo(answers[0]!.min, 3);
  expect(answers[1]!.max).toBeCloseTo(answers[0]!.max, 3);
});

describe('advice', () => {
  async function quantized(perChannel: boolean): Promise<string> {
    const folder = temp();
    const output = path.join(folder, 'int8.onnx');
    await quantize({ model: saveModel(folder, network()), output, perChannel }, { log: silentLog });
    return output;
  }
  const failuresOf = async (file: string, options: Partial<ValidateOptions>) => {
    const result = await validate({ model: file, runs: 10, maxSeconds: 1, threads: 1, ...options }, { log: silentLog });
    return result.failures.join('\n');
  };

  test('tells how weights are kept', async () => {
    const floating = weightForms(await readModel(saveModel(temp(), network())));
    expect(floating).toEqual({ floatBytes: 2 * 64 * 64 * 4, quantizedBytes: 0, perTensor: 0 });
    const bytes = { floatBytes: 0, quantizedBytes: 2 * 64 * 64 };
    expect(weightForms(await readModel(await quantized(true)))).toEqual({ ...bytes, perTensor: 0 });
    expect(weightForms(await readModel(await quantized(false)))).toEqual({ ...bytes, perTensor: 2 });
  });

  test('never says to quantize more where all of it is quantized', async () => {
    const limits = { maxSizeMb: 0.001, maxMemoryMb: 1, maxLatencyP50Ms: 1e-6 };
    const whole = await failuresOf(await quantized(true), limits);
    expect(whole).toMatch(/Size on disk .* all of its weights are quantized/);
    expect(whole).not.toMatch(/quantize more/);
    const floating = await failuresOf(saveModel(temp(), network()), limits);
    expect(floating.match(/quantize more of/g)).toHaveLength(3);
  });
});
