/** Doubles above this are counted as infinite: their squares would overflow. */
const HUGE: f64 = 1e150;

/** Whether a pair enters the sums. */
export function counts(x: f64, y: f64): bool {
  return Math.abs(x) <= HUGE && Math.abs(y) <= HUGE;
}
