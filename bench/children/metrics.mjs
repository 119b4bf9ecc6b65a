/** Speed of the metric kernels on one core, in GB of one output per second: median of five rounds each. */
import { CHUNK_ELEMENTS, createKernels } from '../../lib/compare/metrics/kernels.js';

const kernels = createKernels();
const figures = {};
// Nothing that a branch predictor could learn.
const random = generator(1);
for (const bytes of [4, 8]) {
  const Floats = bytes === 4 ? Float32Array : Float64Array;
  const reference = new Floats(kernels.memory, kernels.referenceOffset, CHUNK_ELEMENTS);
  const model = new Floats(kernels.memory, kernels.modelOffset, CHUNK_ELEMENTS);
  for (let i = 0; i < CHUNK_ELEMENTS; i++) {
    reference[i] = random();
    model[i] = reference[i] + random() * 0.02;
  }
  const type = `float${bytes * 8}`;
  figures[`all sums, ${type}`] = gigabytesPerSecond(bytes, () => kernels.accumulate(bytes, CHUNK_ELEMENTS));
  for (const classes of [3, 1000]) {
    const rows = Math.floor(CHUNK_ELEMENTS / classes);
    const once = () => kernels.agreement(bytes, rows, classes);
    figures[`top-1 of ${classes} classes, ${type}`] = gigabytesPerSecond(bytes, once);
  }
  for (const [size, inner] of [
    [84, 8400],
    [80, 1],
    [245760, 1],
  ]) {
    kernels.resetAxes([size]);
    const what = `per channel, ${size} of ${inner === 1 ? 'single elements' : `runs of ${inner}`}, ${type}`;
    figures[what] = gigabytesPerSecond(bytes, (turn) =>
      kernels.accumulateAxis(bytes, CHUNK_ELEMENTS, 0, { size, inner, start: turn * CHUNK_ELEMENTS }, true),
    );
  }
}
console.log(JSON.stringify(figures));

/** Uniform numbers in [−0.5, 0.5) (mulberry32). */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32 - 0.5;
  };
}

function gigabytesPerSecond(bytes, once) {
  const rounds = Array.from({ length: 6 }, () => {
    const start = performance.now();
    for (let i = 0; i < 300; i++) once(i);
    return (300 * CHUNK_ELEMENTS * bytes) / (performance.now() - start) / 1e6;
  });
  return rounds.slice(1).sort((a, b) => a - b)[2];
}
