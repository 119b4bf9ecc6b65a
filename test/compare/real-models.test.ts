import path from 'node:path';
import { expect, test } from 'vitest';
import { compare } from '../../src/compare/index.ts';
import { quantize } from '../../src/quantize/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { validate } from '../../src/validate/index.ts';
import { realModels } from '../support/real-models.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

// Too few runs for the hygiene detector to have an opinion about a busy machine.
const few = { runs: 5, maxSeconds: 5, threads: 1 };

test.each([
  { name: 'text direction', file: realModels.ocrDirection, dims: ['x=1x3x48x192'] },
  { name: 'text recognition', file: realModels.ocrRecognition, dims: ['x=1x3x48x160'] },
  {
    name: 'voice activity',
    file: realModels.speech,
    dims: ['input=1x512', 'state=2x1x128'],
    ranges: ['sr=16000..16000', 'input=-0.1..0.1'],
  },
])('a published model passes validate and compare once quantized: $name', async (model) => {
  const { file, dims, ranges = [] } = model;
  const folder = temp();
  const output = path.join(folder, 'model_int8.onnx');
  await quantize({ model: file, output }, { log: silentLog });
  const shapes = { dims: dims.join(','), ranges: ranges.join(',') };
  const checked = await validate({ model: output, ...few, ...shapes }, { log: silentLog });
  expect(checked.failures).toEqual([]);
  expect(checked.verdict).toBe('pass');
  const compared = await compare(
    { reference: file, model: output, dims, ranges, count: 2, maxSeconds: 2, threads: 1, minSimilarity: 0.98 },
    { temporaryFolder: folder },
  );
  expect(compared.failures).toEqual([]);
  expect(compared.verdict).toBe('pass');
});
