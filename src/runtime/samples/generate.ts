import { elementCount, encode, isFloating, isNumeric } from '../dtype.ts';
import type { Feeds, Tensor, ValueInfo } from '../types.ts';
import type { Range, Shape } from './options.ts';

export interface Recipe {
  inputs: readonly ValueInfo[];
  shapes: Record<string, Shape>;
  /** The user's. */
  ranges: Record<string, Range>;
  /** Read off the graph. */
  inferred: Record<string, Range>;
  seed: number;
  sampleRate: number;
}

/**
 * Feeds that depend on seed and index only. Floats are standard normal unless a range is given; integers are uniform
 * over their range. Names that say what belongs there (masks, sampling rates, positions) are believed.
 * `notes` receives what was guessed.
 */
export function generateFeeds(recipe: Recipe, index: number, notes: Set<string> = new Set()): Feeds {
  const feeds: Feeds = {};
  for (const [position, input] of recipe.inputs.entries()) {
    const dims = recipe.shapes[input.name]!.map((size) => size ?? 1);
    const random = generator(recipe.seed * 1_000_003 + index * 1009 + position);
    feeds[input.name] = generateTensor(input, dims, recipe, random, notes);
  }
  return feeds;
}

function generateTensor(
  input: ValueInfo,
  dims: number[],
  { ranges, inferred, sampleRate }: Recipe,
  random: () => number,
  notes: Set<string>,
): Tensor {
  const { name, dtype } = input;
  if (!isNumeric(dtype)) throw new TypeError(`input ${name} of ${dtype} cannot be generated`);
  const length = elementCount(dims);
  const fill = (value: (position: number) => number): Tensor => {
    // A loop: Float64Array.from with a callback takes several times as long, and an image has a million values.
    const values = new Float64Array(length);
    for (let position = 0; position < length; position++) values[position] = value(position);
    return { dtype, dims, data: encode(dtype, values) };
  };
  const range = ranges[name];
  if (isFloating(dtype)) return fill(range ? () => range.low + random() * (range.high - range.low) : normal(random));
  const meant = range ? undefined : meaningOf(name, dims, sampleRate);
  if (meant) return fill(meant);
  const known = range ?? inferred[name];
  if (!known && dtype !== 'bool') {
    notes.add(`The range of ${name} is not known, so it gets 0 and 1 only; give it, as in ranges: ${name}=0..1023.`);
  }
  const { low, high } = known ?? { low: 0, high: 1 };
  return fill(() => low + Math.floor(random() * (high - low + 1)));
}

/** Values of integer inputs whose names are conventional: masks are ones, segments zeros, positions count up. */
function meaningOf(name: string, dims: number[], sampleRate: number): ((position: number) => number) | undefined {
  if (/(^|_)mask(_|$)/i.test(name)) return () => 1;
  if (/token_type|segment/i.test(name)) return () => 0;
  if (/position_ids?/i.test(name)) return (position) => position % (dims.at(-1) ?? 1);
  if (/^(sr|sample_?rate|sampling_?rate)$/i.test(name)) return () => sampleRate;
  return undefined;
}

/** Standard normal numbers by Box and Muller. */
function normal(random: () => number): () => number {
  return () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Uniform numbers in [0, 1): splitmix32, small and good enough for inputs. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
  };
}
