// Error metrics of two equally long rows of floats, in one pass. Sums are in f64: a block of 1024 elements adds into
// separate lanes, and blocks add into the state, so the rounding error of a sum of n terms is at most
// (1024 / 4 + n / 1024 + 4) ulp of the sum of their magnitudes: 6e-11 relative for the 5e8 elements of a 1.9 GiB output.
// NaN and infinities are counted and left out of the sums.

import { across, allCount, bump, counts, two } from './elements';

export { channels32, channels64 } from './channels';

/** Elements per block. */
const BLOCK: i32 = 1024;

/** Fields of the state, each f64; `src/compare/metrics/kernels.ts` reads them by these positions. */
const COUNT: usize = 0;
const DOT: usize = 8;
const REFERENCE_ENERGY: usize = 16;
const MODEL_ENERGY: usize = 24;
const SQUARED_ERROR: usize = 32;
const ABSOLUTE_ERROR: usize = 40;
const MAX_ERROR: usize = 48;
const MAX_ERROR_INDEX: usize = 56;
const REFERENCE_NANS: usize = 64;
const MODEL_NANS: usize = 72;
const UNEQUAL_INFINITIES: usize = 80;
const EQUAL_INFINITIES: usize = 88;

/** Sums of one block, filled by `sum` and `careful`. */
let dot: f64 = 0;
let referenceEnergy: f64 = 0;
let modelEnergy: f64 = 0;
let squaredError: f64 = 0;
let absoluteError: f64 = 0;
let maxError: f64 = 0;

/** Adds `count` f32 of the reference and of the model to the state. */
export function accumulate32(reference: usize, model: usize, count: i32, state: usize): void {
  accumulate<f32>(reference, model, count, state);
}

/** `accumulate32` for f64. */
export function accumulate64(reference: usize, model: usize, count: i32, state: usize): void {
  accumulate<f64>(reference, model, count, state);
}

function accumulate<T>(a: usize, b: usize, count: i32, state: usize): void {
  for (; count > 0; count -= BLOCK) {
    const length = min(BLOCK, count);
    sum<T>(a, b, length);
    if (!allCount(referenceEnergy + modelEnergy)) careful<T>(a, b, length, state);
    add<T>(a, b, length, state);
    a += <usize>length * sizeof<T>();
    b += <usize>length * sizeof<T>();
  }
}

/** How many of `rows` rows of `columns` f32 have their (first) greatest element in the same place in both. */
export function agreement32(reference: usize, model: usize, rows: i32, columns: i32): i32 {
  const step = (<usize>columns) << 2;
  if (columns < 16) {
    const whole = rows & ~3;
    const rest = step * <usize>whole;
    return narrow32(reference, model, whole, step) + agreement<f32>(reference + rest, model + rest, rows - whole, columns);
  }
  let equal = 0;
  for (let row = 0; row < rows; row++) {
    if (top32(reference, columns) == top32(model, columns)) equal++;
    reference += step;
    model += step;
  }
  return equal;
}

/** Few classes: four rows at a time, a lane each. `rows` is a multiple of four, `step` a row's bytes. */
function narrow32(reference: usize, model: usize, rows: i32, step: usize): i32 {
  let equal = i32x4.splat(0);
  for (let row = 0; row < rows; row += 4) {
    equal = i32x4.sub(equal, i32x4.eq(tops32(reference, step), tops32(model, step)));
    reference += 4 * step;
    model += 4 * step;
  }
  return (
    i32x4.extract_lane(equal, 0) +
    i32x4.extract_lane(equal, 1) +
    i32x4.extract_lane(equal, 2) +
    i32x4.extract_lane(equal, 3)
  );
}

/** Byte offsets of the first greatest elements of four rows; NaN is never the greatest. */
function tops32(rows: usize, step: usize): v128 {
  let best = i32x4.splat(0);
  let greatest = f32x4.splat(-Infinity);
  for (let at: usize = 0; at < step; at += 4) {
    let values = f32x4.splat(load<f32>(rows + at));
    values = v128.load_lane<f32>(rows + step + at, values, 1);
    values = v128.load_lane<f32>(rows + 2 * step + at, values, 2);
    values = v128.load_lane<f32>(rows + 3 * step + at, values, 3);
    const greater = f32x4.gt(values, greatest);
    greatest = v128.bitselect(values, greatest, greater);
    best = v128.bitselect(i32x4.splat(<i32>at), best, greater);
  }
  return best;
}

/** `agreement32` for f64. */
export function agreement64(reference: usize, model: usize, rows: i32, columns: i32): i32 {
  return agreement<f64>(reference, model, rows, columns);
}

function agreement<T>(reference: usize, model: usize, rows: i32, columns: i32): i32 {
  const step = <usize>columns * sizeof<T>();
  let equal = 0;
  for (let row = 0; row < rows; row++) {
    if (top<T>(reference, columns) == top<T>(model, columns)) equal++;
    reference += step;
    model += step;
  }
  return equal;
}

/** Four lanes of each sum hide the latency of f64 additions. */
function sum<T>(a: usize, b: usize, length: i32): void {
  const zero = f64x2.splat(0);
  let dot0 = zero,
    dot1 = zero;
  let reference0 = zero,
    reference1 = zero;
  let model0 = zero,
    model1 = zero;
  let squared0 = zero,
    squared1 = zero;
  let absolute0 = zero,
    absolute1 = zero;
  let max0 = zero,
    max1 = zero;
  const vectors = a + <usize>(length & ~3) * sizeof<T>();
  while (a < vectors) {
    const a0 = two<T>(a);
    const a1 = two<T>(a + 2 * sizeof<T>());
    const b0 = two<T>(b);
    const b1 = two<T>(b + 2 * sizeof<T>());
    const error0 = f64x2.abs(f64x2.sub(a0, b0));
    const error1 = f64x2.abs(f64x2.sub(a1, b1));
    dot0 = f64x2.add(dot0, f64x2.mul(a0, b0));
    dot1 = f64x2.add(dot1, f64x2.mul(a1, b1));
    reference0 = f64x2.add(reference0, f64x2.mul(a0, a0));
    reference1 = f64x2.add(reference1, f64x2.mul(a1, a1));
    model0 = f64x2.add(model0, f64x2.mul(b0, b0));
    model1 = f64x2.add(model1, f64x2.mul(b1, b1));
    squared0 = f64x2.add(squared0, f64x2.mul(error0, error0));
    squared1 = f64x2.add(squared1, f64x2.mul(error1, error1));
    absolute0 = f64x2.add(absolute0, error0);
    absolute1 = f64x2.add(absolute1, error1);
    max0 = f64x2.pmax(max0, error0);
    max1 = f64x2.pmax(max1, error1);
    a += 4 * sizeof<T>();
    b += 4 * sizeof<T>();
  }
  dot = across(f64x2.add(dot0, dot1));
  referenceEnergy = across(f64x2.add(reference0, reference1));
  modelEnergy = across(f64x2.add(model0, model1));
  squaredError = across(f64x2.add(squared0, squared1));
  absoluteError = across(f64x2.add(absolute0, absolute1));
  const max = f64x2.pmax(max0, max1);
  maxError = Math.max(f64x2.extract_lane(max, 0), f64x2.extract_lane(max, 1));
  for (let rest = length & 3; rest > 0; rest--) {
    term(<f64>load<T>(a), <f64>load<T>(b));
    a += sizeof<T>();
    b += sizeof<T>();
  }
}

function term(x: f64, y: f64): void {
  const error = Math.abs(x - y);
  dot += x * y;
  referenceEnergy += x * x;
  modelEnergy += y * y;
  squaredError += error * error;
  absoluteError += error;
  if (error > maxError) maxError = error;
}

/** One element at a time, leaving out and counting what is not finite. */
function careful<T>(a: usize, b: usize, length: i32, state: usize): void {
  dot = referenceEnergy = modelEnergy = squaredError = absoluteError = maxError = 0;
  for (let i: usize = 0; i < <usize>length; i++) {
    const x = <f64>load<T>(a + i * sizeof<T>());
    const y = <f64>load<T>(b + i * sizeof<T>());
    if (counts(x, y)) {
      term(x, y);
    } else if (isNaN(x) || isNaN(y)) {
      if (isNaN(x)) bump(state + REFERENCE_NANS, 1);
      if (isNaN(y)) bump(state + MODEL_NANS, 1);
    } else {
      bump(state + (x == y ? EQUAL_INFINITIES : UNEQUAL_INFINITIES), 1);
    }
  }
}

/** Adds the block's sums to the state; looks for the place of the greatest error only where it is a new one. */
function add<T>(a: usize, b: usize, length: i32, state: usize): void {
  const before = load<f64>(state + COUNT);
  if (maxError > load<f64>(state + MAX_ERROR)) {
    for (let i: usize = 0; i < <usize>length; i++) {
      const x = <f64>load<T>(a + i * sizeof<T>());
      const y = <f64>load<T>(b + i * sizeof<T>());
      if (counts(x, y) && Math.abs(x - y) == maxError) {
        store<f64>(state + MAX_ERROR_INDEX, before + <f64>i);
        break;
      }
    }
    store<f64>(state + MAX_ERROR, maxError);
  }
  store<f64>(state + COUNT, before + <f64>length);
  bump(state + DOT, dot);
  bump(state + REFERENCE_ENERGY, referenceEnergy);
  bump(state + MODEL_ENERGY, modelEnergy);
  bump(state + SQUARED_ERROR, squaredError);
  bump(state + ABSOLUTE_ERROR, absoluteError);
}

/** Index of the first greatest of at least 8 elements; NaN is never the greatest. */
function top32(row: usize, columns: i32): i32 {
  const vectors = columns & ~7;
  let max0 = v128.load(row);
  let max1 = v128.load(row + 16);
  max0 = v128.bitselect(max0, f32x4.splat(-Infinity), f32x4.eq(max0, max0));
  max1 = v128.bitselect(max1, f32x4.splat(-Infinity), f32x4.eq(max1, max1));
  for (let i = 8; i < vectors; i += 8) {
    const at = row + ((<usize>i) << 2);
    max0 = f32x4.pmax(max0, v128.load(at));
    max1 = f32x4.pmax(max1, v128.load(at + 16));
  }
  const max = f32x4.pmax(max0, max1);
  let greatest = f32x4.extract_lane(max, 0);
  greatest = Mathf.max(greatest, f32x4.extract_lane(max, 1));
  greatest = Mathf.max(greatest, f32x4.extract_lane(max, 2));
  greatest = Mathf.max(greatest, f32x4.extract_lane(max, 3));
  for (let i = vectors; i < columns; i++) {
    const value = load<f32>(row + ((<usize>i) << 2));
    if (value > greatest) greatest = value;
  }
  const wanted = f32x4.splat(greatest);
  for (let i = 0; i < vectors; i += 8) {
    const at = row + ((<usize>i) << 2);
    const hit = v128.or(f32x4.eq(v128.load(at), wanted), f32x4.eq(v128.load(at + 16), wanted));
    if (v128.any_true(hit)) return i + first(at, greatest, 8);
  }
  const rest = first(row + ((<usize>vectors) << 2), greatest, columns - vectors);
  return rest < 0 ? 0 : vectors + rest; // a row of NaN has no greatest element
}

/** Index of the first of `length` f32 that equals `wanted`, or −1. */
function first(at: usize, wanted: f32, length: i32): i32 {
  for (let i = 0; i < length; i++) {
    if (load<f32>(at + ((<usize>i) << 2)) == wanted) return i;
  }
  return -1;
}

function top<T>(row: usize, columns: i32): i32 {
  let best = 0;
  let greatest = <T>-Infinity;
  for (let i = 0; i < columns; i++) {
    const value = load<T>(row + <usize>i * sizeof<T>());
    // Without a branch: which of a few classes is the greatest is what no processor can predict.
    const greater = value > greatest;
    greatest = select(value, greatest, greater);
    best = select(i, best, greater);
  }
  return best;
}
