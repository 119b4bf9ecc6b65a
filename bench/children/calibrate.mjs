/** Calibration alone. Arguments: model, samples, how many. Prints milliseconds, those of inferences, and peak bytes. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { declaredInputs, indexGraphs, readModel } from '../../lib/model/index.js';
import { foldModel } from '../../lib/quantize/fold/index.js';
import { raiseOpset } from '../../lib/quantize/graph/opset.js';
import { observe } from '../../lib/quantize/methods/static/observe/observe.js';
import { binsOf } from '../../lib/quantize/methods/static/ranges/ranges.js';
import { valuesToObserve } from '../../lib/quantize/methods/static/recipe/recipe.js';
import { loadSamples, openSession, resolveRuntime, valueInfoOf } from '../../lib/runtime/index.js';

const [file, data, count] = process.argv.slice(2);
const folder = mkdtempSync(path.join(tmpdir(), 'onnx-quantize-bench-calibrate-'));
try {
  const { model } = foldModel(raiseOpset(await readModel(file), 13).model, path.join(folder, 'folded'));
  const samples = await loadSamples(data, declaredInputs(model).map(valueInfoOf), { count: Number(count) });
  const runtime = await resolveRuntime({});
  let peakBytes = 0;
  const started = performance.now();
  const { runMs, values } = await observe(model, {
    values: valuesToObserve(indexGraphs(model).main),
    samples,
    bins: (value) => binsOf('percentile', value),
    folder,
    openSession: async (tapped) => {
      const session = await openSession({ model: tapped, runtime, provider: 'cpu' });
      const close = session.close.bind(session);
      session.close = async () => {
        peakBytes = Math.max(peakBytes, (await session.memory()).peakBytes ?? 0);
        await close();
      };
      return session;
    },
  });
  console.log(JSON.stringify({ ms: performance.now() - started, runMs, peakBytes, values: values.size }));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
