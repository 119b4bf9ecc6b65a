/**
 * The quantizer's inner loops. Arithmetic is that of onnxruntime.quantization 1.32; `test/quantize/kernels` holds the
 * plain-TypeScript reference that each of these equals bit for bit.
 *
 * A block is `n` consecutive elements of a row-major tensor. Its channels come in runs: `inner` elements of channel c,
 * then `inner` of channel c + 1, and after the last channel the first again. The block starts in channel `channel`,
 * `left` elements before the end of that channel's run.
 *
 * Kernels with a destination work in whole vectors and may write garbage behind its end, at most SLACK (64) bytes; they
 * may read as far behind each source.
 */
export * from './blocks';

/**
 * Widens the ranges `min` and `max` (f32 per channel, to be zeroed before the first block: a range always includes 0)
 * by a block of f32. Returns how many values were NaN or infinite; those are left out of the ranges.
 */
export function range(
  src: usize, n: u32, channel: u32, left: u32, channels: u32, inner: u32, min: usize, max: usize,
): u32 {
  let nonFinite: u32 = 0;
  if (inner == 1 && channels > 1) {
    while (n > 0) {
      const columns = n < channels - channel ? n : channels - channel;
      nonFinite += rangeOfColumns(src, columns, min + (<usize>channel << 2), max + (<usize>channel << 2));
      src += <usize>columns << 2;
      n -= columns;
      channel = 0;
    }
    return nonFinite;
  }
  while (n > 0) {
    const run = n < left ? n : left;
    nonFinite += rangeOfRun(src, run, min + (<usize>channel << 2), max + (<usize>channel << 2));
    src += <usize>run << 2;
    n -= run;
    left = inner;
    channel = channel + 1 == channels ? 0 : channel + 1;
  }
  return nonFinite;
}

/**
 * Raises the largest magnitudes `max` (f32 per channel, ≥ 0) by a block of f32: all that a symmetric range needs, at a
 * third of the cost. Magnitudes are compared as integers, so a NaN or infinity leaves a maximum that is not finite.
 */
export function magnitude(
  src: usize, n: u32, channel: u32, left: u32, channels: u32, inner: u32, max: usize,
): void {
  if (inner == 1 && channels > 1) {
    while (n > 0) {
      const columns = n < channels - channel ? n : channels - channel;
      // Several rows at a time: the maxima are then loaded and stored once for all of them.
      if (channel == 0 && n >= channels << 2) {
        magnitudeOfColumns(src, channels, channels << 2, 4, max);
        src += <usize>channels << 4;
        n -= channels << 2;
        continue;
      }
      magnitudeOfColumns(src, columns, 0, 1, max + (<usize>channel << 2));
      src += <usize>columns << 2;
      n -= columns;
      channel = 0;
    }
    return;
  }
  while (n > 0) {
    const run = n < left ? n : left;
    magnitudeOfRun(src, run, max + (<usize>channel << 2));
    src += <usize>run << 2;
    n -= run;
    left = inner;
    channel = channel + 1 == channels ? 0 : channel + 1;
  }
}

/**
 * Quantizes a block of f32 to int8: clip(roundHalfEven(w / scale) + zeroPoint). Scales are f32, zero points i16. Only
 * for |w / scale| < 2^22, as with finite weights and scales made from their own range; see quantizeAnyInt8.
 */
export function quantizeInt8(
  src: usize, dst: usize, n: u32, channel: u32, left: u32, channels: u32, inner: u32, scales: usize, zeroPoints: usize,
): void {
  quantize<i8>(src, dst, n, channel, left, channels, inner, scales, zeroPoints, false);
}

/** Like quantizeInt8 for any values: infinities clip, NaN becomes the zero point. */
export function quantizeAnyInt8(
  src: usize, dst: usize, n: u32, channel: u32, left: u32, channels: u32, inner: u32, scales: usize, zeroPoints: usize,
): void {
  quantize<i8>(src, dst, n, channel, left, channels, inner, scales, zeroPoints, true);
}

/** Quantizes a block of f32 to uint8; see quantizeInt8. */
export function quantizeUint8(
  src: usize, dst: usize, n: u32, channel: u32, left: u32, channels: u32, inner: u32, scales: usize, zeroPoints: usize,
): void {
  quantize<u8>(src, dst, n, channel, left, channels, inner, scales, zeroPoints, false);
}

/** Like quantizeUint8 for any values; see quantizeAnyInt8. */
export function quantizeAnyUint8(
  src: usize, dst: usize, n: u32, channel: u32, left: u32, channels: u32, inner: u32, scales: usize, zeroPoints: usize,
): void {
  quantize<u8>(src, dst, n, channel, left, channels, inner, scales, zeroPoints, true);
}

/** Transposes a byte matrix of `rows` × `columns`; `srcStride` and `dstStride` are the bytes between its rows. */
export function transposeBytes(
  src: usize, dst: usize, rows: u32, columns: u32, srcStride: u32, dstStride: u32,
): void {
  const wholeRows = rows & ~15;
  const wholeColumns = columns & ~15;
  for (let r: u32 = 0; r < wholeRows; r += 16) {
    const from = src + <usize>r * srcStride;
    for (let c: u32 = 0; c < wholeColumns; c += 16) {
      transposeTile(from + c, dst + <usize>c * dstStride + r, srcStride, dstStride);
    }
    transposeRest(from + wholeColumns, dst + <usize>wholeColumns * dstStride + r, 16, columns - wholeColumns, srcStride, dstStride);
  }
  transposeRest(src + <usize>wholeRows * srcStride, dst + wholeRows, rows - wholeRows, columns, srcStride, dstStride);
}

/** Rounds f32 to IEEE half precision, ties to even, as numpy's astype does; too large becomes infinite. */
export function float16FromFloat32(src: usize, dst: usize, n: u32): void {
  for (let i: u32 = 0; i < n; i += 8) {
    const low = halfBits(v128.load(src));
    const high = halfBits(v128.load(src, 16));
    v128.store(dst, i8x16.shuffle(low, high, 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29));
    src += 32;
    dst += 16;
  }
}

/** Widens IEEE half precision to f32, exactly. */
export function float32FromFloat16(src: usize, dst: usize, n: u32): void {
  // The half's exponent and mantissa, taken as those of an f32, are too small by 2^112.
  const rebias = f32x4.splat(reinterpret<f32>((127 + 112) << 23));
  const overflow = f32x4.splat(65536.0);
  for (let i: u32 = 0; i < n; i += 4) {
    const bits = i32x4.extend_low_i16x8_u(v128.load64_zero(src));
    const finite = f32x4.mul(i32x4.shl(v128.and(bits, i32x4.splat(0x7fff)), 13), rebias);
    const special = v128.and(f32x4.ge(finite, overflow), i32x4.splat(0x7f800000));
    const sign = i32x4.shl(v128.and(bits, i32x4.splat(0x8000)), 16);
    v128.store(dst, v128.or(v128.or(finite, special), sign));
    src += 8;
    dst += 16;
  }
}

/** Widens bfloat16 to f32, exactly. */
export function float32FromBfloat16(src: usize, dst: usize, n: u32): void {
  for (let i: u32 = 0; i < n; i += 4) {
    v128.store(dst, i32x4.shl(i32x4.extend_low_i16x8_u(v128.load64_zero(src)), 16));
    src += 8;
    dst += 16;
  }
}

/** Rounds f64 to f32, ties to even. */
export function float32FromFloat64(src: usize, dst: usize, n: u32): void {
  for (let i: u32 = 0; i < n; i += 2) {
    v128.store64_lane(dst, f32x4.demote_f64x2_zero(v128.load(src)), 0);
    src += 16;
    dst += 8;
  }
}

/** Widens one channel's range by consecutive values; returns how many were not finite. */
@inline
function rangeOfRun(src: usize, n: u32, min: usize, max: usize): u32 {
  let low = v128.load32_splat(min);
  let high = v128.load32_splat(max);
  let finites = i32x4.splat(0);
  const whole = n & ~3;
  const end = src + (<usize>whole << 2);
  const unrolled = src + (<usize>(n & ~15) << 2);
  let low2 = low;
  let high2 = high;
  while (src < unrolled) {
    const a = v128.load(src);
    const b = v128.load(src, 16);
    const c = v128.load(src, 32);
    const d = v128.load(src, 48);
    const aFinite = isFinite4(a);
    const bFinite = isFinite4(b);
    const cFinite = isFinite4(c);
    const dFinite = isFinite4(d);
    const aValue = v128.and(a, aFinite);
    const bValue = v128.and(b, bFinite);
    const cValue = v128.and(c, cFinite);
    const dValue = v128.and(d, dFinite);
    low = f32x4.pmin(f32x4.pmin(low, aValue), bValue);
    high = f32x4.pmax(f32x4.pmax(high, aValue), bValue);
    low2 = f32x4.pmin(f32x4.pmin(low2, cValue), dValue);
    high2 = f32x4.pmax(f32x4.pmax(high2, cValue), dValue);
    finites = i32x4.sub(finites, i32x4.add(i32x4.add(aFinite, bFinite), i32x4.add(cFinite, dFinite)));
    src += 64;
  }
  low = f32x4.pmin(low, low2);
  high = f32x4.pmax(high, high2);
  while (src < end) {
    const value = v128.load(src);
    const finite = isFinite4(value);
    low = f32x4.pmin(low, v128.and(value, finite));
    high = f32x4.pmax(high, v128.and(value, finite));
    finites = i32x4.sub(finites, finite);
    src += 16;
  }
  low = f32x4.pmin(low, i8x16.shuffle(low, low, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  low = f32x4.pmin(low, i8x16.shuffle(low, low, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
  high = f32x4.pmax(high, i8x16.shuffle(high, high, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  high = f32x4.pmax(high, i8x16.shuffle(high, high, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
  v128.store32_lane(min, low, 0);
  v128.store32_lane(max, high, 0);
  let nonFinite = whole - sumOfLanes(finites);
  for (let i = whole; i < n; i++) {
    nonFinite += rangeOfValue(load<f32>(src), min, max);
    src += 4;
  }
  return nonFinite;
}

/** Widens the ranges of consecutive channels by one value each; returns how many were not finite. */
@inline
function rangeOfColumns(src: usize, columns: u32, min: usize, max: usize): u32 {
  let finites = i32x4.splat(0);
  const whole = columns & ~3;
  const end = src + (<usize>whole << 2);
  while (src < end) {
    const value = v128.load(src);
    const finite = isFinite4(value);
    const kept = v128.and(value, finite);
    v128.store(min, f32x4.pmin(v128.load(min), kept));
    v128.store(max, f32x4.pmax(v128.load(max), kept));
    finites = i32x4.sub(finites, finite);
    src += 16;
    min += 16;
    max += 16;
  }
  let nonFinite = whole - sumOfLanes(finites);
  for (let i = whole; i < columns; i++) {
    nonFinite += rangeOfValue(load<f32>(src), min, max);
    src += 4;
    min += 4;
    max += 4;
  }
  return nonFinite;
}

@inline
function rangeOfValue(value: f32, min: usize, max: usize): u32 {
  if (!(abs(value) < f32.POSITIVE_INFINITY)) return 1;
  if (value < load<f32>(min)) store<f32>(min, value);
  if (value > load<f32>(max)) store<f32>(max, value);
  return 0;
}

/** All ones in the lanes that are neither NaN nor infinite. */
@inline
function isFinite4(value: v128): v128 {
  return f32x4.lt(f32x4.abs(value), f32x4.splat(f32.POSITIVE_INFINITY));
}

@inline
function sumOfLanes(counts: v128): u32 {
  return (
    i32x4.extract_lane(counts, 0) +
    i32x4.extract_lane(counts, 1) +
    i32x4.extract_lane(counts, 2) +
    i32x4.extract_lane(counts, 3)
  );
}

@inline
function magnitudeOfRun(src: usize, n: u32, max: usize): void {
  const mask = i32x4.splat(0x7fffffff);
  let high = v128.load32_splat(max);
  let high2 = high;
  const end = src + (<usize>(n & ~3) << 2);
  const unrolled = src + (<usize>(n & ~31) << 2);
  while (src < unrolled) {
    high = i32x4.max_s(high, v128.and(v128.load(src), mask));
    high2 = i32x4.max_s(high2, v128.and(v128.load(src, 16), mask));
    high = i32x4.max_s(high, v128.and(v128.load(src, 32), mask));
    high2 = i32x4.max_s(high2, v128.and(v128.load(src, 48), mask));
    high = i32x4.max_s(high, v128.and(v128.load(src, 64), mask));
    high2 = i32x4.max_s(high2, v128.and(v128.load(src, 80), mask));
    high = i32x4.max_s(high, v128.and(v128.load(src, 96), mask));
    high2 = i32x4.max_s(high2, v128.and(v128.load(src, 112), mask));
    src += 128;
  }
  high = i32x4.max_s(high, high2);
  while (src < end) {
    high = i32x4.max_s(high, v128.and(v128.load(src), mask));
    src += 16;
  }
  high = i32x4.max_s(high, i8x16.shuffle(high, high, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  high = i32x4.max_s(high, i8x16.shuffle(high, high, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
  v128.store32_lane(max, high, 0);
  for (let i: u32 = 0; i < (n & 3); i++) {
    magnitudeOfValue(src, max);
    src += 4;
  }
}

/** Raises consecutive channels' maxima by one value each from `rows` (1 or 4) rows, `stride` bytes apart. */
@inline
function magnitudeOfColumns(src: usize, columns: u32, stride: usize, rows: u32, max: usize): void {
  const mask = i32x4.splat(0x7fffffff);
  const end = src + (<usize>(columns & ~3) << 2);
  while (src < end) {
    let high = i32x4.max_s(v128.load(max), v128.and(v128.load(src), mask));
    if (rows == 4) {
      high = i32x4.max_s(high, v128.and(v128.load(src + stride), mask));
      high = i32x4.max_s(high, v128.and(v128.load(src + 2 * stride), mask));
      high = i32x4.max_s(high, v128.and(v128.load(src + 3 * stride), mask));
    }
    v128.store(max, high);
    src += 16;
    max += 16;
  }
  for (let i: u32 = 0; i < (columns & 3); i++) {
    for (let row: u32 = 0; row < rows; row++) magnitudeOfValue(src + row * stride, max);
    src += 4;
    max += 4;
  }
}

@inline
function magnitudeOfValue(src: usize, max: usize): void {
  const bits = load<u32>(src) & 0x7fffffff;
  if (bits > load<u32>(max)) store<u32>(max, bits);
}

@inline
function quantize<T>(
  src: usize, dst: usize, n: u32, channel: u32, left: u32, channels: u32, inner: u32, scales: usize, zeroPoints: usize,
  any: bool,
): void {
  const byColumns = inner == 1 && channels > 1;
  while (n > 0) {
    const most = byColumns ? channels - channel : left;
    const run = n < most ? n : most;
    const scale = scales + (<usize>channel << 2);
    const zeroPoint = zeroPoints + (<usize>channel << 1);
    if (byColumns) {
      quantizeColumns<T>(src, dst, run, scale, zeroPoint, any);
      channel = 0;
    } else {
      quantizeRun<T>(src, dst, run, v128.load32_splat(scale), v128.load16_splat(zeroPoint), any);
      left = inner;
      channel = channel + 1 == channels ? 0 : channel + 1;
    }
    src += <usize>run << 2;
    dst += run;
    n -= run;
  }
}

@inline
function quantizeRun<T>(src: usize, dst: usize, n: u32, scale: v128, zeroPoint: v128, any: bool): void {
  const end = dst + n;
  while (dst < end) {
    const a = rounded(v128.load(src), scale, any);
    const b = rounded(v128.load(src, 16), scale, any);
    const c = rounded(v128.load(src, 32), scale, any);
    const d = rounded(v128.load(src, 48), scale, any);
    const low = i16x8.add_sat_s(i16x8.narrow_i32x4_s(a, b), zeroPoint);
    const high = i16x8.add_sat_s(i16x8.narrow_i32x4_s(c, d), zeroPoint);
    v128.store(dst, clipped<T>(low, high));
    src += 64;
    dst += 16;
  }
}

@inline
function quantizeColumns<T>(src: usize, dst: usize, columns: u32, scales: usize, zeroPoints: usize, any: bool): void {
  const end = dst + columns;
  while (dst < end) {
    const a = rounded(v128.load(src), v128.load(scales), any);
    const b = rounded(v128.load(src, 16), v128.load(scales, 16), any);
    const c = rounded(v128.load(src, 32), v128.load(scales, 32), any);
    const d = rounded(v128.load(src, 48), v128.load(scales, 48), any);
    const low = i16x8.add_sat_s(i16x8.narrow_i32x4_s(a, b), v128.load(zeroPoints));
    const high = i16x8.add_sat_s(i16x8.narrow_i32x4_s(c, d), v128.load(zeroPoints, 16));
    v128.store(dst, clipped<T>(low, high));
    src += 64;
    dst += 16;
    scales += 64;
    zeroPoints += 32;
  }
}

/**
 * roundHalfEven(value / scale) as i32. For any value it saturates, and NaN becomes 0, so that it ends at the zero point.
 * Otherwise adding 1.5 × 2^23 rounds: f32 have steps of 1 there, and the integer is the low half of the mantissa.
 */
@inline
function rounded(value: v128, scale: v128, any: bool): v128 {
  const quotient = f32x4.div(value, scale);
  if (any) return i32x4.trunc_sat_f32x4_s(f32x4.nearest(quotient));
  return i32x4.sub(f32x4.add(quotient, f32x4.splat(12582912)), i32x4.splat(0x4b400000));
}

@inline
function clipped<T>(low: v128, high: v128): v128 {
  return isSigned<T>() ? i8x16.narrow_i16x8_s(low, high) : i8x16.narrow_i16x8_u(low, high);
}

/** Half-precision bits in the low 16 of each lane, after Fabian Giesen's float_to_half_rtne. */
@inline
function halfBits(value: v128): v128 {
  const sign = v128.and(value, i32x4.splat(0x80000000));
  const magnitude = v128.xor(value, sign);
  const odd = v128.and(i32x4.shr_u(magnitude, 13), i32x4.splat(1));
  const normal = i32x4.shr_u(i32x4.add(i32x4.add(magnitude, i32x4.splat(((15 - 127) << 23) + 0xfff)), odd), 13);
  // Adding 0.5 shifts a subnormal's bits to the bottom of the mantissa, rounded by the addition itself.
  const subnormal = i32x4.sub(f32x4.add(magnitude, f32x4.splat(0.5)), f32x4.splat(0.5));
  const special = v128.bitselect(
    i32x4.splat(0x7e00), i32x4.splat(0x7c00), i32x4.gt_s(magnitude, i32x4.splat(0x7f800000)),
  );
  const finite = v128.bitselect(subnormal, normal, i32x4.lt_s(magnitude, i32x4.splat(113 << 23)));
  const bits = v128.bitselect(special, finite, i32x4.ge_s(magnitude, i32x4.splat((127 + 16) << 23)));
  return v128.or(bits, i32x4.shr_u(sign, 16));
}

/** Byte by byte, for the edges that no 16 × 16 tile covers. */
@inline
function transposeRest(src: usize, dst: usize, rows: u32, columns: u32, srcStride: u32, dstStride: u32): void {
  for (let c: u32 = 0; c < columns; c++) {
    for (let r: u32 = 0; r < rows; r++) {
      store<u8>(dst + <usize>c * dstStride + r, load<u8>(src + <usize>r * srcStride + c));
    }
  }
}

/** A 16 × 16 tile: four rounds of interleaving row i with row i + 8 transpose it. */
function transposeTile(src: usize, dst: usize, srcStride: u32, dstStride: u32): void {
  let a0 = v128.load(src);
  let a1 = v128.load(src + 1 * <usize>srcStride);
  let a2 = v128.load(src + 2 * <usize>srcStride);
  let a3 = v128.load(src + 3 * <usize>srcStride);
  let a4 = v128.load(src + 4 * <usize>srcStride);
  let a5 = v128.load(src + 5 * <usize>srcStride);
  let a6 = v128.load(src + 6 * <usize>srcStride);
  let a7 = v128.load(src + 7 * <usize>srcStride);
  let a8 = v128.load(src + 8 * <usize>srcStride);
  let a9 = v128.load(src + 9 * <usize>srcStride);
  let a10 = v128.load(src + 10 * <usize>srcStride);
  let a11 = v128.load(src + 11 * <usize>srcStride);
  let a12 = v128.load(src + 12 * <usize>srcStride);
  let a13 = v128.load(src + 13 * <usize>srcStride);
  let a14 = v128.load(src + 14 * <usize>srcStride);
  let a15 = v128.load(src + 15 * <usize>srcStride);
  let b0 = low(a0, a8);
  let b1 = high(a0, a8);
  let b2 = low(a1, a9);
  let b3 = high(a1, a9);
  let b4 = low(a2, a10);
  let b5 = high(a2, a10);
  let b6 = low(a3, a11);
  let b7 = high(a3, a11);
  let b8 = low(a4, a12);
  let b9 = high(a4, a12);
  let b10 = low(a5, a13);
  let b11 = high(a5, a13);
  let b12 = low(a6, a14);
  let b13 = high(a6, a14);
  let b14 = low(a7, a15);
  let b15 = high(a7, a15);
  a0 = low(b0, b8);
  a1 = high(b0, b8);
  a2 = low(b1, b9);
  a3 = high(b1, b9);
  a4 = low(b2, b10);
  a5 = high(b2, b10);
  a6 = low(b3, b11);
  a7 = high(b3, b11);
  a8 = low(b4, b12);
  a9 = high(b4, b12);
  a10 = low(b5, b13);
  a11 = high(b5, b13);
  a12 = low(b6, b14);
  a13 = high(b6, b14);
  a14 = low(b7, b15);
  a15 = high(b7, b15);
  b0 = low(a0, a8);
  b1 = high(a0, a8);
  b2 = low(a1, a9);
  b3 = high(a1, a9);
  b4 = low(a2, a10);
  b5 = high(a2, a10);
  b6 = low(a3, a11);
  b7 = high(a3, a11);
  b8 = low(a4, a12);
  b9 = high(a4, a12);
  b10 = low(a5, a13);
  b11 = high(a5, a13);
  b12 = low(a6, a14);
  b13 = high(a6, a14);
  b14 = low(a7, a15);
  b15 = high(a7, a15);
  a0 = low(b0, b8);
  a1 = high(b0, b8);
  a2 = low(b1, b9);
  a3 = high(b1, b9);
  a4 = low(b2, b10);
  a5 = high(b2, b10);
  a6 = low(b3, b11);
  a7 = high(b3, b11);
  a8 = low(b4, b12);
  a9 = high(b4, b12);
  a10 = low(b5, b13);
  a11 = high(b5, b13);
  a12 = low(b6, b14);
  a13 = high(b6, b14);
  a14 = low(b7, b15);
  a15 = high(b7, b15);
  v128.store(dst, a0);
  v128.store(dst + 1 * <usize>dstStride, a1);
  v128.store(dst + 2 * <usize>dstStride, a2);
  v128.store(dst + 3 * <usize>dstStride, a3);
  v128.store(dst + 4 * <usize>dstStride, a4);
  v128.store(dst + 5 * <usize>dstStride, a5);
  v128.store(dst + 6 * <usize>dstStride, a6);
  v128.store(dst + 7 * <usize>dstStride, a7);
  v128.store(dst + 8 * <usize>dstStride, a8);
  v128.store(dst + 9 * <usize>dstStride, a9);
  v128.store(dst + 10 * <usize>dstStride, a10);
  v128.store(dst + 11 * <usize>dstStride, a11);
  v128.store(dst + 12 * <usize>dstStride, a12);
  v128.store(dst + 13 * <usize>dstStride, a13);
  v128.store(dst + 14 * <usize>dstStride, a14);
  v128.store(dst + 15 * <usize>dstStride, a15);
}

@inline
function low(a: v128, b: v128): v128 {
  return i8x16.shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

@inline
function high(a: v128, b: v128): v128 {
  return i8x16.shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
