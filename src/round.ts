/** Rounds to the nearest integer, ties to the even one; never −0. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest < 0.5 || (rest === 0.5 && floor % 2 === 0)) return floor + 0;
  return floor + 1;
}
