import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { MODELS } from '../matrix/models.mjs';
import { packageFolder } from '../matrix/packages.mjs';
import { measureModel } from '../matrix/row.mjs';
import { COUNT, writeSamples } from '../matrix/samples.mjs';
import { measured, run } from '../support/child.mjs';
import { writeDetector, writeReader } from '../support/conv-models.mjs';
import { mebibytes } from '../support/statistics.mjs';

const published = (name) => MODELS.find((model) => model.name === name);
const built = (name, what, write, samples) => ({ name, what, file: `${name}.onnx`, build: { write }, samples });

/** What each must reach: speed, cosine, channel-similarity, size ÷ FP32. */
const GOALS = [
  [
    built('detector', 'a detector with SiLU, 320 × 320', writeDetector, { kind: 'photo', size: [320, 320] }),
    { speed: 1.6, channels: 0.95 },
  ],
  [published('ppocr4-det'), { speed: 1.6, cosine: 0.98, channels: 0.9 }],
  [published('ppocr4-rec'), { speed: 1.6, cosine: 0.98, channels: 0.9 }],
  [published('ppocr4-cls'), { speed: 1.3 }],
  [
    built('reader', 'a reader: convolutions, LSTM, Gemm', writeReader, { kind: 'line', size: [48, 320] }),
    { speed: 1.9, size: 0.27 },
  ],
];

export const group = {
  title: 'Static: convolutions with integers',
  async run(context) {
    const tools = await toolsOf(context);
    const rows = [];
    for (const [entry, goal] of GOALS) {
      context.log(`  ${entry.what}`);
      const made = await measureModel(entry, tools).catch((error) => ({ skipped: error.message }));
      rows.push(made.skipped ? { what: entry.what, figure: 'skipped', note: made.skipped } : rowOf(made, goal));
    }
    rows.push(...(await memoryRows(tools)), ...(await calibrationRows(context, tools)));
    return rows;
  },
};

async function toolsOf({ root, directory, python, log }) {
  const rooms = ['compare', 'model', 'quantize', 'runtime', 'tune'];
  const loaded = await Promise.all(rooms.map((room) => import(path.join(root, 'lib', room, 'index.js'))));
  const lib = Object.fromEntries(rooms.map((room, i) => [room, loaded[i]]));
  const cache = path.join(root, 'report', 'matrix-packages');
  mkdirSync(cache, { recursive: true });
  const wants = (form) => form === 'static';
  return {
    root,
    lib,
    directory,
    cache,
    python,
    seededRandom: lib.runtime.seededRandom,
    log,
    wants,
    seconds: 8,
    keep: true,
  };
}

function rowOf({ what, forms: [form] }, goal) {
  if (form.error) return { what, figure: 'failed', met: false, note: form.error };
  const { speedup, interval, similarity, channelSimilarity, sizeRatio } = form;
  const reached = [
    [speedup, goal.speed ?? 0],
    [similarity, goal.cosine ?? 0],
    [channelSimilarity ?? 1, goal.channels ?? 0],
    [goal.size ?? 1, sizeRatio],
  ];
  const limits = [
    `≥ ${goal.speed} ×`,
    ...(goal.cosine ? [`cosine ≥ ${goal.cosine}`] : []),
    ...(goal.channels ? [`channels ≥ ${goal.channels}`] : []),
    ...(goal.size ? [`size ≤ ${goal.size}`] : []),
  ];
  const between = interval ? ` (${interval.low.toFixed(2)} to ${interval.high.toFixed(2)})` : '';
  return {
    what,
    figure: `${speedup.toFixed(2)} ×${between}, cosine ${similarity.toFixed(4)}, channels ${channelSimilarity?.toFixed(3) ?? '–'}, size ${sizeRatio.toFixed(2)}`,
    limit: limits.join(', '),
    met: reached.every(([figure, limit]) => figure >= limit),
    note: 'a quarter of the samples, which was not calibrated on',
    values: form,
  };
}

/** What stays in memory of the reader, which is mostly weights, when it is loaded. */
async function memoryRows({ lib, directory, log }) {
  const taken = async (file) => {
    const session = await lib.runtime.openSession({ model: path.join(directory, 'reader', file), provider: 'cpu' });
    const { residentBytes } = await session.memory();
    await session.close();
    return residentBytes - session.load.baselineBytes;
  };
  if (!existsSync(path.join(directory, 'reader', 'static.onnx'))) return [];
  log('  resident memory');
  const [float, integer] = [await taken('reader.onnx'), await taken('static.onnx')];
  return [
    {
      what: 'resident memory of the reader, loaded, INT8 ÷ FP32',
      figure: `${(integer / float).toFixed(2)} (${mebibytes(integer)} ÷ ${mebibytes(float)})`,
      limit: '≤ 0.5',
      met: integer <= 0.5 * float,
      values: { float, integer },
    },
  ];
}

/** What calibrating PP-OCR's detection costs, beside its own runs and beside Python. */
async function calibrationRows({ python, directory, log }, tools) {
  const entry = published('ppocr4-det');
  const folder = path.join(directory, 'calibrate');
  mkdirSync(folder, { recursive: true });
  try {
    const model = path.join(await packageFolder(entry.from, tools), entry.file);
    const samples = path.join(folder, 'samples.npz');
    await writeSamples(samples, { samples: entry.samples, model }, tools);
    log('  calibration');
    const { result: ours, peakBytes } = await measured('calibrate', [model, samples, COUNT]);
    const all = peakBytes + ours.peakBytes;
    const what = `calibration, percentile, ${COUNT} pages, ${ours.values} values`;
    const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;
    const rows = [
      {
        what: `${what} ÷ its inferences`,
        figure: `${(ours.ms / ours.runMs).toFixed(2)} (${seconds(ours.ms)} ÷ ${seconds(ours.runMs)})`,
        limit: '≤ 1.3',
        met: ours.ms <= 1.3 * ours.runMs,
        values: ours,
      },
    ];
    if (!python) return [...rows, { what: `${what} ÷ Python`, figure: 'skipped', note: 'no Python (BENCH_PYTHON)' }];
    log('  calibration by Python');
    const script = path.join(tools.root, 'bench', 'children', 'calibrate.py');
    const theirs = JSON.parse(
      (await run(python.path, [script, model, samples, String(COUNT), folder])).trim().split('\n').at(-1),
    );
    rows.push(
      {
        what: `${what} ÷ Python's, time`,
        figure: `${(ours.ms / theirs.ms).toFixed(2)} (${seconds(ours.ms)} ÷ ${seconds(theirs.ms)})`,
        limit: '≤ 0.5',
        met: ours.ms <= 0.5 * theirs.ms,
      },
      {
        what: `${what} ÷ Python's, peak memory of all processes`,
        figure: `${(all / theirs.peakBytes).toFixed(2)} (${mebibytes(all)} ÷ ${mebibytes(theirs.peakBytes)})`,
        limit: '≤ 0.3',
        met: all <= 0.3 * theirs.peakBytes,
        values: { ours: all, theirs: theirs.peakBytes },
      },
    );
    return rows;
  } catch (error) {
    return [{ what: 'calibration', figure: 'skipped', note: error.message }];
  }
}
