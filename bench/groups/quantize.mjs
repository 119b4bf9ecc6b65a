import { existsSync, statSync } from 'node:fs';
import path from 'node:path';
import { measured, run } from '../support/child.mjs';
import { freeBytes, removeAll } from '../support/machine.mjs';
import { roomFor, writeBenchModel } from '../support/model.mjs';
import { gigabytes, mebibytes, median, seconds } from '../support/statistics.mjs';

const SMALL_BYTES = 0.5e9;
const SINGLE_FILE_BYTES = 1.9e9;
const GATED = 'quantize (plan, both passes, chunk digests, graph, commit, receipt)';
const RSS_LIMIT = 128 * 2 ** 20;

export const group = {
  title: 'Quantize: against a plain copy, and against Python',
  async run(context) {
    const rows = [];
    const peaks = [];
    const small = await model(context, 'small', SMALL_BYTES);
    peaks.push(await once(context, small));
    rows.push(peakRow(peaks[0]));
    rows.push(...(await latencyRows(context, small)));
    small.remove();

    const main = await model(context, 'main', context.sizeBytes);
    if (main.skipped) rows.push({ what: `${gigabytes(context.sizeBytes)} model`, ...skipped(main.skipped) });
    else {
      rows.push(...(await floorRows(context, main)));
      peaks.push(await once(context, main));
      rows.push(peakRow(peaks[1]));
      rows.push(...(await pythonRows(context, main)));
      main.remove();
    }
    rows.push(...(await largeRows(context, peaks)), ...(await singleFileRows(context)));
    return rows;
  },
};

const skipped = (note) => ({ figure: 'skipped', note });

/** Writes a model into a folder of its own, if there is room for it and its quarter. */
async function model({ root, directory, log }, name, bytes, options = {}) {
  const needed = options.sparse ? bytes / 4 + 1e9 : roomFor(bytes);
  if (freeBytes(directory) < needed) {
    return { skipped: `needs ${gigabytes(needed)} of disk, ${gigabytes(freeBytes(directory))} are free` };
  }
  log(`  making the ${name} model`);
  const file = path.join(directory, `${name}.onnx`);
  const size = await writeBenchModel(root, file, bytes, options);
  return { name, file, size, remove: () => removeAll(directory, name) };
}

/** One quantization of a model; its output is removed. */
async function once({ directory, log }, { name, file, size }) {
  log(`  quantizing ${name}, ${gigabytes(size)}`);
  const output = path.join(directory, `out-${name}.onnx`);
  const { ms, peakBytes } = await measured('quantize', [file, output]);
  removeAll(directory, 'out-');
  return { ms, peakBytes, size };
}

function peakRow({ peakBytes, size }) {
  return {
    what: `peak RSS (VmHWM), ${gigabytes(size)}`,
    figure: mebibytes(peakBytes),
    limit: '≤ 128 MiB',
    ...(peakBytes === undefined ? {} : { met: peakBytes <= RSS_LIMIT }),
    values: { peakBytes },
  };
}

/** Wall time against the copy floor, in alternating turns. */
async function floorRows({ directory, pairs, log }, { file, size }) {
  const data = `${file}.data`;
  const ways = {
    floor: (target) => measured('copy-floor', [data, target]),
    'both passes, no digests': (target) => measured('engine', [file, target, false]),
    'both passes with chunk digests': (target) => measured('engine', [file, target, true]),
    [GATED]: (target) => measured('quantize', [file, target, false]),
    "quantize by default: also the source's SHA-256, for the receipt": (target) => measured('quantize', [file, target]),
  };
  const times = Object.fromEntries(Object.keys(ways).map((name) => [name, []]));
  for (let pair = -1; pair < pairs; pair++) {
    log(pair < 0 ? '  warming up' : `  pair ${pair + 1} of ${pairs}`);
    for (const [name, way] of Object.entries(ways)) {
      const { ms } = await way(path.join(directory, 'out-wall.onnx'));
      removeAll(directory, 'out-');
      if (pair >= 0) times[name].push(ms);
    }
  }
  const { floor, ...others } = times;
  const rows = [
    {
      what: `copy floor, ${gigabytes(size)}`,
      figure: seconds(median(floor)),
      note: range(floor),
      values: { ms: floor },
    },
  ];
  for (const [name, ms] of Object.entries(others)) {
    const ratios = ms.map((each, i) => each / floor[i]);
    const ratio = median(ratios);
    const limit = name === GATED ? { limit: '≤ 1.5 × floor', met: ratio <= 1.5 } : {};
    rows.push({
      what: `wall: ${name}`,
      figure: `${seconds(median(ms))} = ${ratio.toFixed(2)} × floor`,
      ...limit,
      note: `median of ${ms.length}, ${range(ms)}`,
      values: { ms, ratios },
    });
  }
  return rows;
}

const range = (ms) => `${seconds(Math.min(...ms))} to ${seconds(Math.max(...ms))}`;

async function pythonRows({ python, directory, log }, { file }) {
  const what = 'Python: onnxruntime.quantization, same model';
  if (!python) return [{ what, ...skipped('no Python with onnxruntime here') }];
  log('  the same in Python');
  const { seconds: wall, peak } = await inPython(python, file, path.join(directory, 'out-python.onnx'));
  removeAll(directory, 'out-');
  const figure = `${wall.toFixed(1)} s, ${peak ? gigabytes(peak) : 'unknown'} peak RSS`;
  return [{ what, figure, note: `onnxruntime ${python.version}`, values: { wall, peak } }];
}

async function inPython({ path: command }, model, output) {
  const script = new URL('../children/quantize.py', import.meta.url).pathname;
  return JSON.parse((await run(command, [script, model, output])).trim().split('\n').at(-1));
}

/** A sparse model: how memory and time grow. */
async function largeRows(context, peaks) {
  const what = 'large sparse model';
  if (!context.largeBytes) return [{ what, ...skipped('--large 0') }];
  const large = await model(context, 'large', context.largeBytes, { sparse: true });
  if (large.skipped) return [{ what, ...skipped(large.skipped) }];
  const result = await once(context, large);
  large.remove();
  const small = await model(context, 'sparse', SMALL_BYTES, { sparse: true });
  await once(context, small);
  const base = [await once(context, small), await once(context, small), await once(context, small)];
  small.remove();
  const reference = median(base.map(({ ms }) => ms));
  const exponent = Math.log(result.ms / reference) / Math.log(result.size / base[0].size);
  const all = [...peaks, result].map(({ peakBytes }) => peakBytes);
  const middle = (Math.max(...all) + Math.min(...all)) / 2;
  const spread = (Math.max(...all) - middle) / middle;
  return [
    peakRow(result),
    {
      what: 'peak RSS over all sizes',
      figure: `${mebibytes(middle)} ± ${(100 * spread).toFixed(0)} %`,
      limit: '± 15 %',
      met: spread <= 0.15,
      values: { peaks: all },
    },
    {
      what: `time from ${gigabytes(base[0].size)} to ${gigabytes(result.size)}, both sparse`,
      figure: `${seconds(reference)} → ${seconds(result.ms)}, exponent ${exponent.toFixed(2)}`,
      limit: '≤ 1.05',
      met: exponent <= 1.05,
      values: { exponent },
    },
  ];
}

/** The same bound for a model whose weights lie inside the protobuf. */
async function singleFileRows(context) {
  const { root, directory } = context;
  const what = `peak RSS (VmHWM), single file of ${gigabytes(SINGLE_FILE_BYTES)}`;
  const source = await model(context, 'single-source', SINGLE_FILE_BYTES);
  if (source.skipped) return [{ what, ...skipped(source.skipped) }];
  const { readModel, writeModel } = await import(path.join(root, 'lib', 'model', 'index.js'));
  const file = path.join(directory, 'single.onnx');
  await writeModel(await readModel(source.file), file, { external: 'never' });
  source.remove();
  const { size } = statSync(file);
  const result = await once(context, { name: 'single', file, size });
  removeAll(directory, 'single');
  return [
    { ...peakRow(result), what: `peak RSS (VmHWM), single file of ${gigabytes(size)}`, note: seconds(result.ms) },
  ];
}

/** P50 of the INT8 model against FP32 and against Python's INT8 of the same model. */
async function latencyRows({ directory, python, log }, { file }) {
  log('  latency of FP32 and INT8');
  const ours = path.join(directory, 'out-ours.onnx');
  const theirs = path.join(directory, 'out-python.onnx');
  await measured('quantize', [file, ours]);
  if (python) await inPython(python, file, theirs);
  const models = [file, ours, ...(existsSync(theirs) ? [theirs] : [])];
  const { result } = await measured('latency', [25, ...models]);
  const [fp32, int8, other] = result;
  removeAll(directory, 'out-');
  const rows = [
    {
      what: 'P50 of the INT8 model against FP32 (0.5 GB)',
      figure: `${int8.toFixed(1)} ms against ${fp32.toFixed(1)} ms = ${(fp32 / int8).toFixed(2)} × as fast`,
      values: { fp32, int8 },
    },
  ];
  const what = "P50 against Python's INT8";
  if (other === undefined) rows.push({ what, ...skipped('no Python with onnxruntime here') });
  else {
    const ratio = other / int8;
    const figure = `${int8.toFixed(1)} ms against ${other.toFixed(1)} ms = ${ratio.toFixed(2)} × as fast`;
    rows.push({ what, figure, limit: '≥ 1.0 ×', met: ratio >= 1, values: { python: other } });
  }
  return rows;
}
