import { elementCount, isFloating } from '../dtype.ts';
import type { ValueInfo } from '../types.ts';
import type { Range } from './options.ts';

/** What an input is filled with, and how that is told: `ones`, `0 to 1023`. */
export interface Meaning {
  value(position: number): number;
  said: string;
  /** Whether nothing but the type speaks for it, so that the user had better say. */
  unknown?: true;
}

export interface Surroundings {
  inputs: readonly ValueInfo[];
  /** Sizes of every input. */
  shapes: Readonly<Record<string, readonly (number | undefined)[]>>;
  ranges: Readonly<Record<string, Range>>;
  inferred: Readonly<Record<string, Range>>;
  /** Inputs that keep what the model gave the time before; they start at zero. */
  states: ReadonlySet<string>;
  sampleRate: number;
}

/**
 * What belongs into an input, from the user's ranges, from the graph, from a conventional name, else from its type:
 * standard normal numbers for floats, a byte's range for bytes.
 */
export function meaningOf(input: ValueInfo, around: Surroundings, random: () => number): Meaning {
  const { name, dtype } = input;
  const given = around.ranges[name];
  const floating = isFloating(dtype as 'float32');
  const uniform = ({ low, high }: Range, said: string): Meaning => ({
    value: floating ? () => low + random() * (high - low) : () => low + Math.floor(random() * (high - low + 1)),
    said,
  });
  if (given) return uniform(given, `${given.low} to ${given.high}, as given`);
  if (around.states.has(name)) return constant(0, 'zeros at first, then what the model gave back');
  const dims = (around.shapes[name] ?? []).map((size) => size ?? 1);
  const named = conventional(input, dims, around);
  if (named) return named;
  if (floating) return { value: normal(random), said: 'standard normal numbers' };
  const rows = around.inferred[name];
  if (rows) return uniform(rows, `${rows.low} to ${rows.high}, the rows of its table`);
  if (dtype === 'uint8') return uniform({ low: 0, high: 255 }, '0 to 255');
  const bits = uniform({ low: 0, high: 1 }, '0 and 1');
  return dtype === 'bool' ? bits : { ...bits, unknown: true };
}

/** Inputs whose names are conventional. */
function conventional(input: ValueInfo, dims: number[], around: Surroundings): Meaning | undefined {
  const { name, dtype } = input;
  const floating = isFloating(dtype as 'float32');
  const small = elementCount(dims) <= 4 && dims.length <= 1;
  if (/^has_/i.test(name) && small) return constant(0, 'zero');
  if (/(^|_)mask(_|s?$)/i.test(name)) {
    // A float mask with the shape of an image is a drawing, not a list of what counts.
    return floating && dims.length > 3 ? constant(0, 'zeros') : constant(1, 'ones');
  }
  if (dtype === 'bool') return /use_?cache/i.test(name) ? constant(1, 'true') : undefined;
  if (floating) {
    const factor = small && /scales?$|speed|temperature|factor|penalty/i.test(name);
    return factor ? constant(1, dims.length === 0 ? 'one' : 'ones') : undefined;
  }
  if (/token_type|segment/i.test(name)) return constant(0, 'zeros');
  if (/position_ids?/i.test(name)) {
    return { value: (position) => position % (dims.at(-1) ?? 1), said: 'positions counted up' };
  }
  if (small && /^(sr|fs|sample_?rate|sampling_?rate)$/i.test(name)) {
    return constant(around.sampleRate, `${around.sampleRate} Hz`);
  }
  if (small && /^(sid|spk|speaker|lang|language|style)(_?ids?)?$/i.test(name)) return constant(0, 'zero');
  if (dims.length <= 1 && /(^|[_.])(len|lens|lengths?|num_?frames|n_?frames)$|[a-z]lengths?$/i.test(name)) {
    return lengthOf(input, around);
  }
  return undefined;
}

/** How long the input is that a length is of: the one its name begins with, else the first that has a length. */
function lengthOf({ name }: ValueInfo, { inputs, shapes }: Surroundings): Meaning | undefined {
  const long = inputs.filter((each) => each.name !== name && each.dims.length >= 2);
  const own = name.replace(/[_.]?(len|lens|lengths?|num_?frames|n_?frames)$/i, '');
  const other = long.find((each) => own !== '' && each.name.startsWith(own)) ?? long[0];
  const sizes = other && shapes[other.name]!;
  if (!other || !sizes) return undefined;
  const open = other.dims.findLastIndex((size, axis) => typeof size === 'string' && axis > 0);
  const size =
    open > 0 ? sizes[open] : sizes.length === 2 ? sizes[1] : Math.max(...sizes.slice(1).map((each) => each ?? 1));
  return size === undefined ? undefined : constant(size, `${size}, the length of ${other.name}`);
}

const constant = (value: number, said: string): Meaning => ({ value: () => value, said });

/** Standard normal numbers by Box and Muller. */
function normal(random: () => number): () => number {
  return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
