import { attention } from './attention.ts';
import { conv, convTranspose } from './conv.ts';
import { embedLayerNormalization } from './embed-layer-normalization.ts';
import { gather } from './gather.ts';
import { gemm } from './gemm.ts';
import { lstm } from './lstm.ts';
import { matMul } from './matmul.ts';
import type { Operator } from './operator.ts';
import { gru, rnn } from './recurrent.ts';
import { transpose } from './transpose.ts';

const OPERATORS: readonly Operator[] = [
  attention,
  conv,
  convTranspose,
  embedLayerNormalization,
  gather,
  gemm,
  gru,
  lstm,
  matMul,
  rnn,
  transpose,
];

/** Operators by `operatorKey`. To quantize another one, add a file and a line above. */
export const registry: ReadonlyMap<string, Operator> = new Map(OPERATORS.map((operator) => [operator.key, operator]));
