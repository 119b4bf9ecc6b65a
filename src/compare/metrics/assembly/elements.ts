/** Numbers above this are counted as infinite: their squares would overflow. */
const HUGE: f64 = 1e150;

/** Whether a pair enters the sums. */
export function counts(x: f64, y: f64): bool {
  return Math.abs(x) <= HUGE && Math.abs(y) <= HUGE;
}

/** Whether all pairs did that this sum of their squares is of: one that does not is a term above the bound, or NaN. */
export function allCount(energies: f64): bool {
  return energies <= HUGE * HUGE;
}

/** Two neighbouring elements as doubles. */
@inline
export function two<T>(at: usize): v128 {
  return sizeof<T>() == 4 ? f64x2.promote_low_f32x4(v128.load64_zero(at)) : v128.load(at);
}

/** The sum of two lanes. */
@inline
export function across(pair: v128): f64 {
  return f64x2.extract_lane(pair, 0) + f64x2.extract_lane(pair, 1);
}

/** Adds to a number in memory. */
@inline
export function bump(at: usize, by: f64): void {
  store<f64>(at, load<f64>(at) + by);
}
