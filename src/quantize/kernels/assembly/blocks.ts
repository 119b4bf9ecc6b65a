/**
 * Block-wise quantization: each run of `block` weights along one axis has a scale and a zero point of its own. The
 * arithmetics are those of onnxruntime 1.32: AWAY is its MatMulNBits quantizer's (the product with the reciprocal, plus the
 * zero point, halves away from zero), APART that for DequantizeLinear (rounded before the zero point is added), EVEN that
 * for GatherBlockQuantized (a quotient, halves to even).
 */
const EVEN: u32 = 1;
const APART: u32 = 2;

/**
 * Parameters of `n` blocks from their ranges `min` ≤ 0 ≤ `max` (f32). `levels` is 15 or 255. Writes each block's scale,
 * its `factor` (what `codes…` multiplies by, or divides by with EVEN) and its zero point as f32.
 * Symmetric: the value of larger magnitude becomes the lowest code, so a scale may be negative.
 */
export function blockParameters(
  min: usize, max: usize, n: u32, levels: f32, symmetric: bool, rounding: u32,
  scales: usize, factors: usize, zeroPoints: usize,
): void {
  const half = (levels + 1) / 2;
  const even = rounding == EVEN;
  for (let i: u32 = 0; i < n; i++) {
    const low = load<f32>(min);
    const high = load<f32>(max);
    const scale = symmetric ? (high > -low ? high : low) / -half : (high - low) / levels;
    let zeroPoint: f32;
    if (symmetric) zeroPoint = half;
    else if (scale == 0) zeroPoint = even ? half : 0;
    else {
      const exact = even ? -low / scale : 0 - low / scale;
      zeroPoint = min2(max2(even ? nearest(exact) : awayFromZero(exact), 0), levels);
    }
    store<f32>(scales, scale);
    store<f32>(factors, even ? (scale == 0 ? f32.POSITIVE_INFINITY : scale) : scale == 0 ? 0 : 1 / scale);
    store<f32>(zeroPoints, zeroPoint);
    min += 4;
    max += 4;
    scales += 4;
    factors += 4;
    zeroPoints += 4;
  }
}

/**
 * Ranges (0 included) of the columns of `rows` × `columns` f32. Returns 0 if all are finite; else the ranges are of no
 * use. Works in 16 columns at a time, so a line of the cache is used whole while it is there, and may write ranges of
 * up to 15 columns behind the last.
 */
export function rangesOfColumns(src: usize, rows: u32, columns: u32, min: usize, max: usize): u32 {
  const magnitude = i32x4.splat(0x7fffffff);
  const pitch = <usize>columns << 2;
  let largest = i32x4.splat(0);
  const end = src + pitch;
  while (src < end) {
    const left = <u32>(end - src);
    const kept: u32 = left >= 64 ? 16 : left >> 2;
    let low0 = f32x4.splat(0);
    let low1 = low0;
    let low2 = low0;
    let low3 = low0;
    let high0 = low0;
    let high1 = low0;
    let high2 = low0;
    let high3 = low0;
    let from = src;
    for (let row: u32 = 0; row < rows; row++) {
      const a = v128.load(from);
      const b = v128.load(from, 16);
      const c = v128.load(from, 32);
      const d = v128.load(from, 48);
      low0 = f32x4.pmin(low0, a);
      low1 = f32x4.pmin(low1, b);
      low2 = f32x4.pmin(low2, c);
      low3 = f32x4.pmin(low3, d);
      high0 = f32x4.pmax(high0, a);
      high1 = f32x4.pmax(high1, b);
      high2 = f32x4.pmax(high2, c);
      high3 = f32x4.pmax(high3, d);
      if (kept == 16) {
        const ab = i32x4.max_s(v128.and(a, magnitude), v128.and(b, magnitude));
        const cd = i32x4.max_s(v128.and(c, magnitude), v128.and(d, magnitude));
        largest = i32x4.max_s(largest, i32x4.max_s(ab, cd));
      } else {
        // What lies behind the last column belongs to the next row, or to nobody.
        for (let k: u32 = 0; k < kept; k++) {
          const bits = load<u32>(from + (<usize>k << 2)) & 0x7fffffff;
          largest = i32x4.max_s(largest, i32x4.splat(bits));
        }
      }
      from += pitch;
    }
    v128.store(min, low0);
    v128.store(min, low1, 16);
    v128.store(min, low2, 32);
    v128.store(min, low3, 48);
    v128.store(max, high0);
    v128.store(max, high1, 16);
    v128.store(max, high2, 32);
    v128.store(max, high3, 48);
    src += 64;
    min += 64;
    max += 64;
  }
  return v128.any_true(i32x4.gt_s(largest, i32x4.splat(0x7f7fffff))) ? 1 : 0;
}

/** Codes, a byte each, of `rows` × `columns` f32 in which every column is (a part of) one block. */
export function codesOfColumns(
  src: usize, dst: usize, rows: u32, columns: u32, factors: usize, zeroPoints: usize, levels: f32, rounding: u32,
): void {
  for (let row: u32 = 0; row < rows; row++) {
    const end = dst + columns;
    let factor = factors;
    let zeroPoint = zeroPoints;
    let from = src;
    for (let to = dst; to < end; to += 16) {
      const a = coded(v128.load(from), v128.load(factor), v128.load(zeroPoint), rounding);
      const b = coded(v128.load(from, 16), v128.load(factor, 16), v128.load(zeroPoint, 16), rounding);
      const c = coded(v128.load(from, 32), v128.load(factor, 32), v128.load(zeroPoint, 32), rounding);
      const d = coded(v128.load(from, 48), v128.load(factor, 48), v128.load(zeroPoint, 48), rounding);
      v128.store(to, bytesOf(a, b, c, d, levels));
      from += 64;
      factor += 64;
      zeroPoint += 64;
    }
    src += <usize>columns << 2;
    dst = end;
  }
}

/** Codes, a byte each, of `n` consecutive f32 in blocks of `block`, the first of which begins here. */
export function codesOfRow(
  src: usize, dst: usize, n: u32, block: u32, factors: usize, zeroPoints: usize, levels: f32, rounding: u32,
): void {
  while (n > 0) {
    const run = n < block ? n : block;
    const factor = v128.load32_splat(factors);
    const zeroPoint = v128.load32_splat(zeroPoints);
    const end = dst + run;
    let from = src;
    for (let to = dst; to < end; to += 16) {
      const a = coded(v128.load(from), factor, zeroPoint, rounding);
      const b = coded(v128.load(from, 16), factor, zeroPoint, rounding);
      const c = coded(v128.load(from, 32), factor, zeroPoint, rounding);
      const d = coded(v128.load(from, 48), factor, zeroPoint, rounding);
      v128.store(to, bytesOf(a, b, c, d, levels));
      from += 64;
    }
    src += <usize>run << 2;
    dst = end;
    n -= run;
    factors += 4;
    zeroPoints += 4;
  }
}

/** Packs `n` (even) codes of 4 bits two to a byte, the first in the low half. */
export function packPairs(src: usize, dst: usize, n: u32): void {
  const end = dst + (n >> 1);
  while (dst < end) {
    const low = pair(v128.load(src));
    const high = pair(v128.load(src, 16));
    v128.store(dst, i8x16.narrow_i16x8_u(low, high));
    src += 32;
    dst += 16;
  }
}

/** Packs rows 2r and 2r + 1 of `2 × pairs` rows of `columns` codes into row r, the first in the low half. */
export function packRows(src: usize, dst: usize, pairs: u32, columns: u32): void {
  for (let row: u32 = 0; row < pairs; row++) {
    const end = dst + columns;
    let from = src;
    for (let to = dst; to < end; to += 16) {
      const low = v128.and(v128.load(from), i8x16.splat(15));
      v128.store(to, v128.or(low, i8x16.shl(v128.load(from + columns), 4)));
      from += 16;
    }
    src += <usize>columns << 1;
    dst = end;
  }
}

/** Makes signed codes of unsigned ones: xors each byte with `mask`, 0x88 for two of 4 bits and 0x80 for one of 8. */
export function xorBytes(at: usize, n: u32, mask: u8): void {
  const end = at + n;
  while (at < end) {
    v128.store(at, v128.xor(v128.load(at), i8x16.splat(<i8>mask)));
    at += 16;
  }
}

@inline
function pair(codes: v128): v128 {
  const low = v128.and(codes, i16x8.splat(15));
  return v128.or(low, v128.and(i16x8.shr_u(codes, 4), i16x8.splat(0xf0)));
}

/** Four codes as i32, from which `bytesOf` clips. A NaN becomes 0. */
@inline
function coded(value: v128, factor: v128, zeroPoint: v128, rounding: u32): v128 {
  if (rounding == EVEN) {
    return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.add(f32x4.div(value, factor), zeroPoint)));
  }
  const product = f32x4.mul(value, factor);
  // The largest f32 below 0.5: with 0.5 itself the largest below 0.5 would round up. Exact up to 255.
  const half = f32x4.splat(0.49999997);
  if (rounding == APART) {
    const signed = v128.or(half, v128.and(product, i32x4.splat(0x80000000)));
    // Where a scale has no reciprocal, far from all codes: the sum must not wrap.
    const bounded = f32x4.min(f32x4.max(f32x4.add(product, signed), f32x4.splat(-1024)), f32x4.splat(1024));
    return i32x4.add(i32x4.trunc_sat_f32x4_s(bounded), i32x4.trunc_sat_f32x4_s(zeroPoint));
  }
  return i32x4.trunc_sat_f32x4_s(f32x4.add(f32x4.add(product, zeroPoint), half));
}

/** 16 codes, clipped to 0 and `levels`. */
@inline
function bytesOf(a: v128, b: v128, c: v128, d: v128, levels: f32): v128 {
  const bytes = i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d));
  return i8x16.min_u(bytes, i8x16.splat(<i8>levels));
}

@inline
function awayFromZero(value: f32): f32 {
  const whole = trunc(value);
  return abs(value - whole) >= 0.5 ? whole + (value < 0 ? -1 : 1) : whole;
}

@inline
function min2(a: f32, b: f32): f32 {
  return a < b ? a : b;
}

@inline
function max2(a: f32, b: f32): f32 {
  return a > b ? a : b;
}
