// Sums by index of one axis (a channel), for a cosine per channel. The tensor is seen as outer × size × inner: an index
// has runs of `inner` elements, one behind the other with those of the other indices. The sums of all indices lie in
// four rows of `size` f64: Σ x·y, Σ x², Σ y², and how many pairs were left out because one of them is not finite.

import { counts } from './finite';

/**
 * Adds `count` f32. The first of them belongs to `index`, whose run has `left` elements left. `finite` says that none
 * has to be left out, as `accumulate32` has found.
 */
export function channels32(
  reference: usize,
  model: usize,
  count: i32,
  index: i32,
  left: i32,
  inner: i32,
  size: i32,
  sums: usize,
  finite: bool,
): void {
  if (!finite) careful<f32>(reference, model, count, index, left, inner, size, sums);
  else if (inner == 1) columns(reference, model, count, index, size, sums);
  else runs(reference, model, count, index, left, inner, size, sums);
}

/** `channels32` for f64, which are always looked at one by one. */
export function channels64(
  reference: usize,
  model: usize,
  count: i32,
  index: i32,
  left: i32,
  inner: i32,
  size: i32,
  sums: usize,
): void {
  careful<f64>(reference, model, count, index, left, inner, size, sums);
}

/** Whole runs, each summed up in registers. */
function runs(
  a: usize,
  b: usize,
  count: i32,
  index: i32,
  left: i32,
  inner: i32,
  size: i32,
  sums: usize,
): void {
  const row = (<usize>size) << 3;
  while (count > 0) {
    const length = min(left, count);
    let dot = f64x2.splat(0);
    let reference = f64x2.splat(0);
    let model = f64x2.splat(0);
    const vectors = a + ((<usize>(length & ~3)) << 2);
    while (a < vectors) {
      const four = v128.load(a);
      const others = v128.load(b);
      const a0 = f64x2.promote_low_f32x4(four);
      const a1 = f64x2.promote_low_f32x4(v128.shuffle<i64>(four, four, 1, 0));
      const b0 = f64x2.promote_low_f32x4(others);
      const b1 = f64x2.promote_low_f32x4(v128.shuffle<i64>(others, others, 1, 0));
      dot = f64x2.add(dot, f64x2.add(f64x2.mul(a0, b0), f64x2.mul(a1, b1)));
      reference = f64x2.add(reference, f64x2.add(f64x2.mul(a0, a0), f64x2.mul(a1, a1)));
      model = f64x2.add(model, f64x2.add(f64x2.mul(b0, b0), f64x2.mul(b1, b1)));
      a += 16;
      b += 16;
    }
    let dots = f64x2.extract_lane(dot, 0) + f64x2.extract_lane(dot, 1);
    let references = f64x2.extract_lane(reference, 0) + f64x2.extract_lane(reference, 1);
    let models = f64x2.extract_lane(model, 0) + f64x2.extract_lane(model, 1);
    for (let rest = length & 3; rest > 0; rest--) {
      const x = <f64>load<f32>(a);
      const y = <f64>load<f32>(b);
      dots += x * y;
      references += x * x;
      models += y * y;
      a += 4;
      b += 4;
    }
    const at = sums + ((<usize>index) << 3);
    store<f64>(at, load<f64>(at) + dots);
    store<f64>(at + row, load<f64>(at + row) + references);
    store<f64>(at + 2 * row, load<f64>(at + 2 * row) + models);
    count -= length;
    left = inner;
    if (++index == size) index = 0;
  }
}

/** Runs of one element: neighbours belong to neighbouring indices, whose sums are neighbours too. */
function columns(a: usize, b: usize, count: i32, index: i32, size: i32, sums: usize): void {
  const row = (<usize>size) << 3;
  while (count > 0) {
    const length = min(size - index, count);
    let at = sums + ((<usize>index) << 3);
    const vectors = a + ((<usize>(length & ~3)) << 2);
    while (a < vectors) {
      const four = v128.load(a);
      const others = v128.load(b);
      const a0 = f64x2.promote_low_f32x4(four);
      const a1 = f64x2.promote_low_f32x4(v128.shuffle<i64>(four, four, 1, 0));
      const b0 = f64x2.promote_low_f32x4(others);
      const b1 = f64x2.promote_low_f32x4(v128.shuffle<i64>(others, others, 1, 0));
      add(at, f64x2.mul(a0, b0));
      add(at + 16, f64x2.mul(a1, b1));
      add(at + row, f64x2.mul(a0, a0));
      add(at + row + 16, f64x2.mul(a1, a1));
      add(at + 2 * row, f64x2.mul(b0, b0));
      add(at + 2 * row + 16, f64x2.mul(b1, b1));
      a += 16;
      b += 16;
      at += 32;
    }
    for (let rest = length & 3; rest > 0; rest--) {
      const x = <f64>load<f32>(a);
      const y = <f64>load<f32>(b);
      store<f64>(at, load<f64>(at) + x * y);
      store<f64>(at + row, load<f64>(at + row) + x * x);
      store<f64>(at + 2 * row, load<f64>(at + 2 * row) + y * y);
      a += 4;
      b += 4;
      at += 8;
    }
    count -= length;
    index = 0;
  }
}

function add(at: usize, pair: v128): void {
  v128.store(at, f64x2.add(v128.load(at), pair));
}

/** One element at a time, leaving out and counting what is not finite. */
function careful<T>(
  a: usize,
  b: usize,
  count: i32,
  index: i32,
  left: i32,
  inner: i32,
  size: i32,
  sums: usize,
): void {
  const row = (<usize>size) << 3;
  while (count > 0) {
    const length = min(left, count);
    let dot: f64 = 0;
    let reference: f64 = 0;
    let model: f64 = 0;
    let skipped: f64 = 0;
    for (let i = 0; i < length; i++) {
      const x = <f64>load<T>(a);
      const y = <f64>load<T>(b);
      a += sizeof<T>();
      b += sizeof<T>();
      if (counts(x, y)) {
        dot += x * y;
        reference += x * x;
        model += y * y;
      } else {
        skipped += 1;
      }
    }
    const at = sums + ((<usize>index) << 3);
    store<f64>(at, load<f64>(at) + dot);
    store<f64>(at + row, load<f64>(at + row) + reference);
    store<f64>(at + 2 * row, load<f64>(at + 2 * row) + model);
    store<f64>(at + 3 * row, load<f64>(at + 3 * row) + skipped);
    count -= length;
    left = inner;
    if (++index == size) index = 0;
  }
}
