import { type DeclaredValue, declaredInputs, declaredOutputs, type Model } from '../model/index.ts';

/** An input that takes what an output gave the time before. */
export interface StatePair {
  input: string;
  output: string;
}

const FLOATS = new Set([1, 10, 11]);
/** What exporters add to the name of a state that goes in or comes out. */
const AFFIXES =
  /^(new|next|prev|previous|old|last|out|in|init|initial|present|past|cur)[_.]|[_.]?(out|output|in|input|new|next|prev|init|old|n|0)$/i;

/**
 * The states of a recurrent model, read off its signature: a FLOAT input and an output that look alike and whose names
 * differ only in what says "before" and "after" (`state` and `stateN`, `h` and `hn`, `past.0.key` and `present.0.key`),
 * or, where several models of this kind have no such names, whose input's name says state.
 */
export function statePairs(model: Model): StatePair[] {
  const outputs = declaredOutputs(model).filter(({ dtype }) => FLOATS.has(dtype));
  const pairs: StatePair[] = [];
  for (const input of declaredInputs(model).filter(({ dtype, dims }) => FLOATS.has(dtype) && dims.length > 1)) {
    const alike = outputs.filter(
      (output) => mayHold(input, output) && !pairs.some((pair) => pair.output === output.name),
    );
    const named = alike.find((output) => stem(output.name) === stem(input.name));
    const told = alike.length === 1 && isStateName(input.name) ? alike[0] : undefined;
    const output = named ?? told;
    if (output) pairs.push({ input: input.name, output: output.name });
  }
  return pairs;
}

/** Whether a name says that a value is kept from step to step. */
export const isStateName = (name: string): boolean =>
  /(^|[_.])(state|states|hidden|cell|cache|memory|[hc][_.]?[0n]?|past)([_.\d]|$)/i.test(name) ||
  /past_key|kv_?cache/i.test(name);

function stem(name: string): string {
  const bare = name.replace(/key_values?(?=[._])/, '').replace(/_?values?(?=\.)/, '');
  return stripped(stripped(bare)).toLowerCase();
}

/** Without one affix, unless nothing is left: `input` is no `in` of anything. */
function stripped(name: string): string {
  const rest = name.replace(AFFIXES, '');
  return rest === '' || /^(in|out)put$/i.test(name) ? name : rest;
}

function mayHold(input: DeclaredValue, output: DeclaredValue): boolean {
  if (input.dtype !== output.dtype) return false;
  if (input.dims.length !== output.dims.length) return false;
  return input.dims.every((size, axis) => {
    const other = output.dims[axis];
    return typeof size === 'string' || typeof other === 'string' || size === other;
  });
}
