const UNITS = ['kB', 'MB', 'GB', 'TB'];

/** Bytes for people, in powers of ten, three digits: `4.29 GB`. */
export function bytes(count: number): string {
  if (count < 1e3) return `${count} bytes`;
  let value = count / 1e3;
  let unit = 0;
  for (; value >= 999.5 && unit < UNITS.length - 1; unit += 1) value /= 1e3;
  return `${value.toPrecision(3)} ${UNITS[unit]}`;
}
