import { execFile } from 'node:child_process';
import { statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { DataType } from '../../src/model/index.ts';
import { external, graph, model, node, saveModel, sparseFile, value } from '../support/onnx-builder.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const MIB = 2 ** 20;
const library = path.join(import.meta.dirname, '../../lib/quantize/index.js');

/** Quantizes in a process of its own and says the most memory it ever had resident. */
const CHILD = `
import { readFileSync } from 'node:fs';
import { quantize } from ${JSON.stringify(pathToFileURL(library).href)};
const log = { info() {}, warning() {}, error() {}, debug() {}, progress() {} };
const result = await quantize(JSON.parse(process.argv[2]), { log });
const peak = Number(/VmHWM:\\s+(\\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;
process.stdout.write(JSON.stringify({ peak, nodes: result.nodesQuantized }));
`;

it.runIf(process.platform === 'linux')(
  'quantizes 1 GB of external weights, half of them transposed, within 128 MiB',
  async () => {
    const folder = temp();
    const count = 16;
    const length = 4096 * 4096 * 4;
    const at = (i: number) => ({ location: 'model.onnx.data', offset: i * length, length });
    const file = saveModel(
      folder,
      model(
        graph({
          nodes: Array.from({ length: count }, (_, i) =>
            i % 2
              ? node('Gemm', [`h${i}`, `W${i}`], [`h${i + 1}`], { transB: 1 })
              : node('MatMul', [`h${i}`, `W${i}`], [`h${i + 1}`]),
          ),
          inputs: [value('h0', [1, 4096])],
          outputs: [value(`h${count}`, [1, 4096])],
          initializers: Array.from({ length: count }, (_, i) => external(`W${i}`, DataType.FLOAT, [4096, 4096], at(i))),
        }),
      ),
    );
    sparseFile(path.join(folder, 'model.onnx.data'), count * length);
    const script = path.join(folder, 'child.mjs');
    writeFileSync(script, CHILD);
    const output = path.join(folder, 'int8.onnx');
    const { stdout } = await promisify(execFile)(process.execPath, [script, JSON.stringify({ model: file, output })]);
    const { peak, nodes } = JSON.parse(stdout) as { peak: number; nodes: number };
    expect(nodes).toBe(count);
    expect(statSync(`${output}.data`).size).toBe((count * length) / 4);
    expect(peak).toBeLessThan(128 * MIB);
    expect(peak).toBeGreaterThan(20 * MIB);
  },
);
