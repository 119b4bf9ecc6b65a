/** A figure for an output: `digits` significant digits, but never less than the whole number. */
export function rounded(value: number | undefined, digits = 4): number | undefined {
  if (value === undefined) return undefined;
  return Math.abs(value) >= 10 ** digits ? Math.round(value) : Number(value.toPrecision(digits));
}
