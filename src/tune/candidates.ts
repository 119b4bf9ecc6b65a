import { createHash } from 'node:crypto';
import type { Model } from '../model/index.ts';
import type { Overrides, QuantizeOptions } from '../quantize/index.ts';
import type { AutoOptions } from './options.ts';

/** A way to quantize the model: what `quantize` is told besides where things lie. Plain data. */
export type Recipe = Omit<QuantizeOptions, 'model' | 'output' | 'report' | 'dryRun' | 'threads' | 'sourceDigest'>;

/** A recipe for the whole model. */
export interface Candidate {
  /** As tables call it. */
  form: string;
  recipe: Recipe;
}

/** Bytes of matrices from which on blocks are tried, and their least share of all weights. */
const BLOCKS_BYTES = 256 * 1024;
const BLOCKS_SHARE = 0.5;

/**
 * The recipes that are tried on the whole model, in this order: static where there is calibration data, dynamic, weights
 * of fewer bits alone, those of the graph that `static` has folded, which may be faster than FLOAT.
 * @param calibrationCount samples to calibrate on; undefined: all
 */
export function candidatesOf(options: AutoOptions, model: Model, calibrationCount: number | undefined): Candidate[] {
  const { calibrationData, calibrationMethod, calibrationPercentile, activationType, fold, dims, ranges } = options;
  const { weightType, weightSymmetric, perChannel, reduceRange, opTypes, includeNodes, excludeNodes } = options;
  const { allowNonFinite, overrides } = options;
  const nodes = { opTypes, includeNodes, excludeNodes, allowNonFinite, overrides };
  const weights = { weightType, weightSymmetric, perChannel, ...nodes };
  const candidates: Candidate[] = [
    { form: 'dynamic', recipe: { method: 'dynamic', reduceRange, ...weights } },
    { form: 'weight-only', recipe: { method: 'weight-only', ...weights } },
  ];
  if (blocksPay(model)) {
    candidates.push(
      { form: 'weight-only, 4 bits', recipe: { method: 'weight-only', bits: 4, ...nodes } },
      { form: 'weight-only, 8 bits in blocks', recipe: { method: 'weight-only', blockSize: 32, ...nodes } },
    );
  }
  if (!calibrationData) return candidates;
  const calibration = { calibrationData, calibrationCount, calibrationMethod, calibrationPercentile, activationType };
  const observed: Recipe = { method: 'static', fold, dims, ranges, ...calibration, ...weights };
  candidates.unshift({ form: 'static', recipe: observed });
  if (fold !== false) {
    candidates.push({ form: 'weight-only, folded', recipe: withRest(observed, { method: 'weight-only', bits: 8 }) });
  }
  return candidates;
}

/** The recipe with one way for all nodes of which the user says nothing. */
function withRest(recipe: Recipe, rest: Overrides[string]): Recipe {
  return { ...recipe, overrides: { '*': rest, ...recipe.overrides } };
}

/** The recipe with further overrides. */
export function withOverrides(recipe: Recipe, overrides: Overrides): Recipe {
  return { ...recipe, overrides: { ...recipe.overrides, ...overrides } };
}

/** Names a recipe: equal ones have equal names, whatever the order in which they were put together. */
export function nameOf(recipe: Recipe): string {
  return createHash('sha256').update(canonical(recipe)).digest('hex').slice(0, 16);
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each,
  );
}

/** Whether matrices make up most of the weights: nothing else has blocks. */
function blocksPay({ tensors }: Model): boolean {
  let [matrices, all] = [0, 0];
  for (const { dims, length } of tensors.values()) {
    all += length;
    if (dims.length === 2) matrices += length;
  }
  return matrices >= BLOCKS_BYTES && matrices >= BLOCKS_SHARE * all;
}
