import { formatDecisions, parseDecisions, refuse } from '../../cached.ts';
import type { ValueRange } from './ranges/value-range.ts';

/** What a FLOAT value was on all samples. */
export interface MeasuredValue {
  /** Of the first sample. */
  dims: readonly number[];
  /** Over the finite elements; Infinity and −Infinity where there are none. */
  min: number;
  max: number;
  nonFinite: number;
  /** What its levels are to be spread over. */
  range: ValueRange;
}

/** What 8 bits do to one product. */
export interface ProductError {
  /** How far its output is above its error, dB. */
  decibels: number;
  /** What its bias takes so that its mean error vanishes, by output channel; undefined where that would not help. */
  correction: Float64Array | undefined;
}

/**
 * What was measured of a model on its samples: plain figures by names, which hold for every run on both, whatever it
 * quantizes. Errors and harm are found by the grids too that a product computes on.
 */
export class Measurements {
  /** Undefined until the model has run. */
  values: ReadonlyMap<string, MeasuredValue> | undefined;
  readonly errors = new Map<string, ProductError>();
  /** The error that a product alone makes in the model's outputs, relative to them and squared. */
  readonly harm = new Map<string, number>();
}

/** The text of measurements, for `parseMeasurements`. */
export function formatMeasurements({ values, errors, harm }: Measurements, key: string): string {
  const lists = {
    values: [...values!].map(([name, { dims, min, max, nonFinite, range }]) =>
      min <= max ? [name, dims, nonFinite, min, max, range.low, range.high] : [name, dims, nonFinite],
    ),
    errors: [...errors].map(([name, { decibels, correction }]) => [
      name,
      decibels,
      correction ? [...correction] : null,
    ]),
    harm: [...harm],
  };
  return formatDecisions(lists, key);
}

/**
 * Reads what `formatMeasurements` wrote under the same key, and checks every figure: names once, sizes whole, numbers
 * finite, bounds in order.
 * @throws InputError with the first thing that is wrong
 */
export function parseMeasurements(bytes: Uint8Array, key: string): Measurements {
  const lists = parseDecisions(bytes, key, ['values', 'errors', 'harm']);
  const made = new Measurements();
  made.values = read(
    lists.values,
    'value',
    ([dims, nonFinite, min, max, low, high, ...more]): MeasuredValue | undefined => {
      if (more.length > 0 || !isList(dims, isCount) || !isCount(nonFinite)) return undefined;
      const nothing = { low: Number.POSITIVE_INFINITY, high: Number.NEGATIVE_INFINITY };
      if (min === undefined) return { dims, nonFinite, min: nothing.low, max: nothing.high, range: nothing };
      if (!isNumber(min) || !isNumber(max) || min > max) return undefined;
      if (!isNumber(low) || !isNumber(high) || low > high) return undefined;
      return { dims, nonFinite, min, max, range: { low, high } };
    },
  );
  const errors = read(lists.errors, 'error', ([decibels, correction, ...more]): ProductError | undefined => {
    if (more.length > 0 || !isNumber(decibels)) return undefined;
    if (correction === null) return { decibels, correction: undefined };
    return isList(correction, isNumber) ? { decibels, correction: Float64Array.from(correction) } : undefined;
  });
  for (const [name, error] of errors) made.errors.set(name, error);
  const harm = read(lists.harm, 'harm', ([error, ...more]) =>
    more.length === 0 && isNumber(error) && error >= 0 ? error : undefined,
  );
  for (const [name, error] of harm) made.harm.set(name, error);
  return made;
}

function read<Each>(
  list: readonly unknown[],
  what: string,
  entryOf: (rest: unknown[]) => Each | undefined,
): Map<string, Each> {
  const found = new Map<string, Each>();
  for (const [index, entry] of list.entries()) {
    const [name, ...rest] = Array.isArray(entry) ? (entry as unknown[]) : [];
    const made = typeof name === 'string' && name !== '' && !found.has(name) ? entryOf(rest) : undefined;
    if (made === undefined) return refuse(`have no ${what} as entry ${index}`);
    found.set(name as string, made);
  }
  return found;
}

/** What is finite as FLOAT too. */
const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(Math.fround(value));
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isList = <Each>(value: unknown, is: (each: unknown) => each is Each): value is Each[] =>
  Array.isArray(value) && value.every(is);
