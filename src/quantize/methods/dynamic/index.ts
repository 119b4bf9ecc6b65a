import { integerWeights } from '../../options.ts';
import type { Method, StoredForm } from '../method.ts';
import { storedInteger8 } from '../weights/index.ts';
import type { DynamicWeights } from './form.ts';
import { hasIntegerForm, integerForm } from './integer.ts';

export interface DynamicSettings {
  weights: DynamicWeights;
  opTypes: readonly string[];
}

/** Weights in 8 bits, activations quantized at run time; what has no integer arithmetic is stored in 8 bits. */
export const dynamic: Method<'dynamic', DynamicSettings> = {
  name: 'dynamic',
  owns: ['reduceRange'],
  settings: (options) => ({
    weights: { ...integerWeights(options), reduceRange: options.reduceRange ?? false },
    opTypes: options.opTypes ?? [],
  }),
  suffix: () => 'int8',
  describe: ({ weights }) => `dynamic ${weights.type} ${weights.perChannel ? 'per-channel' : 'per-tensor'}`,
  forms({ weights, opTypes }) {
    const stored = storedInteger8(weights);
    return [integerForm(weights, opTypes), opTypes.length > 0 ? unlessInteger(stored) : stored];
  },
};

/** An operator that the user named for its integer form stays FLOAT where it has none. */
function unlessInteger(stored: StoredForm): StoredForm {
  return {
    ...stored,
    offer: (site, weights) =>
      hasIntegerForm(site) ? { refusal: 'named for its integer form' } : stored.offer(site, weights),
  };
}
