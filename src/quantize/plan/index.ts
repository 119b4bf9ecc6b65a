import { type JobContent, layoutModel, type Model, type TensorProto } from '../../model/index.ts';
import { atOnce } from '../breathe.ts';
import { bytesOf } from '../encodings/encoding.ts';
import type { QuantizeOptions } from '../options.ts';
import { settingsOf } from '../settings.ts';
import { admit, drafting } from './draft.ts';
import type { Plan } from './plan.ts';
import type { Rewrite } from './rewrite.ts';

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
  const prepared = admit(model);
  const { plan, rewrite } = atOnce(drafting(prepared, settings, { skip: new Map(), notes: [], warnings: [] }));
  const { stamps } = model;
  const copied = rewrite.model === prepared.model;
  return { ...plan, disk: copied ? stamps.reduce((sum, { size }) => sum + size, 0) : sizeOf(rewrite, settings.output) };
}

/** Bytes of the model that would be written. Parameters that are known once the weights are read stand in the graph. */
function sizeOf({ model, encoded }: Rewrite, output: string): number {
  let inGraph = 0;
  const contents = new Map<TensorProto, JobContent<undefined>>();
  for (const { data, encoding, parameters } of encoded) {
    contents.set(data, { length: bytesOf(encoding.data), job: undefined });
    for (const { tensor, parameter } of parameters) {
      if (encoding.range) inGraph += bytesOf(parameter);
      else contents.set(tensor, { length: bytesOf(parameter), job: undefined });
    }
  }
  const { data, graph } = layoutModel(model, { output, contents });
  return (data?.size ?? 0) + graph().size + inGraph;
}
