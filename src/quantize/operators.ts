import { intOf, MS_DOMAIN, type NodeProto } from '../model/index.ts';

/** What is true of an operator whatever the method. To quantize another one, add a row to the table below. */
export interface Operator {
  /** `operatorKey` of its nodes. */
  key: string;
  /** How many inputs a node must have for the standard, from the first. */
  inputs: number;
  /** The inputs that can be weights. */
  weights(node: NodeProto): WeightSlot[];
  /** The operator whose name in `op-types` stands for this one too. */
  goesWith?: string;
}

/** An input that can be a weight. */
export interface WeightSlot {
  input: number;
  /** The fewest and the most axes that a weight may have here. */
  rank: readonly [least: number, most: number];
  /** Axes of a weight with that many that carry its output channels; null for one scale for all of it. */
  axis(rank: number): number | readonly number[] | null;
}

const ROWS: readonly Operator[] = [
  // The standard's operator of that name has no weight.
  { key: `${MS_DOMAIN}:Attention`, inputs: 2, weights: () => [slot(1, [2, 2], 1)] },
  { key: 'Conv', inputs: 2, weights: () => [slot(1, [3, 5], 0)] },
  // [inputs, outputs ÷ groups, …]
  { key: 'ConvTranspose', inputs: 2, weights: () => [slot(1, [3, 5], 1)] },
  {
    key: `${MS_DOMAIN}:EmbedLayerNormalization`,
    inputs: 7,
    // Word, position and segment embedding, gamma, beta.
    weights: () => [2, 3, 4, 5, 6].map((input) => ({ input, rank: [1, 2], axis: (rank) => (rank > 1 ? 0 : null) })),
  },
  {
    key: 'Gather',
    inputs: 2,
    // A row of an embedding is what a lookup returns, so it gets its own scale.
    weights: (node) => [
      { input: 0, rank: [1, 64], axis: (rank) => (rank > 1 ? fromStart(intOf(node, 'axis', 0), rank) : null) },
    ],
  },
  {
    key: 'Gemm',
    inputs: 2,
    goesWith: 'MatMul',
    weights: (node) => [
      slot(1, [2, 2], intOf(node, 'transB', 0) ? 0 : 1),
      slot(0, [2, 2], intOf(node, 'transA', 0) ? 1 : 0),
    ],
  },
  { key: 'GRU', inputs: 3, weights: recurrent },
  { key: 'LSTM', inputs: 3, weights: recurrent },
  {
    key: 'MatMul',
    inputs: 2,
    weights: () => [
      { input: 1, rank: [1, 64], axis: (rank) => (rank > 1 ? rank - 1 : null) },
      { input: 0, rank: [1, 64], axis: (rank) => (rank > 1 ? rank - 2 : null) },
    ],
  },
  { key: 'RNN', inputs: 3, weights: recurrent },
  { key: 'Transpose', inputs: 1, weights: () => [] },
];

/** Facts by `operatorKey`. */
export const operators: ReadonlyMap<string, Operator> = new Map(ROWS.map((row) => [row.key, row]));

/** An axis counted from the first, whichever way it was given. */
export function fromStart(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}

function slot(input: number, rank: readonly [number, number], axis: number): WeightSlot {
  return { input, rank, axis: () => axis };
}

/** W and R, [directions, gates × hidden, …]: one scale per direction and row. */
function recurrent(): WeightSlot[] {
  return [1, 2].map((input) => ({ input, rank: [3, 3], axis: () => [0, 1] }));
}
