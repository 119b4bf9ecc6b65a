import type { Model } from '../../model/index.ts';
import { atOnce } from '../breathe.ts';
import type { QuantizeOptions } from '../options.ts';
import { settingsOf } from '../settings.ts';
import { admit, drafting } from './draft.ts';
import type { Plan } from './plan.ts';

export { chooser } from './choice.ts';
export { admit, type Draft, drafting, type Findings, type Prepared } from './draft.ts';
export { assertHolds } from './memory.ts';
export type { Plan, PlannedNode } from './plan.ts';
export { planText } from './text.ts';

/**
 * Plans the quantization of a model; reads no weight and writes nothing. What only the values tell (infinities, what
 * FP16 cannot hold) is therefore not in it: a dry run of `quantize` knows that too.
 *
 * @throws InputError if nothing can be quantized, or if the model is quantized already.
 */
export function plan(model: Model, options: Omit<QuantizeOptions, 'model'> = {}): Plan {
  const settings = settingsOf({ ...options, model: model.path });
  return atOnce(drafting(admit(model), settings, { skip: new Map(), notes: [], warnings: [] })).plan;
}
