import { type IntegerWeights, integerWeights } from '../../options.ts';
import type { Method } from '../method.ts';
import { storedFloat16, storedInteger8 } from './stored.ts';

export { storedInteger8 } from './stored.ts';

export interface WeightOnlySettings {
  weights: IntegerWeights;
}

/** Weights in 8 bits, which are FLOAT again once the model is loaded. */
export const weightOnly: Method<'weight-only', WeightOnlySettings> = {
  name: 'weight-only',
  owns: [],
  settings: (options) => ({ weights: integerWeights(options) }),
  suffix: () => 'int8',
  describe: ({ weights }) => `weight-only ${weights.type} ${weights.perChannel ? 'per-channel' : 'per-tensor'}`,
  forms: ({ weights }) => [storedInteger8(weights)],
};

/** Weights in half precision, which are FLOAT again once the model is loaded. */
export const fp16: Method<'fp16', object> = {
  name: 'fp16',
  owns: [],
  settings: () => ({}),
  suffix: () => 'fp16',
  describe: () => 'fp16',
  forms: () => [storedFloat16],
};
