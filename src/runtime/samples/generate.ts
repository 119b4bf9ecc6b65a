import { elementCount, encode, isNumeric } from '../dtype.ts';
import type { Feeds, Tensor, ValueInfo } from '../types.ts';
import { meaningOf, type Surroundings } from './meaning.ts';

export interface Recipe extends Surroundings {
  seed: number;
}

/**
 * Feeds that depend on seed and index only. What an input is filled with is `meaningOf`'s to say; an open size that
 * nobody settled is 1.
 */
export function generateFeeds(recipe: Recipe, index: number): Feeds {
  const feeds: Feeds = {};
  for (const [position, input] of recipe.inputs.entries()) {
    const random = generator(recipe.seed * 1_000_003 + index * 1009 + position);
    feeds[input.name] = generateTensor(input, recipe, random);
  }
  return feeds;
}

/** How an option is written where the user is: `ranges: x=0..9` in a workflow. */
export type Spell = (input: string, value: string) => string;

/** What the inputs are filled with, for people: sizes and values of each, and what had better be given. */
export function describeFeeds(recipe: Recipe, spell: Spell = (input, value) => `${input}: ${value}`): string[] {
  const parts: string[] = [];
  const unknown: string[] = [];
  for (const input of recipe.inputs) {
    const { said, unknown: guessed } = meaningOf(input, recipe, () => 0);
    parts.push(`${input.name} [${dimsOf(input, recipe)}] of ${said}`);
    if (guessed) unknown.push(input.name);
  }
  const notes = parts.length > 0 ? [`The inputs are made: ${parts.join('; ')}.`] : [];
  for (const name of unknown) {
    const example = spell('ranges', `${name}=0..1023`);
    notes.push(`The range of ${name} is not known, so it gets 0 and 1 only; give it, as in ${example}.`);
  }
  return notes;
}

function generateTensor(input: ValueInfo, recipe: Recipe, random: () => number): Tensor {
  const { name, dtype } = input;
  if (!isNumeric(dtype)) throw new TypeError(`input ${name} of ${dtype} cannot be generated`);
  const dims = dimsOf(input, recipe);
  // A loop: Float64Array.from with a callback takes several times as long, and an image has a million values.
  const values = new Float64Array(elementCount(dims));
  const { value } = meaningOf(input, recipe, random);
  for (let position = 0; position < values.length; position++) values[position] = value(position);
  return { dtype, dims, data: encode(dtype, values) };
}

const dimsOf = ({ name }: ValueInfo, { shapes }: Recipe): number[] => (shapes[name] ?? []).map((size) => size ?? 1);

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
