import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { quantize } from '../../src/quantize/index.ts';
import { readReceipt, silentLog } from '../../src/receipt/index.ts';
import { ortRun } from '../support/ort-run.ts';
import { useTemp } from '../support/temp.ts';
import { cosine, realModels } from './real-models.ts';

const temp = useTemp();

describe('real models', () => {
  for (const method of ['dynamic', 'weight-only'] as const) {
    it.each(realModels)(`$name comes out of ${method} loadable, smaller and alike`, async ({ file, feeds }) => {
      const folder = temp();
      const output = path.join(folder, 'int8.onnx');
      const result = await quantize({ model: file, output, method, report: folder }, { log: silentLog });
      expect(statSync(output).size).toBeLessThan(statSync(file).size / 2);
      expect(result.compressionRatio).toBeCloseTo(statSync(file).size / statSync(output).size, 6);
      const [reference, quantized] = [await ortRun(file, feeds()), await ortRun(output, feeds())];
      for (const [name, { data }] of Object.entries(reference)) {
        expect(quantized[name]!.dims).toEqual(reference[name]!.dims);
        expect(cosine(data as Float32Array, quantized[name]!.data as Float32Array), name).toBeGreaterThanOrEqual(0.98);
      }
      const receipt = await readReceipt(result.report);
      expect(receipt.modelRoot).toBe(result.root);
      expect(readdirSync(folder).sort()).toEqual(['int8.onnx', 'int8.quantize.json']);
    });
  }
});

it('names the source in the receipt, unless told to save the time', async () => {
  const { file } = realModels[0]!;
  const folder = temp();
  const output = path.join(folder, 'int8.onnx');
  const rolesWith = async (sourceDigest?: boolean) => {
    const { report } = await quantize({ model: file, output, sourceDigest, report: folder }, { log: silentLog });
    return (await readReceipt(report)).files.map(({ role }) => role);
  };
  expect(await rolesWith()).toEqual(['read', 'written']);
  expect(await rolesWith(false)).toEqual(['written']);
});
