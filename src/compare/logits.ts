import { InputError } from '../errors.ts';
import { type GraphScope, type NodeProto, readsOf } from '../model/index.ts';
import { MAX_CLASSES, type StoredTensor } from './metrics/outputs.ts';
import { rowsSumToOne } from './metrics/rows.ts';

/** Which outputs have rows whose greatest element is an answer. */
export interface RowsOptions {
  /** Named by the user: these and no others. */
  named?: readonly string[];
  /** Whether a share of equal answers is asked for, so that any rows count where nothing looks like scores. */
  wanted: boolean;
}

/**
 * Names of the outputs of which the share of equal top-1 answers is taken: those that the user names; else those whose
 * rows are probabilities in the reference's first outputs; else those that the graph makes as scores; else, where a share
 * is asked for, all that have rows.
 * @param outputs the reference's outputs on one sample
 * @throws InputError for a named output that is not there or has no rows
 */
export async function scoredOutputs(
  scope: GraphScope,
  outputs: readonly StoredTensor[],
  { named = [], wanted }: RowsOptions,
): Promise<Set<string>> {
  if (named.length > 0) return namedOutputs(outputs, named);
  const rows = outputs.filter(({ dtype, dims }) => dtype.startsWith('float') && hasRows(dims));
  const probabilities = new Set<string>();
  for (const output of rows) if (await rowsSumToOne(output)) probabilities.add(output.name);
  if (probabilities.size > 0) return probabilities;
  const scores = rows.filter(({ name, dims }) => looksLikeLogits(scope, name, dims));
  return new Set((scores.length > 0 || !wanted ? scores : rows).map(({ name }) => name));
}

function namedOutputs(outputs: readonly StoredTensor[], named: readonly string[]): Set<string> {
  for (const name of named) {
    const output = outputs.find((each) => each.name === name);
    if (!output) {
      const others = outputs.map((each) => each.name).join(', ');
      throw new InputError(`agreement-outputs names ${name}, but the outputs are ${others}; name one of them.`);
    }
    if (hasRows(output.dims) && output.dtype.startsWith('float')) continue;
    throw new InputError(
      `agreement-outputs names ${name}, which is ${output.dtype}[${output.dims.join(',')}]: it needs rows of 2 to ${MAX_CLASSES} floats along its last axis.`,
    );
  }
  return new Set(named);
}

/**
 * Whether an output of the main graph looks like logits, so that the greatest element of a row is an answer: rank 2 or 3, 2 to 2^20
 * columns, and made by a matrix product or a softmax, which may be written out, with nothing but layout, bias and scale
 * behind it. Recurrent and hidden states, normalized features and images are none.
 */
export function looksLikeLogits(scope: GraphScope, output: string, dims: readonly number[]): boolean {
  if (dims.length > 3 || !hasRows(dims)) return false;
  const made = new Makers(scope);
  const node = made.scoreProducer(output);
  if (!node) return false;
  if (SCORES.has(node.opType) || made.isSoftmax(node)) return true;
  return dims.length === 2 && SCORES_OF_IMAGES.has(node.opType);
}

/** Whether a tensor is rows of 2 to 2^20 columns, of which one is the greatest. */
function hasRows(dims: readonly number[]): boolean {
  const columns = dims.at(-1) ?? 0;
  return dims.length >= 2 && columns >= 2 && columns <= MAX_CLASSES;
}

/** Operators whose results are scores of classes when they end a graph with rows of them. */
const SCORES = new Set([
  'Softmax',
  'LogSoftmax',
  'MatMul',
  'Gemm',
  'FusedMatMul',
  'FusedGemm',
  'MatMulInteger',
  'MatMulNBits',
]);
/** Scores too, if what comes out has no space left: the last layer of many an image classifier. */
const SCORES_OF_IMAGES = new Set(['Conv', 'GlobalAveragePool', 'AveragePool', 'ReduceMean']);
/** Operators that leave scores the scores they are: layout and type. */
const LAYOUT = new Set([
  ...['Identity', 'Cast', 'Reshape', 'Squeeze', 'Unsqueeze', 'Flatten', 'Transpose', 'Dropout', 'Slice', 'Gather'],
  ...['Where', 'Clip', 'Max', 'Min', 'Neg', 'Sigmoid', 'QuantizeLinear', 'DequantizeLinear', 'DynamicQuantizeLinear'],
]);
/** These are bias and scale as long as only one of their inputs depends on what the model is fed. */
const ARITHMETIC = new Set(['Add', 'Sub', 'Mul', 'Div']);

/** Who makes what in a graph. */
class Makers {
  readonly #producers: GraphScope['producers'];
  /** Values that depend on the model's inputs. */
  readonly #fed: Set<string>;

  constructor({ graph, inputs, constants, producers }: GraphScope) {
    this.#producers = producers;
    this.#fed = new Set([...inputs].filter((name) => !constants.has(name)));
    for (const node of graph.node) {
      if (!readsOf(node).some((name) => this.#fed.has(name))) continue;
      for (const name of node.output) this.#fed.add(name);
    }
  }

  /** The node that made the values of `output`, behind all that only moves, scales or shifts them. */
  scoreProducer(output: string): NodeProto | undefined {
    const seen = new Set<string>();
    let name: string | undefined = output;
    while (name !== undefined && !seen.has(name)) {
      seen.add(name);
      const node = this.#producers.get(name);
      if (!node || this.isSoftmax(node)) return node;
      const inputs: string[] = node.input.filter((input) => this.#fed.has(input));
      const bias = ARITHMETIC.has(node.opType) && inputs.length === 1;
      if (!bias && !LAYOUT.has(node.opType)) return node;
      // Where(mask, scores, −∞): the mask may be fed as well.
      name = node.opType === 'Where' ? inputs.find((input) => input !== node.input[0]) : inputs[0];
    }
    return undefined;
  }

  /**
   * A softmax written out: Exp ÷ ReduceSum(Exp), also as Exp × Reciprocal; and its logarithm, x − Log(ReduceSum(Exp)).
   */
  isSoftmax({ opType, input }: NodeProto): boolean {
    const [left, right] = input as [string, string];
    if (opType === 'Div') return this.#isSumOf(right, this.#behindLayout(left));
    if (opType === 'Mul') {
      return [
        [left, right],
        [right, left],
      ].some(([numerator, factor]) => {
        const node = this.#behindLayout(factor!);
        return node?.opType === 'Reciprocal' && this.#isSumOf(node.input[0]!, this.#behindLayout(numerator!));
      });
    }
    if (opType !== 'Sub') return false;
    const logarithm = this.#behindLayout(right);
    const sum = logarithm?.opType === 'Log' ? this.#behindLayout(logarithm.input[0]!) : undefined;
    return sum?.opType === 'ReduceSum' && this.#behindLayout(sum.input[0]!)?.opType === 'Exp';
  }

  /** Whether a value is the sum of what `exponential`, an Exp, makes. */
  #isSumOf(name: string, exponential: NodeProto | undefined): boolean {
    const sum = this.#behindLayout(name);
    return (
      exponential?.opType === 'Exp' && sum?.opType === 'ReduceSum' && this.#behindLayout(sum.input[0]!) === exponential
    );
  }

  #behindLayout(name: string): NodeProto | undefined {
    let node = this.#producers.get(name);
    while (node && MOVES.has(node.opType)) node = this.#producers.get(node.input[0]!);
    return node;
  }
}

/** What may stand between the parts of a softmax. */
const MOVES = new Set(['Identity', 'Cast', 'Reshape', 'Unsqueeze', 'Squeeze', 'Expand', 'Clip']);
