import { type GraphScope, type NodeProto, producerOf } from '../model/index.ts';
import { MAX_CLASSES } from './metrics/outputs.ts';

/** Operators whose results are scores of classes when they end a graph with rows of them. */
const SCORES = new Set([
  'Softmax',
  'LogSoftmax',
  'MatMul',
  'Gemm',
  'MatMulInteger',
  'FusedMatMul',
  'FusedGemm',
  'MatMulNBits',
]);
/** Scores too, if what comes out has no space left: the last layer of many an image classifier. */
const SCORES_OF_IMAGES = new Set(['Conv', 'GlobalAveragePool', 'AveragePool', 'ReduceMean']);
/** Operators that leave scores the scores they are: layout, type, bias and scale. */
const TRANSPARENT = new Set(
  [
    'Identity',
    'Cast',
    'Reshape',
    'Squeeze',
    'Unsqueeze',
    'Flatten',
    'Transpose',
    'Dropout',
    'Slice',
    'Gather',
    'Where',
    'Clip',
  ].concat([
    'Add',
    'Sub',
    'Mul',
    'Div',
    'Neg',
    'Sigmoid',
    'QuantizeLinear',
    'DequantizeLinear',
    'DynamicQuantizeLinear',
    'Max',
    'Min',
  ]),
);

/**
 * Whether an output of the main graph looks like logits, so that the greatest element of a row is an answer: rank 2 or 3, 2 to 2^20
 * columns, and made by a matrix product or a softmax, with nothing but layout, bias and scale behind it. Recurrent
 * states, normalized features and images are none.
 */
export function looksLikeLogits(scope: GraphScope, output: string, dims: readonly number[]): boolean {
  if (dims.length > 3 || !hasRows(dims)) return false;
  const producer = scoreProducer(scope, output);
  if (!producer) return false;
  return SCORES.has(producer.opType) || (dims.length === 2 && SCORES_OF_IMAGES.has(producer.opType));
}

/** Whether a tensor is rows of 2 to 2^20 columns, of which one is the greatest. */
export function hasRows(dims: readonly number[]): boolean {
  const columns = dims.at(-1) ?? 0;
  return dims.length >= 2 && columns >= 2 && columns <= MAX_CLASSES;
}

/** The node that made the values of `output`, behind all transparent ones. */
function scoreProducer(scope: GraphScope, output: string): NodeProto | undefined {
  const seen = new Set<string>();
  let pending = [output];
  while (pending.length > 0) {
    const next: string[] = [];
    for (const name of pending) {
      const node = producerOf(scope, name)?.node;
      if (!node || seen.has(name)) continue;
      seen.add(name);
      if (!TRANSPARENT.has(node.opType)) {
        if (node.opType === 'Constant') continue;
        return node;
      }
      next.push(...node.input);
    }
    pending = next;
  }
  return undefined;
}
