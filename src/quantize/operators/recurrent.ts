import type { Operator, WeightSlot } from './operator.ts';

/** W and R, [directions, gates × hidden, …]: one scale per direction and row. */
export function recurrentWeights(): WeightSlot[] {
  return [1, 2].map((input) => ({ input, rank: [3, 3], axis: () => [0, 1] }));
}

export const gru: Operator = { key: 'GRU', inputs: 3, weights: recurrentWeights };
export const rnn: Operator = { key: 'RNN', inputs: 3, weights: recurrentWeights };
