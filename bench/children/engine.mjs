/**
 * Both passes over a model's matrices without plan, graph and commit: what the streaming itself costs.
 * Arguments: model, target, digests (true or false).
 */
import { readModel } from '../../lib/model/index.js';
import { computeParameters, FileWriter, Pool } from '../../lib/quantize/stream/index.js';

const [source, target, digests] = process.argv.slice(2);
const model = await readModel(source);
const pool = new Pool();
const writer = new FileWriter(pool, { digests: digests === 'true' });
try {
  const jobs = [...model.tensors.values()]
    .filter(({ dims }) => dims.length === 2)
    .map((tensor) => ({ source: tensor, target: 'int8', symmetric: true, reduceRange: false, axis: 1 }));
  const parameters = await computeParameters(jobs, pool);
  let size = 0;
  const segments = jobs.map((job, i) => {
    const length = job.source.length / 4;
    const segment = { kind: 'job', offset: size, length, job: { kind: 'quantize', job, parameters: parameters[i] } };
    size += length;
    return segment;
  });
  await writer.write({ path: target, size, segments });
  await writer.sync();
} finally {
  await writer.close();
  await pool.close();
}
