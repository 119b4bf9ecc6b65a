import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type QuantizeOptions, type QuantizeResult, quantize } from '../../src/quantize/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { npyHeader } from '../../src/runtime/index.ts';
import type { OrtFeed } from './ort-run.ts';

/** Writes samples as .npy files into a new folder inside `parent` and returns it. */
export function saveSamples(parent: string, feeds: readonly OrtFeed[]): string {
  const folder = path.join(parent, 'samples');
  mkdirSync(folder);
  for (const [index, { dims, data }] of feeds.entries()) {
    const header = npyHeader('float32', [...dims]);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    writeFileSync(path.join(folder, `${index}.npy`), Buffer.concat([header, bytes]));
  }
  return folder;
}

/** Quantizes by `static` into `folder`. */
export function quantizeStatic(
  folder: string,
  model: string,
  calibrationData: string,
  options: Partial<QuantizeOptions> = {},
): Promise<QuantizeResult> {
  const output = path.join(folder, 'int8.onnx');
  return quantize({ model, output, method: 'static', calibrationData, report: folder, ...options }, { log: silentLog });
}
