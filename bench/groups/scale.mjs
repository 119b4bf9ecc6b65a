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
  const planned = plannedMemory(size);
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
