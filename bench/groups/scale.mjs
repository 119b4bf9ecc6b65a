import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { statSync } from 'node:fs';
import path from 'node:path';
import { measured } from '../support/child.mjs';
import { removeAll } from '../support/machine.mjs';
import { writeNodeModel } from '../support/node-model.mjs';
import { mebibytes, seconds } from '../support/statistics.mjs';

/** Graphs with very many nodes or weights; each weight has 4 KiB, in external data. */
const GRAPHS = [
  { nodes: 20_000, weights: 1 },
  { nodes: 10_000, weights: 5_000 },
  { nodes: 20_000, weights: 18_000 },
  { nodes: 40_000, weights: 40_000 },
  { nodes: 100_000, weights: 20_000, limitMs: 10_000 },
];

export const group = {
  title: 'Scale: very many nodes and weights',
  async run(context) {
    const rows = [];
    for (const each of GRAPHS) rows.push(...(await scaleRows(context, each)));
    rows.push(await cancelRow(context));
    return rows;
  },
};

async function scaleRows({ root, directory, log }, { nodes, weights, limitMs }) {
  const file = path.join(directory, 'scale.onnx');
  await writeNodeModel(root, file, { nodes, weights });
  const { size } = statSync(file);
  const of = `${nodes.toLocaleString('en')} nodes, ${weights.toLocaleString('en')} weight${weights === 1 ? '' : 's'}`;
  log(`  quantizing ${of}`);
  const { ms, peakBytes } = await measured('quantize', [file, path.join(directory, 'out-scale.onnx'), false]);
  removeAll(directory, 'out-');
  removeAll(directory, 'scale');
  const { plannedMemory } = await import(path.join(root, 'lib', 'quantize', 'plan', 'memory.js'));
  // At most every fifth node is a product where there are fewer weights, see writeNodeModel.
  const planned = plannedMemory(size, Math.max(weights, Math.ceil(nodes / 5)));
  return [
    {
      what: `wall: ${of}`,
      figure: seconds(ms),
      ...(limitMs ? { limit: `≤ ${seconds(limitMs)}`, met: ms <= limitMs } : {}),
      note: `a graph of ${(size / 1e6).toFixed(1)} MB`,
      values: { ms },
    },
    {
      what: `peak RSS (VmHWM): ${of}`,
      figure: mebibytes(peakBytes),
      limit: `≤ ${mebibytes(planned)}, as planned`,
      ...(peakBytes === undefined ? {} : { met: peakBytes <= planned }),
      note: peakBytes === undefined ? '' : `${(peakBytes / size).toFixed(0)} bytes per byte of graph`,
      values: { peakBytes, size },
    },
  ];
}

/** Moments at which the run over the largest graph is cancelled, as parts of its time. */
const MOMENTS = Array.from({ length: 12 }, (_, i) => (i + 0.5) / 12);

/** How long a run goes on after Ctrl-C, at whatever it is. */
async function cancelRow({ root, directory, log }) {
  const file = path.join(directory, 'scale.onnx');
  const { nodes, weights } = GRAPHS.at(-1);
  await writeNodeModel(root, file, { nodes, weights });
  log(`  cancelling runs over ${nodes.toLocaleString('en')} nodes`);
  const command = [path.join(root, 'lib', 'cli.js'), 'quantize', '--model', file, '--quiet'];
  const run = async (afterMs) => {
    const child = spawn(process.execPath, [...command, '--output', path.join(directory, 'out-scale.onnx')], {
      stdio: 'ignore',
    });
    const ended = once(child, 'exit');
    const start = performance.now();
    let stopped = start;
    const timer = setTimeout(() => {
      stopped = performance.now();
      child.kill('SIGINT');
    }, afterMs);
    const [code] = await ended;
    clearTimeout(timer);
    removeAll(directory, 'out-');
    return { code, ms: performance.now() - stopped };
  };
  const whole = await run(2 ** 30);
  if (whole.code !== 0) throw new Error(`quantize ended with ${whole.code}`);
  const times = [];
  // The process starts, and listens to signals, within the first of the moments.
  for (const moment of MOMENTS) {
    const { code, ms } = await run(moment * whole.ms);
    if (code === 130) times.push(ms);
  }
  removeAll(directory, 'scale');
  times.sort((a, b) => a - b);
  const slowest = times.at(-1);
  return {
    what: `Ctrl-C at ${times.length} moments of a run over ${nodes.toLocaleString('en')} nodes: until the process has ended`,
    figure: `${seconds(slowest)} at most`,
    limit: `≤ ${seconds(1000)}`,
    met: slowest <= 1000,
    note: `median ${seconds(times[times.length >> 1])}, of a run of ${seconds(whole.ms)}`,
    values: { times, whole: whole.ms },
  };
}
