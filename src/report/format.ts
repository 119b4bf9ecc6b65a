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
  return unit === '' ? number(value) : `${number(value)} ${unit}`;
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

/** The limit of a bar or a row, where it is near enough to what a chart shows to be drawn: one far beyond would press all else to the edge. */
export function nearLimit(values: readonly number[], limit: number | undefined): number | undefined {
  return limit !== undefined && Math.abs(limit) <= 4 * Math.max(...values.map(Math.abs)) ? limit : undefined;
}

/** What a chart's title says besides: how many of how many it shows, and limits that are not drawn. */
export function chartNotes(
  rows: readonly { value: number; limit?: number | undefined }[],
  unit: string,
  all = rows.length,
): string {
  const values = rows.map(({ value }) => value);
  const far = new Set(rows.flatMap(({ limit }) => (nearLimit(values, limit) === limit ? [] : [limit as number])));
  const notes = [
    ...(rows.length < all ? [`the first ${rows.length} of ${all}`] : []),
    ...[...far].map((limit) => `limit ${quantity(limit, unit)}, beyond the scale`),
  ];
  return notes.length > 0 ? ` (${notes.join('; ')})` : '';
}

/** Nearest-rank quantile of values in any order; NaN for none. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN;
}

/**
 * Where a plot of timed runs ends: at twice the highest of the series' 90th percentiles, if something lies far beyond, so
 * that a single slow run does not press all others to the floor.
 */
export function clipAt(series: readonly { values: readonly number[] }[]): number | undefined {
  const end = 2 * Math.max(...series.map(({ values }) => quantile(values, 0.9)));
  return series.some(({ values }) => values.some((value) => value > 1.5 * end)) ? end : undefined;
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
 * Labels for bars, each with its value and the limit that is drawn at it: what all names begin and end with, up to a
 * separator, is left out where the names are too long, so that what remains tells them apart.
 */
export function barLabels(
  bars: readonly { label: string; value: number; limit?: number | undefined }[],
  length: number,
): string[] {
  const names = bars.map(({ label }) => label);
  const long = names.length > 1 && names.some((name) => [...name].length > length);
  const head = long ? commonHead(names) : 0;
  const tail = long ? commonHead(names.map((name) => [...name.slice(head)].reverse().join(''))) : 0;
  return bars.map(({ label, value, limit }) => {
    const middle = label.slice(head, label.length - tail);
    const name = `${head > 0 ? '…' : ''}${middle}${tail > 0 ? '…' : ''}`;
    return `${shorten(name, length)}: ${number(value)}${limit === undefined ? '' : ` (limit ${number(limit)})`}`;
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
