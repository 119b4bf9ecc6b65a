/** Speed of the metric kernels on one core, in GB of one output per second: median of five rounds each. */
import { CHUNK_ELEMENTS, createKernels } from '../../lib/compare/metrics/kernels.js';

const kernels = createKernels();
const figures = {};
for (const bytes of [4, 8]) {
  const Floats = bytes === 4 ? Float32Array : Float64Array;
  const reference = new Floats(kernels.memory, kernels.referenceOffset, CHUNK_ELEMENTS);
  const model = new Floats(kernels.memory, kernels.modelOffset, CHUNK_ELEMENTS);
  for (let i = 0; i < CHUNK_ELEMENTS; i++) {
    reference[i] = Math.sin(i * 12.9898) * 0.5;
    model[i] = reference[i] + Math.sin(i * 78.233) * 0.01;
  }
  const type = `float${bytes * 8}`;
  figures[`all sums, ${type}`] = gigabytesPerSecond(bytes, () => kernels.accumulate(bytes, CHUNK_ELEMENTS));
  const rows = Math.floor(CHUNK_ELEMENTS / 1000);
  figures[`top-1 of 1000 classes, ${type}`] = gigabytesPerSecond(bytes, () => kernels.agreement(bytes, rows, 1000));
}
console.log(JSON.stringify(figures));

function gigabytesPerSecond(bytes, once) {
  const rounds = Array.from({ length: 6 }, () => {
    const start = performance.now();
    for (let i = 0; i < 300; i++) once();
    return (300 * CHUNK_ELEMENTS * bytes) / (performance.now() - start) / 1e6;
  });
  return rounds.slice(1).sort((a, b) => a - b)[2];
}
