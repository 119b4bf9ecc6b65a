import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Cache, decisionStore } from '../../src/actions/cache.ts';
import { compare } from '../../src/actions/compare.ts';
import { getInputs } from '../../src/actions/inputs.ts';
import { quantize } from '../../src/actions/quantize.ts';
import { readReceipt, silentLog } from '../../src/receipt/index.ts';
import { saveModel } from '../support/onnx-builder.ts';
import { smallModel } from '../support/small-model.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

describe('quantize with cache', () => {
  it('keeps no model, and says that the method has nothing to keep', async () => {
    const { folder, run, entries } = workplace();
    saveModel(folder, smallModel());
    for (const method of ['dynamic', 'weight-only', 'fp16']) {
      const { said, warnings, outputs } = await run({ method });
      expect(said.join('\n')).toContain(`Input "cache" does nothing for method ${method}`);
      expect(warnings).toEqual([]);
      expect(existsSync(String(outputs.model))).toBe(true);
    }
    expect(entries()).toEqual([]);
  });
});

describe('the store of decisions', () => {
  const key = 'ab'.repeat(32);

  it('gives back what was put, and leaves nothing in its folder', async () => {
    const { cache, service } = workplace();
    const store = decisionStore(cache, silentLog);
    expect(await store.get(key)).toBeUndefined();
    await store.put(key, 'text');
    expect((await store.get(key))?.toString()).toBe('text');
    expect(readdirSync(service)).toEqual([`onnx-quantize-decisions-${key}`]);
    expect(readdirSync(cache.folder)).toEqual([]);
  });

  it('takes an entry without the file, or with a link in its place, for none', async () => {
    const { cache, service } = workplace();
    const warnings: string[] = [];
    const store = decisionStore(cache, { ...silentLog, warning: (message) => warnings.push(message) });
    const entry = path.join(service, `onnx-quantize-decisions-${key}`);
    mkdirSync(entry);
    expect(await store.get(key)).toBeUndefined();
    symlinkSync(path.join(entry, 'nothing'), path.join(entry, 'decisions.json'));
    expect(await store.get(key)).toBeUndefined();
    expect(warnings).toEqual([
      expect.stringMatching(/does not exist.*made anew/),
      expect.stringMatching(/link to nothing.*made anew/),
    ]);
    expect(readdirSync(cache.folder)).toEqual([]);
  });
});

describe('compare with a baseline', () => {
  it('takes outputs of the reference, and no times, from the service where the folder is gone', async () => {
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
    const again = await run();
    expect(again).toMatchObject({ speed: { mode: 'alternating' } });
    expect(JSON.stringify(again.samples)).toContain('from-cache');
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
  return { folder, run, cache, service, entries: () => readdirSync(service).map((name) => path.join(service, name)) };
}
