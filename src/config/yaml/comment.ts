import type { YamlScalar } from './scalar.ts';

/** What a trailing comment may say about a value, so that it can be brought up to date with it. */
export interface ValueFacts {
  /** Size that belongs to the new value, in bytes: of the model's files, or of the memory limit. */
  sizeBytes?: number;
  /** How the new model's weights are stored: `INT8`, `FP32`, … */
  precision?: string;
}

/** A trailing comment that still speaks of the old value. */
export interface StaleComment {
  /** As it stands, `#` included. */
  text: string;
  /** What it should say; absent where that cannot be known. */
  replacement?: string;
}

const SIZE = /(?<![\w.,])(\d+(?:[.,]\d+)?)(\s?)(TB|GB|MB|KB|TiB|GiB|MiB|KiB)(?!\w)/gi;
const PRECISION = /(?<!\w)(FP32|FP16|BF16|U?INT8|U?INT4|float32|float16)(?!\w)/gi;

const UNIT_BYTES: Record<string, number> = {
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/**
 * Whether a comment names the old value: the value itself, a size ("1.1GB") or a precision ("INT8") that is not the
 * new one's. The replacement keeps every other word; where one word would have to be guessed there is none.
 */
export function staleComment(
  text: string,
  before: YamlScalar,
  after: YamlScalar,
  facts: ValueFacts,
): StaleComment | undefined {
  let stale = false;
  let known = true;
  let updated = text;

  const sizes = [...text.matchAll(SIZE)];
  updated = updated.replace(SIZE, (word: string, digits: string, space: string, unit: string) => {
    const bytes = UNIT_BYTES[unit.toUpperCase()] ?? 1;
    if (facts.sizeBytes === undefined) {
      stale = true;
      known = false;
      return word;
    }
    if (Math.abs(Number(digits.replace(',', '.')) * bytes - facts.sizeBytes) <= 0.05 * facts.sizeBytes) return word;
    stale = true;
    if (sizes.length > 1) known = false; // Which of them is the value's?
    const [figure, of] = readable(facts.sizeBytes / bytes, unit);
    return `${formatLike(digits, figure)}${space}${of}`;
  });

  updated = updated.replace(PRECISION, (word: string) => {
    if (facts.precision === undefined) {
      stale = true;
      known = false;
      return word;
    }
    if (word.toUpperCase() === facts.precision.toUpperCase()) return word;
    stale = true;
    return word === word.toUpperCase() ? facts.precision.toUpperCase() : facts.precision.toLowerCase();
  });

  const old = before === null ? '' : String(before);
  if (old !== '') {
    const literal = new RegExp(`(?<![\\w.])${escapeRegExp(old)}(?![\\w]|\\.\\d)`, 'g');
    if (literal.test(updated)) {
      stale = true;
      updated = updated.replace(literal, () => String(after));
    }
  }

  if (!stale) return undefined;
  return known && !/[\r\n]/.test(updated) ? { text, replacement: updated } : { text };
}

const UNITS = ['KB', 'MB', 'GB', 'TB'];

/** Below 0.1 the next smaller unit, in the old one's family and letters: 0.0007 GB is 0.7 MB. */
function readable(value: number, unit: string): [value: number, unit: string] {
  const smaller = UNITS[UNITS.indexOf(unit.toUpperCase().replace('I', '')) - 1];
  if (value >= 0.1 || smaller === undefined) return [value, unit];
  const prefix = unit[0] === unit[0]?.toUpperCase() ? smaller[0] : smaller[0]?.toLowerCase();
  return readable(value * (unit.length === 3 ? 1024 : 1000), `${prefix}${unit.slice(1)}`);
}

/** A figure written as the old one was: same decimal sign, at least its decimals and one digit that is not zero. */
function formatLike(old: string, value: number): string {
  const needed = value < 10 && value !== Math.round(value) ? Math.max(1, -Math.floor(Math.log10(value))) : 0;
  const text = value.toFixed(Math.max(old.split(/[.,]/)[1]?.length ?? 0, needed));
  return old.includes(',') ? text.replace('.', ',') : text;
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
