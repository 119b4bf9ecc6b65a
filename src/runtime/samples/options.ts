import { InputError } from '../../errors.ts';
import type { ValueInfo } from '../types.ts';

/** Bounds of values, both included. */
export interface Range {
  low: number;
  high: number;
}

/**
 * `batch=1,seq=16` (commas or lines), `x.2=48` for an axis of an input, `x=1x3x48x320` for a whole shape.
 * @throws InputError where an entry is none of these
 */
export function parseDims(text: string | undefined): Map<string, number[]> {
  const dims = new Map<string, number[]>();
  for (const [key, value] of entries(text, 'dims', 'batch=1,seq=16')) {
    const sizes = value.split('x').map(Number);
    if (!sizes.every((size) => Number.isInteger(size) && size > 0)) {
      throw new InputError(`dims: ${key}=${value} is no size; write it as batch=1 or input=1x3x48x320.`);
    }
    dims.set(key, sizes);
  }
  return dims;
}

/** `audio_codes=0..1023` (commas or lines). @throws InputError for another form or a name that is no input */
export function parseRanges(text: string | undefined, inputs: readonly ValueInfo[]): Record<string, Range> {
  const ranges: Record<string, Range> = {};
  for (const [key, value] of entries(text, 'ranges', 'audio_codes=0..1023')) {
    const match = /^(-?[\d.]+(?:e[-+]?\d+)?)\.\.(-?[\d.]+(?:e[-+]?\d+)?)$/i.exec(value);
    const low = Number(match?.[1]);
    const high = Number(match?.[2]);
    if (!match || !Number.isFinite(low) || !Number.isFinite(high) || low > high) {
      throw new InputError(`ranges: ${key}=${value} is no range; write it as ${key}=0..1023, the lower bound first.`);
    }
    if (!inputs.some(({ name }) => name === key)) {
      throw new InputError(
        `ranges: the model has no input ${key}; it has ${inputs.map(({ name }) => name).join(', ')}.`,
      );
    }
    ranges[key] = { low, high };
  }
  return ranges;
}

/** A size, or undefined where the signature leaves it open and so does the user. */
export type Shape = (number | undefined)[];

/**
 * The shape of every input as far as the signature and the user say it; undefined is open.
 * @throws InputError for a key that fits nothing and for a size that the model does not have
 */
export function givenShapes(inputs: readonly ValueInfo[], dims: ReadonlyMap<string, number[]>): Record<string, Shape> {
  const used = new Set<string>();
  const take = (key: string): number[] | undefined => {
    const sizes = dims.get(key);
    if (sizes) used.add(key);
    return sizes;
  };
  const shapes: Record<string, Shape> = {};
  for (const input of inputs) {
    const whole = take(input.name);
    if (whole && whole.length !== input.dims.length) {
      throw new InputError(`dims: ${input.name} has ${input.dims.length} dimensions, not ${whole.length}.`);
    }
    shapes[input.name] = input.dims.map((size, axis) => {
      const given =
        (typeof size === 'string' && size ? take(size)?.[0] : undefined) ??
        take(`${input.name}.${axis}`)?.[0] ??
        whole?.[axis];
      if (typeof size === 'number' && given !== undefined && given !== size) {
        throw new InputError(`dims: ${input.name} has ${size} at axis ${axis}, which cannot become ${given}.`);
      }
      return typeof size === 'number' ? size : given;
    });
  }
  const stray = [...dims.keys()].find((key) => !used.has(key));
  if (stray !== undefined) {
    throw new InputError(
      `dims: no input has a dimension ${stray}; the inputs are ${inputs.map(signatureOf).join(', ')}.`,
    );
  }
  return shapes;
}

/**
 * The shape of every input. A symbolic first dimension is the batch and 1 unless given, wherever else its name stands.
 * @throws InputError, when `strict`, naming the dimensions that nobody gave, and as `givenShapes`
 */
export function resolveShapes(
  inputs: readonly ValueInfo[],
  dims: ReadonlyMap<string, number[]>,
  mode: 'strict' | 'open',
): Record<string, Shape> {
  const given = givenShapes(inputs, dims);
  const batch = new Set(inputs.map((input) => input.dims[0]).filter((size) => typeof size === 'string' && size !== ''));
  const missing: string[] = [];
  for (const { name, dims: declared } of inputs) {
    given[name] = given[name]!.map((size, axis) => {
      if (size !== undefined) return size;
      const symbol = declared[axis] as string;
      if (axis === 0 || batch.has(symbol)) return 1;
      missing.push(symbol || `${name}.${axis}`);
      return undefined;
    });
  }
  if (mode === 'strict' && missing.length > 0) {
    const names = [...new Set(missing)];
    const example = names.map((name) => `${name}=16`).join(',');
    throw new InputError(`dims: the model leaves ${names.join(', ')} open; give sizes, for example dims: ${example}.`);
  }
  return given;
}

/** `x float32[batch,4]`, as messages name an input. */
export const signatureOf = ({ name, dtype, dims }: ValueInfo): string =>
  `${name} ${dtype}[${dims.map((size) => size || '?').join(',')}]`;

function* entries(text: string | undefined, option: string, example: string): Generator<[string, string]> {
  for (const entry of (text ?? '').split(/[,\n]/)) {
    if (entry.trim() === '') continue;
    // The last "=": names of inputs may hold one, sizes cannot.
    const split = entry.lastIndexOf('=');
    if (split <= 0) throw new InputError(`${option}: "${entry.trim()}" has no name and value; write it as ${example}.`);
    yield [entry.slice(0, split).trim(), entry.slice(split + 1).trim()];
  }
}
