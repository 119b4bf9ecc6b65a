import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Cache } from '../../src/actions/cache.ts';
import { compare } from '../../src/actions/compare.ts';
import { getInputs } from '../../src/actions/inputs.ts';
import { quantize } from '../../src/actions/quantize.ts';
import { readReceipt, silentLog } from '../../src/receipt/index.ts';
import { saveExternalModel, saveModel } from '../support/onnx-builder.ts';
import { smallModel } from '../support/small-model.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

describe('quantize with cache', () => {
  it('keeps a result and puts it in place again, byte for byte, with a receipt of its own', async () => {
    const { folder, run, entries } = workplace();
    saveModel(folder, smallModel());
    const first = await run({ report: 'one' });
    expect(entries()).toHaveLength(1);
    const made = readFileSync(path.join(folder, 'model_int8.onnx'));
    writeFileSync(path.join(folder, 'model_int8.onnx'), 'old');

    const second = await run({ report: 'two', threads: '1' });
    expect(second.warnings).toEqual([]);
    expect(second.said.join('\n')).toContain('Taken from the cache');
    expect(second.said.join('\n')).not.toContain('Writing');
    expect(readFileSync(path.join(folder, 'model_int8.onnx'))).toEqual(made);
    expect(second.outputs).toEqual({ ...first.outputs, report: expect.stringContaining('two') });
    const [before, after] = await Promise.all(
      [first, second].map(({ outputs }) => readReceipt(String(outputs.report))),
    );
    expect(after).toMatchObject({
      modelRoot: before!.modelRoot,
      inputs: { threads: '1', report: after!.inputs.report },
    });
    expect(after!.results).toMatchObject({ fromCache: before!.createdAt, nodesQuantized: 2 });
    expect(before!.results).not.toHaveProperty('fromCache');
    expect(after!.files.map(({ root, role }) => [root, role])).toEqual(before!.files.map((f) => [f.root, f.role]));
    expect(second.summary).toContain('Taken from the cache');
  });

  it('keeps external data with its graph', async () => {
    const { folder, run, entries } = workplace();
    saveExternalModel(folder, smallModel());
    const first = await run({});
    expect(first.outputs.data).toMatch(/model_int8\.onnx\.data$/);
    const again = await run({});
    expect(again.outputs).toEqual(first.outputs);
    expect(again.said.join('\n')).toContain('Taken from the cache');
    expect(entries()).toHaveLength(1);
  });

  it('makes another result for another model, option or name', async () => {
    const { folder, run, entries } = workplace();
    saveModel(folder, smallModel());
    await run({});
    await run({ method: 'weight-only' });
    await run({ output: path.join(folder, 'other.onnx') });
    saveModel(
      folder,
      smallModel((weights) => weights.fill(0.5, 0, 9)),
    );
    const last = await run({});
    expect(last.said.join('\n')).not.toContain('Taken from the cache');
    expect(entries()).toHaveLength(4);
  });

  it.each([
    ['a byte differs', (entry: string) => damage(path.join(entry, 'model_int8.onnx')), 'digests'],
    ['the model is cut', (entry: string) => truncateSync(path.join(entry, 'model_int8.onnx'), 100), 'truncated'],
    ['the receipt is empty', (entry: string) => truncateSync(path.join(entry, 'quantize.json'), 0), 'not JSON'],
    [
      'the receipt is about another model',
      (entry: string) => {
        const file = path.join(entry, 'quantize.json');
        const receipt = JSON.parse(readFileSync(file, 'utf8'));
        receipt.files[0].root = '0'.repeat(64);
        writeFileSync(file, JSON.stringify(receipt));
      },
      'another model',
    ],
  ])('warns and quantizes where %s', async (_, harm, reason) => {
    const { folder, run, entries } = workplace();
    saveModel(folder, smallModel());
    const first = await run({});
    harm(entries()[0]!);
    const { outputs, warnings } = await run({});
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain(reason);
    expect(outputs).toEqual(first.outputs);
    expect((await readReceipt(String(outputs.report))).results).not.toHaveProperty('fromCache');
  });

  it('is a plain run where it is off, dry, or without a service, and says the last', async () => {
    const { folder, run, entries } = workplace();
    saveModel(folder, smallModel());
    const alone = await run({}, { service: false });
    expect(alone.warnings).toEqual([]);
    expect(alone.said.filter((line) => line.includes('no cache service'))).toHaveLength(1);
    await run({ cache: 'false' });
    await run({ 'dry-run': 'true' });
    expect(entries()).toEqual([]);
  });
});

describe('compare with a baseline', () => {
  it('takes outputs and times of the reference from the service where the folder is gone', async () => {
    const { folder, cache, entries } = workplace();
    const reference = saveModel(folder, smallModel());
    const texts: Record<string, string> = {
      reference,
      model: reference,
      baseline: path.join(folder, 'baseline'),
      count: '2',
      'max-seconds': '1',
      threads: '1',
    };
    const context = { log: silentLog, signal: new AbortController().signal, step: () => undefined };
    const run = async () => {
      const inputs = getInputs('compare', (name) => texts[name]);
      const { outputs } = await compare(inputs, { ...context, temporaryFolder: temp(), cache });
      return (await readReceipt(String(outputs.report))).results;
    };
    expect(await run()).toMatchObject({ speed: { mode: 'alternating' } });
    expect(entries()).toEqual([expect.stringMatching(/onnx-compare-baseline-[0-9a-f]{32}$/)]);
    rmSync(texts.baseline!, { recursive: true });
    expect(await run()).toMatchObject({ speed: { mode: 'stored' } });
    delete texts.baseline;
    expect(await run()).toMatchObject({ speed: { mode: 'alternating' } });
    expect(entries()).toHaveLength(1);
  });
});

/** A folder to quantize in, and a cache service that is another folder. */
function workplace() {
  const folder = temp();
  const service = temp();
  const cache: Cache = {
    folder: path.join(temp(), 'kept'),
    restore: async (target, key) => {
      if (!existsSync(path.join(service, key))) return false;
      cpSync(path.join(service, key), target, { recursive: true });
      return true;
    },
    save: async (source, key) => cpSync(source, path.join(service, key), { recursive: true }),
  };
  const run = async (given: Record<string, string>, { service: there = true } = {}) => {
    const said: string[] = [];
    const warnings: string[] = [];
    const report = path.join(folder, given.report ?? 'report');
    const texts: Record<string, string> = { model: path.join(folder, 'model.onnx'), cache: 'true', ...given, report };
    const result = await quantize(
      getInputs('quantize', (name) => texts[name]),
      {
        log: {
          ...silentLog,
          info: (message) => said.push(message),
          warning: (message) => warnings.push(message),
          progress: ({ label }) => said.push(label),
        },
        signal: new AbortController().signal,
        temporaryFolder: temp(),
        step: () => undefined,
        ...(there ? { cache } : {}),
      },
    );
    mkdirSync(cache.folder, { recursive: true });
    expect(readdirSync(cache.folder)).toEqual([]);
    return { ...result, said, warnings };
  };
  return { folder, run, cache, entries: () => readdirSync(service).map((name) => path.join(service, name)) };
}

function damage(file: string): void {
  const bytes = readFileSync(file);
  const at = bytes.length >> 1;
  bytes[at] = bytes[at]! ^ 1;
  writeFileSync(file, bytes);
}
