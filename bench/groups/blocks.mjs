import { statSync } from 'node:fs';
import path from 'node:path';
import { measured } from '../support/child.mjs';
import { freeBytes, removeAll } from '../support/machine.mjs';
import { roomFor, writeBenchModel, writeProducts } from '../support/model.mjs';
import { gigabytes, mebibytes, median, seconds } from '../support/statistics.mjs';

/** An eighth for the codes, and of each 32 weights a scale and half a byte. */
const SHARE = 1 / 8 + 4.5 / 128;
const FOUR_BITS = { method: 'weight-only', bits: 4 };
const FORMS = [
  ['`dynamic` INT8', {}],
  ['4 bits', FOUR_BITS],
  ['4 bits, symmetric', { ...FOUR_BITS, weightSymmetric: true }],
  ['8 bits in blocks of 32', { method: 'weight-only', blockSize: 32 }],
];
const ROWS = [1, 16, 128];
const [DEPTH, WIDTH] = [2048, 8192];
const SPEECH_BYTES = 0.5e9;

export const group = {
  title: 'Blocks: 4 bits against a plain copy, and when they pay',
  run: async (context) => [
    ...(await wallRows(context)),
    ...(await largeRows(context)),
    ...(await productRows(context)),
    ...(await speechRows(context)),
  ],
};

/** Quantizing to 4 bits against reading all and writing what it writes, in alternating turns. */
async function wallRows({ root, directory, sizeBytes, pairs, log }) {
  const what = `4 bits, ${gigabytes(sizeBytes)}`;
  if (freeBytes(directory) < roomFor(sizeBytes)) return [{ what, figure: 'skipped', note: 'too little disk is free' }];
  log('  making the main model');
  const file = path.join(directory, 'blocks.onnx');
  const size = await writeBenchModel(root, file, sizeBytes);
  const times = { floor: [], quantize: [] };
  let peak = 0;
  for (let pair = -1; pair < pairs; pair++) {
    log(pair < 0 ? '  warming up' : `  pair ${pair + 1} of ${pairs}`);
    const target = path.join(directory, 'out-blocks.onnx');
    const floor = await measured('copy-floor', [`${file}.data`, target, SHARE]);
    removeAll(directory, 'out-');
    const made = await measured('quantize', [file, target, false, JSON.stringify(FOUR_BITS)]);
    removeAll(directory, 'out-');
    if (pair < 0) continue;
    times.floor.push(floor.ms);
    times.quantize.push(made.ms);
    peak = Math.max(peak, made.peakBytes ?? 0);
  }
  removeAll(directory, 'blocks');
  const ratios = times.quantize.map((ms, i) => ms / times.floor[i]);
  const ratio = median(ratios);
  const wall = median(times.quantize);
  return [
    {
      what: `4 bits, ${gigabytes(size)}, one pass, chunk digests of the output`,
      figure: `${seconds(wall)} = ${ratio.toFixed(2)} × floor (${seconds(median(times.floor))})`,
      limit: '≤ 1.5 × floor',
      met: ratio <= 1.5,
      note: `median of ${pairs}`,
      values: { ...times, ratios },
    },
    { what: '4 bits, peak RSS (VmHWM)', figure: mebibytes(peak), limit: '≤ 128 MiB', met: peak <= 128 * 2 ** 20 },
  ];
}

/** Four products of 2048 × 8192, by the rows of their input. */
async function productRows(context) {
  const file = path.join(context.directory, 'rows.onnx');
  await writeProducts(context.root, file, { depth: DEPTH, width: WIDTH });
  const input = { name: 'x', dtype: 'float32', dims: ['rows', DEPTH] };
  return byRows(context, file, input, `four MatMul of ${DEPTH} × ${WIDTH}`);
}

/** The model of SARAi's shape, by its frames. */
async function speechRows(context) {
  const file = path.join(context.directory, 'rows.onnx');
  await writeBenchModel(context.root, file, SPEECH_BYTES, { open: true });
  const input = { name: 'audio_codes', dtype: 'int64', dims: [1, 16, 'rows'] };
  return byRows(context, file, input, `speech model of ${gigabytes(SPEECH_BYTES)}`);
}

/** P50, load, memory and similarity of a model in every form, at several numbers of rows a product. */
async function byRows({ directory, log }, file, input, what) {
  log(`  ${what}, by rows`);
  const models = [file];
  for (const [i, [, options]] of FORMS.entries()) {
    const output = path.join(directory, `rows-${i}.onnx`);
    await measured('quantize', [file, output, false, JSON.stringify(options)]);
    models.push(output);
  }
  const { result } = await measured('rows', [JSON.stringify(input), ROWS.join(','), ...models]);
  const rows = result.map(({ loadMs, residentBytes, p50, cosines }, i) => {
    const [name] = i === 0 ? ['FP32'] : FORMS[i - 1];
    const times = p50.map((ms) => ms.toFixed(1)).join(' / ');
    const alike = i === 0 ? '' : `; cosine ${Math.min(...cosines).toFixed(4)}`;
    return {
      what: `${what}, ${name}: P50 at ${ROWS.join(' / ')} rows`,
      figure: `${times} ms`,
      note: `load ${loadMs.toFixed(0)} ms, resident ${mebibytes(residentBytes)}, file ${mebibytes(sizeOf(models[i]))}${alike}`,
      values: { loadMs, residentBytes, p50, cosines },
    };
  });
  removeAll(directory, 'rows');
  return rows;
}

/** How memory and time grow: 0.5 GB against a sparse model of `--large`. */
async function largeRows({ root, directory, largeBytes, log }) {
  const what = 'large sparse model';
  if (!largeBytes) return [{ what, figure: 'skipped', note: '--large 0' }];
  if (freeBytes(directory) < largeBytes * SHARE + 1e9) {
    return [{ what, figure: 'skipped', note: 'too little disk is free' }];
  }
  const runs = [];
  for (const bytes of [0.5e9, largeBytes]) {
    log(`  4 bits of ${gigabytes(bytes)}, sparse`);
    const file = path.join(directory, 'sparse.onnx');
    const size = await writeBenchModel(root, file, bytes, { sparse: true });
    const target = path.join(directory, 'out-sparse.onnx');
    runs.push({ size, ...(await measured('quantize', [file, target, false, JSON.stringify(FOUR_BITS)])) });
    removeAll(directory, 'out-');
    removeAll(directory, 'sparse');
  }
  const [small, large] = runs;
  const exponent = Math.log(large.ms / small.ms) / Math.log(large.size / small.size);
  return [
    {
      what: `4 bits, ${gigabytes(small.size)} to ${gigabytes(large.size)}: time grows with the size to the power of`,
      figure: exponent.toFixed(2),
      limit: '≤ 1.05',
      met: exponent <= 1.05,
      note: `${seconds(small.ms)} and ${seconds(large.ms)}; peak RSS ${mebibytes(small.peakBytes)} and ${mebibytes(large.peakBytes)}`,
      values: { exponent, runs },
    },
  ];
}

function sizeOf(model) {
  return statSync(model).size + (statSync(`${model}.data`, { throwIfNoEntry: false })?.size ?? 0);
}
