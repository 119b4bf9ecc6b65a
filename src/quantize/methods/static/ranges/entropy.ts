import type { ValueRange } from './value-range.ts';

/**
 * The range around zero that loses least information when what lies within is told apart by `levels` levels and what lies
 * beyond is clipped: the least Kullback-Leibler divergence over all such ranges of whole bins, as the entropy calibrator
 * of onnxruntime.quantization 1.32 finds it (`get_entropy_threshold`). The histogram is symmetric around zero.
 */
export function entropyRange(counts: Float64Array, edges: Float32Array, levels: number): ValueRange {
  const middle = Math.floor(counts.length / 2);
  let best = { low: edges[0]!, high: edges[counts.length]! };
  let least = Number.POSITIVE_INFINITY;
  for (let half = Math.floor(levels / 2); half <= middle; half += 1) {
    const start = middle - half;
    const end = Math.min(middle + half + 1, counts.length);
    const divergence = divergenceOf(counts, start, end, levels);
    // The first is taken where none is finite.
    if (!(divergence < least) && half > Math.floor(levels / 2)) continue;
    least = divergence;
    best = { low: edges[start]!, high: edges[end]! };
  }
  return best;
}

function divergenceOf(counts: Float64Array, start: number, end: number, levels: number): number {
  const inside = counts.subarray(start, end);
  const size = inside.length;
  const clipped = inside.slice();
  for (let bin = 0; bin < start; bin += 1) clipped[0]! += counts[bin]!;
  for (let bin = end; bin < counts.length; bin += 1) clipped[size - 1]! += counts[bin]!;
  const told = new Float64Array(size);
  const merged = Math.floor(size / levels);
  for (let level = 0; level < levels; level += 1) {
    const from = level * merged;
    const to = from + merged;
    let sum = 0;
    let filled = 0;
    for (let bin = from; bin < to; bin += 1) {
      sum += inside[bin]!;
      if (clipped[bin] !== 0) filled += 1;
    }
    if (level === levels - 1) for (let bin = levels * merged; bin < size; bin += 1) sum += inside[bin]!;
    // Whole counts, as the release keeps them.
    if (filled > 0) told.fill(Math.trunc(sum / filled), from, to);
  }
  const p = smooth(clipped);
  const q = smooth(told);
  return p && q ? relativeEntropy(p, q) : Number.POSITIVE_INFINITY;
}

const EPSILON = 0.0001;

/** Takes a little from what is there for what is not, so that no ratio is infinite; undefined where all is zero. */
function smooth(counts: Float64Array): Float32Array | undefined {
  const zeros = counts.reduce((sum, count) => sum + (count === 0 ? 1 : 0), 0);
  const filled = counts.length - zeros;
  if (filled === 0) return undefined;
  const taken = (EPSILON * zeros) / filled;
  return Float32Array.from(counts, (count) => Math.fround(count) + Math.fround(count === 0 ? EPSILON : -taken));
}

function relativeEntropy(p: Float32Array, q: Float32Array): number {
  const total = (values: Float32Array) => values.reduce((sum, value) => sum + value, 0);
  const [sumP, sumQ] = [total(p), total(q)];
  let divergence = 0;
  for (let i = 0; i < p.length; i += 1) {
    const [a, b] = [p[i]! / sumP, q[i]! / sumQ];
    divergence += a === 0 ? 0 : a > 0 && b > 0 ? a * Math.log(a / b) : Number.POSITIVE_INFINITY;
  }
  return divergence;
}
