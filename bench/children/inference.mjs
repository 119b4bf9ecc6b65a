/** A model loaded and run, and nothing else: what `validate` is held against. Arguments: model, dims, inferences. */
import { createRequire } from 'node:module';
import { loadSamples } from '../../lib/runtime/index.js';

const [model, dims, inferences] = process.argv.slice(2);
process.env.ORT_DISABLE_TELEMETRY = '1';
const { InferenceSession, Tensor } = createRequire(import.meta.url)('onnxruntime-node');
const session = await InferenceSession.create(model, { executionProviders: ['cpu'] });
const inputs = session.inputMetadata.map(({ name, type, shape }) => ({ name, dtype: type, dims: shape }));
const samples = await loadSamples(undefined, inputs, { dims });
const feeds = [];
for (let index = 0; index < samples.length; index++) {
  const sample = Object.entries(await samples.get(index));
  feeds.push(
    Object.fromEntries(
      sample.map(([name, { dtype, dims, data }]) => {
        const array = dtype === 'int64' ? BigInt64Array : Float32Array;
        return [
          name,
          new Tensor(dtype, new array(data.buffer, data.byteOffset, data.length / array.BYTES_PER_ELEMENT), dims),
        ];
      }),
    ),
  );
}
for (let run = 0; run < Number(inferences); run++) await session.run(feeds[run % feeds.length]);
console.log('{}');
