import type { Operator, WeightSlot } from './operator.ts';

/** W and R, [directions, gates × hidden, …]: one scale per direction and row. */
export function recurrentWeights(): WeightSlot[] {
  const axis = (rank: number) => (rank === 3 ? [0, 1] : null);
  return [
    { input: 1, axis },
    { input: 2, axis },
  ];
}

export const gru: Operator = { key: 'GRU', weights: recurrentWeights };
export const rnn: Operator = { key: 'RNN', weights: recurrentWeights };
