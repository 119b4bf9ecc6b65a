import type { Model } from '../../model/index.ts';
import type { QuantizeOptions } from '../options.ts';
import { settingsOf } from '../settings.ts';
import { draft } from './draft.ts';
import type { Plan } from './plan.ts';

export { type Draft, draft, type Findings } from './draft.ts';
export { assertHolds } from './memory.ts';
export type { Plan, PlannedNode } from './plan.ts';
export { refuseUnfit } from './refuse.ts';
export { planText } from './text.ts';

/**
 * Plans the quantization of a model; reads no weight and writes nothing. What only the values tell (infinities, what
 * FP16 cannot hold) is therefore not in it; a dry run of `quantize` has it.
 *
 * @throws InputError if nothing can be quantized, or if the model is quantized already.
 */
export function plan(model: Model, options: Omit<QuantizeOptions, 'model'> = {}): Plan {
  return draft(model, settingsOf({ ...options, model: model.path })).plan;
}
