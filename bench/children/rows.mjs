/**
 * Models of one input and one FLOAT output, each in a session of its own, one after the other, at several numbers of rows.
 * Arguments: the input as JSON (`{"name":"x","dtype":"float32","dims":["rows",64]}`), rows as `1,16,128`, models. Prints
 * per model the load in ms, resident memory in bytes, P50 by rows in ms, and by rows the cosine with the first model's
 * output.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { openSession } from '../../lib/runtime/index.js';

const [described, rows, ...models] = process.argv.slice(2);
const { name, dtype, dims } = JSON.parse(described);
const inputs = rows.split(',').map((count) => {
  const sizes = dims.map((size) => (size === 'rows' ? Number(count) : size));
  const elements = sizes.reduce((product, size) => product * size, 1);
  const data =
    dtype === 'int64'
      ? BigInt64Array.from({ length: elements }, (_, i) => BigInt((i * 389) % 1024))
      : Float32Array.from({ length: elements }, (_, i) => Math.sin(i * 12.9898) * 0.5);
  return { [name]: { dtype, dims: sizes, data: new Uint8Array(data.buffer) } };
});
const spoolDirectory = mkdtempSync(path.join(os.tmpdir(), 'onnx-quantize-bench-rows-'));
try {
  const reference = [];
  const results = [];
  for (const model of models) {
    const session = await openSession({ model, provider: 'cpu' });
    try {
      const p50 = [];
      const cosines = [];
      for (const [i, feeds] of inputs.entries()) {
        p50.push((await session.measure([feeds], { warmup: 3, runs: 15 })).p50);
        const { spooled } = await session.run(feeds, { outputs: 'spool', spoolDirectory });
        const values = new Float32Array(Uint8Array.from(readFileSync(spooled[0].path)).buffer);
        reference[i] ??= values;
        cosines.push(cosine(reference[i], values));
      }
      const { residentBytes } = await session.memory();
      results.push({ loadMs: session.load.ms, residentBytes, p50, cosines });
    } finally {
      await session.close();
    }
  }
  console.log(JSON.stringify(results));
} finally {
  rmSync(spoolDirectory, { recursive: true, force: true });
}

function cosine(a, b) {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return ab / Math.sqrt(aa * bb);
}
