import type { Scheme } from '../../src/quantize/kernels/parameters.ts';

/**
 * The quantizer's arithmetic once more, element by element in plain TypeScript and written from the rules, not from the
 * kernels: what the WASM must equal bit for bit. Channel c of element i is floor(i / inner) mod channels.
 */
export interface Tensor {
  values: Float32Array;
  channels: number;
  inner: number;
}

export function referenceRanges({ values, channels, inner }: Tensor) {
  const min = new Float32Array(channels);
  const max = new Float32Array(channels);
  let nonFinite = 0;
  values.forEach((value, i) => {
    const c = Math.floor(i / inner) % channels;
    if (!Number.isFinite(value)) nonFinite++;
    else {
      min[c] = Math.min(min[c]!, value);
      max[c] = Math.max(max[c]!, value);
    }
  });
  return { min, max, nonFinite };
}

export function referenceQuantize(
  { values, channels, inner }: Tensor,
  scales: ArrayLike<number>,
  zeroPoints: ArrayLike<number>,
  target: Scheme['target'],
): number[] {
  const [low, high] = target === 'int8' ? [-128, 127] : [0, 255];
  return Array.from(values, (value, i) => {
    const c = Math.floor(i / inner) % channels;
    const quotient = Math.fround(value / scales[c]!);
    const rounded = Number.isNaN(quotient) ? 0 : rint(quotient);
    return Math.min(Math.max(rounded + zeroPoints[c]!, low), high) + 0;
  });
}

/** One block of weights from the rules of onnxruntime 1.32's two block-wise quantizers; see blocks.ts of the kernels. */
export function referenceBlock(
  values: readonly number[],
  { levels, symmetric, rounding }: { levels: number; symmetric: boolean; rounding: 'away' | 'even' | 'apart' },
) {
  const f = Math.fround;
  const low = Math.min(0, ...values);
  const high = Math.max(0, ...values);
  const half = (levels + 1) / 2;
  const even = rounding === 'even';
  const round = even ? rint : awayFromZero;
  const clip = (value: number) => Math.min(Math.max(value, 0), levels);
  const scale = symmetric ? f((high > -low ? high : low) / -half) : f(f(high - low) / levels);
  const empty = scale === 0;
  const zeroPoint = symmetric ? half : empty ? (even ? half : 0) : clip(round(f(-low / scale)));
  const codes = values.map((value) => {
    if (empty) return zeroPoint;
    const scaled = even ? f(value / scale) : f(value * f(1 / scale));
    // 0 × ∞, where the scale is so small that it has no reciprocal.
    if (Number.isNaN(scaled)) return rounding === 'apart' ? zeroPoint : 0;
    return clip(rounding === 'apart' ? round(scaled) + zeroPoint : round(f(scaled + zeroPoint))) + 0;
  });
  return { scale, zeroPoint, codes };
}

function awayFromZero(value: number): number {
  return Math.sign(value) * Math.floor(Math.abs(value) + 0.5);
}

/** Nearest integer, ties to even, by the definition. */
function rint(value: number): number {
  if (!Number.isFinite(value)) return value;
  const nearest = Math.round(value);
  return Math.abs(value % 1) === 0.5 && nearest % 2 !== 0 ? nearest - 1 : nearest;
}

/** IEEE half-precision bits of an f32, ties to even, by search over all half-precision values. */
export function referenceHalf(value: number): number {
  const sign = Object.is(Math.sign(value), -0) || value < 0 ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (Number.isNaN(value)) return 0x7e00;
  let low = 0;
  let high = 0x7c00;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (halfValue(middle) <= magnitude) low = middle;
    else high = middle;
  }
  // 65536 stands in for infinity's place on the grid.
  const above = high === 0x7c00 ? 65536 : halfValue(high);
  const [down, up] = [magnitude - halfValue(low), above - magnitude];
  return sign | (up < down || (up === down && low % 2 === 1) ? high : low);
}

/** Value of non-negative half-precision bits. */
export function halfValue(bits: number): number {
  const exponent = bits >> 10;
  const mantissa = bits & 0x3ff;
  if (exponent === 31) return mantissa ? Number.NaN : Number.POSITIVE_INFINITY;
  return exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25);
}
