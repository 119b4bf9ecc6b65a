import type { Verdict } from '../receipt/index.ts';

/** A number for people: about four digits, no exponent unless it is very small or large; `–` for none. */
export function number(value: number | null | undefined): string {
  if (value === null || value === undefined) return '–';
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(2);
  const decimals = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4;
  return String(Number(value.toFixed(decimals)));
}

/** A number with its unit; `–` for none. */
export function quantity(value: number | null | undefined, unit: string): string {
  if (value === null || value === undefined) return '–';
  if (unit === '') return number(value);
  return unit === '×' || unit === '%' ? `${number(value)} ${unit}`.replace(' ×', '×') : `${number(value)} ${unit}`;
}

/** Bytes in powers of ten: `4.29 GB`. */
export function bytes(count: number): string {
  for (const [unit, size] of [
    ['GB', 1e9],
    ['MB', 1e6],
    ['kB', 1e3],
  ] as const) {
    if (count >= size) return `${(count / size).toPrecision(3)} ${unit}`;
  }
  return `${count} bytes`;
}

/** A duration of `ms` milliseconds: `950 ms`, `12.3 s`, `4 min 5 s`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${number(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toPrecision(3)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** A similarity or share near 1, with the digits in which such figures differ. */
export function share(value: number | null | undefined): string {
  return value === null || value === undefined ? '–' : String(Number(value.toFixed(5)));
}

/**
 * Whether a limit is near enough to what a chart shows to be drawn: one far beyond would press all else to the edge. What
 * is not drawn is said in the title.
 */
export function limitIsNear(values: readonly number[], limit: number | undefined): limit is number {
  return limit !== undefined && Math.abs(limit) <= 4 * Math.max(...values.map(Math.abs));
}

/** What a chart's title says besides: a limit that is not drawn, and how many bars of how many there are. */
export function chartNotes(
  values: readonly number[],
  unit: string,
  limit: number | undefined,
  [shown, all]: readonly [number, number] = [0, 0],
): string {
  const far = limit !== undefined && !limitIsNear(values, limit);
  const notes = [
    ...(shown < all ? [`the first ${shown} of ${all}`] : []),
    ...(far ? [`limit ${quantity(limit, unit)}, beyond the scale`] : []),
  ];
  return notes.length > 0 ? ` (${notes.join('; ')})` : '';
}

/** Verdicts as signs that need no colour to tell apart. */
export const VERDICT_SIGN: Record<Verdict | 'info', string> = {
  pass: '✅ pass',
  fail: '❌ fail',
  inconclusive: '⚠️ inconclusive',
  info: '–',
};

/** The middle of a long text cut out: `models/onn…core.onnx`. Beginning and end tell names apart. */
export function shorten(text: string, length: number): string {
  const letters = [...text];
  if (letters.length <= length) return text;
  const tail = Math.floor((length - 1) / 2);
  return `${letters.slice(0, length - 1 - tail).join('')}…${letters.slice(letters.length - tail).join('')}`;
}

/**
 * Labels for bars, each with its value: what all names begin and end with, up to a separator, is left out where the
 * names are too long, so that what remains tells them apart.
 */
export function barLabels(bars: readonly { label: string; value: number }[], length: number): string[] {
  const names = bars.map(({ label }) => label);
  const long = names.length > 1 && names.some((name) => [...name].length > length);
  const head = long ? commonHead(names) : 0;
  const tail = long ? commonHead(names.map((name) => [...name.slice(head)].reverse().join(''))) : 0;
  return bars.map(({ label, value }) => {
    const middle = label.slice(head, label.length - tail);
    const name = `${head > 0 ? '…' : ''}${middle}${tail > 0 ? '…' : ''}`;
    return `${shorten(name, length)}: ${number(value)}`;
  });
}

/** Length of what all texts begin with, up to and with its last `/` or `.`. */
function commonHead(texts: readonly string[]): number {
  const [first = ''] = texts;
  let length = 0;
  for (let at = 0; at < first.length && texts.every((text) => text[at] === first[at]); at += 1) {
    if (first[at] === '/' || first[at] === '.') length = at + 1;
  }
  return length;
}
