import type { NodeProto } from '../../../model/index.ts';

/** How an operator meets half precision. */
export interface HalfOperator {
  /** The inputs that become FLOAT16; undefined: all. Others keep their type: axes, shapes, conditions. */
  inputs: readonly number[] | undefined;
  /** The outputs that become FLOAT16; undefined: all. */
  outputs: readonly number[] | undefined;
  /** It only moves elements: worth it where they are FLOAT16 already. */
  moves: boolean;
}

const ALL: HalfOperator = { inputs: undefined, outputs: undefined, moves: false };
const FIRST: HalfOperator = { inputs: [0], outputs: [0], moves: false };
const MOVES: HalfOperator = { inputs: [0], outputs: undefined, moves: true };

/** Computes in FLOAT16 wherever the weights and values are in its range. */
const COMPUTES = [
  ...['Add', 'Sub', 'Mul', 'Div', 'Neg', 'Abs', 'Max', 'Min', 'Sum', 'Mean', 'Clip'],
  ...['Conv', 'ConvTranspose', 'Gemm', 'MatMul', 'AveragePool', 'GlobalAveragePool', 'GlobalMaxPool'],
  ...[
    'Elu',
    'Erf',
    'Gelu',
    'HardSigmoid',
    'HardSwish',
    'LeakyRelu',
    'PRelu',
    'Relu',
    'Selu',
    'Sigmoid',
    'Softplus',
    'Tanh',
  ],
  ...['BatchNormalization', 'InstanceNormalization', 'LogSoftmax', 'Softmax', 'Sqrt'],
];

/** The second input of these are axes, the second output of MaxPool indices, those of LayerNormalization FLOAT. */
const FIRST_ONLY = ['MaxPool', 'ReduceMax', 'ReduceMin'];

const MOVEMENT = [
  ...['DepthToSpace', 'Expand', 'Flatten', 'Gather', 'GatherElements', 'GatherND', 'Identity', 'Reshape', 'Slice'],
  ...['SpaceToDepth', 'Split', 'Squeeze', 'Tile', 'Transpose', 'Unsqueeze'],
];

/**
 * Operators by key. What is not here stays FP32: sums over many elements (ReduceMean, ReduceSum, LayerNormalization,
 * CumSum) and powers (Exp, Log, Pow) lose too much or overflow; Resize, Range, RoiAlign, NonMaxSuppression and TopK
 * count positions, which FP16 holds exactly up to 2048 only; recurrent operators have no FP16 kernels on most providers.
 */
export const halfOperators: ReadonlyMap<string, HalfOperator> = new Map<string, HalfOperator>([
  ...COMPUTES.map((key) => [key, ALL] as const),
  ...FIRST_ONLY.map((key) => [key, FIRST] as const),
  ...MOVEMENT.map((key) => [key, MOVES] as const),
  ['Concat', { ...ALL, moves: true }],
  ['Pad', { inputs: [0, 2], outputs: [0], moves: true }],
  // They tell of a value what it is in either type.
  ...['Shape', 'Size'].map((key) => [key, { inputs: [0], outputs: [], moves: true }] as const),
  ['Where', { inputs: [1, 2], outputs: [0], moves: true }],
]);

/** Places of a node's inputs or outputs that are there and become FLOAT16. */
export function placesOf(names: NodeProto['input'], places: readonly number[] | undefined): number[] {
  return [...names.keys()].filter((i) => names[i] !== '' && (places?.includes(i) ?? true));
}
