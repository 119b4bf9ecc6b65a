// Sums by index of one axis (a channel), for a cosine per channel. The tensor is seen as outer × size × inner: an index
// has runs of `inner` elements, one behind the other with those of the other indices. The sums of all indices lie in
// four rows of `size` f64: Σ x·y, Σ x², Σ y², and how many pairs were left out because one of them is not finite.

import { across, bump, counts, two } from './elements';

/** Sums of one run, filled by `sum` and `careful`. */
let dot: f64 = 0;
let referenceEnergy: f64 = 0;
let modelEnergy: f64 = 0;
let skipped: f64 = 0;

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
  channels<f32>(reference, model, count, index, left, inner, size, sums, finite);
}

/** `channels32` for f64. */
export function channels64(
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
  channels<f64>(reference, model, count, index, left, inner, size, sums, finite);
}

function channels<T>(
  a: usize,
  b: usize,
  count: i32,
  index: i32,
  left: i32,
  inner: i32,
  size: i32,
  sums: usize,
  finite: bool,
): void {
  if (finite && inner == 1) {
    columns<T>(a, b, count, index, size, sums);
    return;
  }
  const row = (<usize>size) << 3;
  while (count > 0) {
    const length = min(left, count);
    if (finite) sum<T>(a, b, length);
    else careful<T>(a, b, length);
    const at = sums + ((<usize>index) << 3);
    bump(at, dot);
    bump(at + row, referenceEnergy);
    bump(at + 2 * row, modelEnergy);
    bump(at + 3 * row, skipped);
    a += <usize>length * sizeof<T>();
    b += <usize>length * sizeof<T>();
    count -= length;
    left = inner;
    if (++index == size) index = 0;
  }
}

/** A run of finite elements, summed up in registers; two lanes of each sum hide the latency of f64 additions. */
function sum<T>(a: usize, b: usize, length: i32): void {
  const zero = f64x2.splat(0);
  let dots = zero;
  let references = zero;
  let models = zero;
  const vectors = a + <usize>(length & ~3) * sizeof<T>();
  while (a < vectors) {
    const a0 = two<T>(a);
    const a1 = two<T>(a + 2 * sizeof<T>());
    const b0 = two<T>(b);
    const b1 = two<T>(b + 2 * sizeof<T>());
    dots = f64x2.add(dots, f64x2.add(f64x2.mul(a0, b0), f64x2.mul(a1, b1)));
    references = f64x2.add(references, f64x2.add(f64x2.mul(a0, a0), f64x2.mul(a1, a1)));
    models = f64x2.add(models, f64x2.add(f64x2.mul(b0, b0), f64x2.mul(b1, b1)));
    a += 4 * sizeof<T>();
    b += 4 * sizeof<T>();
  }
  dot = across(dots);
  referenceEnergy = across(references);
  modelEnergy = across(models);
  skipped = 0;
  for (let rest = length & 3; rest > 0; rest--) {
    term(<f64>load<T>(a), <f64>load<T>(b));
    a += sizeof<T>();
    b += sizeof<T>();
  }
}

/** A run one element at a time, leaving out and counting what is not finite. */
function careful<T>(a: usize, b: usize, length: i32): void {
  dot = referenceEnergy = modelEnergy = skipped = 0;
  for (let i: usize = 0; i < <usize>length; i++) {
    const x = <f64>load<T>(a + i * sizeof<T>());
    const y = <f64>load<T>(b + i * sizeof<T>());
    if (counts(x, y)) term(x, y);
    else skipped += 1;
  }
}

@inline
function term(x: f64, y: f64): void {
  dot += x * y;
  referenceEnergy += x * x;
  modelEnergy += y * y;
}

/** Runs of one element: neighbours belong to neighbouring indices, whose sums are neighbours too. */
function columns<T>(a: usize, b: usize, count: i32, index: i32, size: i32, sums: usize): void {
  const row = (<usize>size) << 3;
  while (count > 0) {
    const length = min(size - index, count);
    let at = sums + ((<usize>index) << 3);
    const vectors = a + <usize>(length & ~1) * sizeof<T>();
    while (a < vectors) {
      const x = two<T>(a);
      const y = two<T>(b);
      bumpTwo(at, f64x2.mul(x, y));
      bumpTwo(at + row, f64x2.mul(x, x));
      bumpTwo(at + 2 * row, f64x2.mul(y, y));
      a += 2 * sizeof<T>();
      b += 2 * sizeof<T>();
      at += 16;
    }
    if (length & 1) {
      const x = <f64>load<T>(a);
      const y = <f64>load<T>(b);
      bump(at, x * y);
      bump(at + row, x * x);
      bump(at + 2 * row, y * y);
      a += sizeof<T>();
      b += sizeof<T>();
    }
    count -= length;
    index = 0;
  }
}

@inline
function bumpTwo(at: usize, by: v128): void {
  v128.store(at, f64x2.add(v128.load(at), by));
}
