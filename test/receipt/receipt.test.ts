import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.ts';
import {
  createReceipt,
  parseReceipt,
  pathInReceipt,
  type Receipt,
  readReceipt,
  receiptPath,
  writeReceipt,
} from '../../src/receipt/index.ts';
import { VERSION } from '../../src/version.generated.ts';

const DIGEST = 'ab'.repeat(32);

function sample(): Receipt {
  return createReceipt({
    now: new Date('2026-01-02T03:04:05.678Z'),
    action: 'quantize',
    inputs: { model: 'm.onnx' },
    modelRoot: DIGEST,
    files: [{ path: 'm.onnx', role: 'read', size: 12, root: DIGEST, chunks: [DIGEST] }],
    environment: { os: 'linux', arch: 'x64', cpu: 'Some CPU', cores: 2, isa: ['avx2'], node: 'v20.0.0' },
    results: { ratio: 3.9 },
    verdict: 'pass',
  });
}

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'receipt-'));
});
afterAll(() => rm(directory, { recursive: true }));

describe('receipts', () => {
  it('know the version that package.json says', async () => {
    const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8');
    expect(VERSION, 'run `npm run generate`').toBe(JSON.parse(text).version);
  });

  it('come back as they were written, with nothing left beside them', async () => {
    const file = path.join(directory, 'new', 'm.quantize.json');
    await writeReceipt(sample(), file);
    await writeReceipt(sample(), file);
    expect(await readReceipt(file)).toEqual(sample());
    expect(await readdir(path.dirname(file))).toEqual(['m.quantize.json']);
  });

  it('refuse NaN before anything is written', async () => {
    const file = path.join(directory, 'nan.json');
    await expect(writeReceipt({ ...sample(), results: { mse: Number.NaN } }, file)).rejects.toThrow('"mse" is NaN');
    expect(await readdir(directory)).not.toContain('nan.json');
  });

  it('leave no temporary file where writing fails', async () => {
    const folder = path.join(directory, 'taken.json');
    await writeReceipt(sample(), path.join(folder, 'inner.json'));
    await expect(writeReceipt(sample(), folder)).rejects.toThrow(InputError);
    expect((await readdir(directory)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('are found beside the model or in the report folder', () => {
    expect(receiptPath('a/agi.onnx', 'validate')).toBe(path.join('a', 'agi.validate.json'));
    expect(receiptPath('a/agi.v2.onnx', 'compare', 'reports')).toBe(path.join('reports', 'agi.v2.compare.json'));
  });

  it('name files relative to themselves where they lie below, otherwise as given', () => {
    expect(pathInReceipt('models/m.onnx', 'models/m.quantize.json')).toBe('m.onnx');
    expect(pathInReceipt('models/x/m.onnx', 'models/m.quantize.json')).toBe('x/m.onnx');
    expect(pathInReceipt('models/m.onnx', 'reports/m.quantize.json')).toBe('models/m.onnx');
    expect(pathInReceipt('..m.onnx', 'm.quantize.json')).toBe('..m.onnx');
  });

  it('that are missing or no JSON say so in one sentence', async () => {
    await expect(readReceipt(path.join(directory, 'none.json'))).rejects.toThrow(/none\.json" does not exist/);
    const file = path.join(directory, 'text.json');
    await writeFile(file, 'not json');
    await expect(readReceipt(file)).rejects.toThrow(/is not JSON/);
    await expect(readReceipt(file)).rejects.toThrow(InputError);
  });

  it.each([
    ['schema', 2, 'schema is 2'],
    ['tool', { name: 'other', version: '1' }, 'does not name onnx-quantize-actions'],
    ['action', 'destroy', '"action" is "destroy"'],
    ['createdAt', 'yesterday', 'not a date'],
    ['verdict', 'great', '"verdict" is "great"'],
    ['inputs', { model: 1 }, 'object of strings'],
    ['modelRoot', 'AB'.repeat(32), 'lower-case hex'],
    ['files', {}, 'not a list'],
    ['files', [{ path: 'a', role: 'read', size: -1, root: DIGEST }], 'entry 0 has the size -1'],
    ['files', [{ path: 'a', role: 'eaten', size: 1, root: DIGEST }], 'entry 0 has the role "eaten"'],
    ['files', [{ path: 'a', role: 'read', size: 1, root: DIGEST, chunks: ['x'] }], 'not a list of digests'],
    ['environment', { os: 'linux' }, 'has no "arch"'],
    ['results', [], '"results" are not an object'],
  ])('with a broken %s say so', (key, value, sentence) => {
    const text = JSON.stringify({ ...sample(), [key]: value });
    expect(() => parseReceipt(text, 'r.json')).toThrow(sentence);
    expect(() => parseReceipt(text, 'r.json')).toThrow(InputError);
  });

  it('never crash the reader, whatever the JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(...Object.keys(sample())), (value, key) => {
        for (const candidate of [value, { ...sample(), [key]: value }]) {
          try {
            parseReceipt(JSON.stringify(candidate), 'r.json');
          } catch (error) {
            expect(error).toBeInstanceOf(InputError);
          }
        }
      }),
      { numRuns: 500 },
    );
  });
});
