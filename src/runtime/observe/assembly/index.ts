// What calibration wants to know of a row of f32: its range, and how its values spread over equal bins. NaN and
// infinities are counted and left out. All arithmetic on bins is in f32, step by step as numpy.histogram does it, so
// that equal values give equal counts.

/** Largest finite f32. */
const LARGEST: f32 = 3.4028234663852886e38;

/** Fields of the state of `range`; `src/runtime/observe/observer.ts` reads them by these positions. */
const MIN: usize = 0;
const MAX: usize = 4;
const SMALLEST: usize = 8;

/**
 * Widens the state by `count` f32 from `source`: least and greatest value, and least magnitude. Returns how many were
 * not finite.
 */
export function range(source: usize, count: i32, state: usize): i32 {
  let least = f32x4.splat(load<f32>(state, MIN));
  let greatest = f32x4.splat(load<f32>(state, MAX));
  let smallest = f32x4.splat(load<f32>(state, SMALLEST));
  let finite = i32x4.splat(0);
  const largest = f32x4.splat(LARGEST);
  const whole = count & ~3;
  for (let i = 0; i < whole; i += 4) {
    const values = v128.load(source + ((<usize>i) << 2));
    const magnitudes = f32x4.abs(values);
    const mask = f32x4.le(magnitudes, largest);
    // The accumulator stands in for what is not finite.
    least = f32x4.min(least, v128.bitselect(values, least, mask));
    greatest = f32x4.max(greatest, v128.bitselect(values, greatest, mask));
    smallest = f32x4.min(smallest, v128.bitselect(magnitudes, smallest, mask));
    finite = i32x4.sub(finite, mask);
  }
  let low = min(min(f32x4.extract_lane(least, 0), f32x4.extract_lane(least, 1)), min(f32x4.extract_lane(least, 2), f32x4.extract_lane(least, 3)));
  let high = max(max(f32x4.extract_lane(greatest, 0), f32x4.extract_lane(greatest, 1)), max(f32x4.extract_lane(greatest, 2), f32x4.extract_lane(greatest, 3)));
  let small = min(min(f32x4.extract_lane(smallest, 0), f32x4.extract_lane(smallest, 1)), min(f32x4.extract_lane(smallest, 2), f32x4.extract_lane(smallest, 3)));
  let found =
    i32x4.extract_lane(finite, 0) +
    i32x4.extract_lane(finite, 1) +
    i32x4.extract_lane(finite, 2) +
    i32x4.extract_lane(finite, 3);
  for (let i = whole; i < count; i++) {
    const value = load<f32>(source + ((<usize>i) << 2));
    const magnitude = abs(value);
    if (!(magnitude <= LARGEST)) continue;
    low = min(low, value);
    high = max(high, value);
    small = min(small, magnitude);
    found++;
  }
  store<f32>(state, low, MIN);
  store<f32>(state, high, MAX);
  store<f32>(state, small, SMALLEST);
  return count - found;
}

/**
 * Adds `count` f32 from `source` to `bins` counters (u32) of equal width between the first and the last of the
 * `bins` + 1 `edges` (f32); values outside are left out. `absolute` takes magnitudes.
 */
export function histogram(source: usize, count: i32, counts: usize, edges: usize, bins: i32, absolute: i32): void {
  const first = load<f32>(edges);
  const last = load<f32>(edges + ((<usize>bins) << 2));
  const width = last - first;
  const scale = <f32>bins;
  const top = bins - 1;
  const clear = i32x4.splat(absolute ? 0x7fffffff : -1);
  const firsts = f32x4.splat(first);
  const widths = f32x4.splat(width);
  const scales = f32x4.splat(scale);
  const whole = count & ~3;
  for (let i = 0; i < whole; i += 4) {
    const values = v128.and(v128.load(source + ((<usize>i) << 2)), clear);
    const places = i32x4.trunc_sat_f32x4_s(f32x4.mul(f32x4.div(f32x4.sub(values, firsts), widths), scales));
    put(f32x4.extract_lane(values, 0), i32x4.extract_lane(places, 0), first, last, top, counts, edges);
    put(f32x4.extract_lane(values, 1), i32x4.extract_lane(places, 1), first, last, top, counts, edges);
    put(f32x4.extract_lane(values, 2), i32x4.extract_lane(places, 2), first, last, top, counts, edges);
    put(f32x4.extract_lane(values, 3), i32x4.extract_lane(places, 3), first, last, top, counts, edges);
  }
  for (let i = whole; i < count; i++) {
    let value = load<f32>(source + ((<usize>i) << 2));
    if (absolute) value = abs(value);
    if (!(value >= first && value <= last)) continue;
    put(value, <i32>(((value - first) / width) * scale), first, last, top, counts, edges);
  }
}

/** Counts a value at the place computed for it, moved by one where rounding put it on the wrong side of an edge. */

@inline
function put(value: f32, place: i32, first: f32, last: f32, top: i32, counts: usize, edges: usize): void {
  if (!(value >= first && value <= last)) return;
  let bin = min(place, top);
  if (value < load<f32>(edges + ((<usize>bin) << 2))) bin--;
  else if (bin !== top && value >= load<f32>(edges + ((<usize>bin) << 2), 4)) bin++;
  const at = counts + ((<usize>bin) << 2);
  store<u32>(at, load<u32>(at) + 1);
}
