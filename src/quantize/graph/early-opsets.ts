import {
  attributeOf,
  constantOf,
  DataType,
  floatAttribute,
  floatOf,
  floatTensor,
  type GraphScope,
  int64Tensor,
  intAttribute,
  intOf,
  makeNode,
  type NodeProto,
  operatorKey,
  stringOf,
} from '../../model/index.ts';
import { added, intsOf, nameFor, type Place, type Rule, refuse, removeAttributes } from './opset-rule.ts';

/**
 * Changes from operator set 1 to 7, in which broadcasting became NumPy's (ONNX operators changelog). What is not here
 * only gained types or attributes whose defaults are what was before.
 */
export const EARLY_RULES: Record<string, Rule> = {
  ...each(['Add', 'And', 'Div', 'Equal', 'Greater', 'Less', 'Mul', 'Or', 'Pow', 'Sub', 'Xor'], {
    changedIn: 7,
    raise: raiseBroadcast,
  }),
  // That it was told which inputs it may write over.
  ...each(
    [
      ...['Abs', 'Ceil', 'Clip', 'Elu', 'Exp', 'Floor', 'HardSigmoid', 'InstanceNormalization', 'LeakyRelu', 'Log'],
      ...['Max', 'Mean', 'Min', 'Neg', 'Reciprocal', 'Relu', 'Sigmoid', 'Sqrt', 'Sum', 'Tanh'],
    ],
    { changedIn: 6, raise: (node) => removeAttributes(node, ['consumed_inputs']) },
  ),
  ...each(['GRU', 'LSTM', 'RNN'], { changedIn: 7, raise: (node) => removeAttributes(node, ['output_sequence']) }),
  ...each(['GlobalLpPool', 'LpPool'], { changedIn: 2, raise: raiseNorm }),
  BatchNormalization: {
    changedIn: 7,
    raise(node) {
      if (node.output.slice(1).some((name) => name !== '')) refuse(node, 'is in the form for training');
      node.output = node.output.slice(0, 1);
      removeAttributes(node, ['is_test', 'consumed_inputs']);
    },
  },
  Cast: { changedIn: 6, raise: raiseCast },
  Concat: {
    changedIn: 4,
    raise(node) {
      if (!attributeOf(node, 'axis')) node.attribute = [...node.attribute, intAttribute('axis', 1)];
    },
  },
  Dropout: { changedIn: 7, raise: (node) => removeAttributes(node, ['is_test', 'consumed_inputs']) },
  // What it adds was aligned at the last axis already.
  Gemm: { changedIn: 7, raise: (node) => removeAttributes(node, ['broadcast']) },
  Pad: {
    changedIn: 2,
    raise(node) {
      node.attribute = node.attribute.map((old) => (old.name === 'paddings' ? { ...old, name: 'pads' } : old));
    },
  },
  PRelu: {
    changedIn: 7,
    raise(node, place) {
      removeAttributes(node, ['consumed_inputs']);
      const slope = node.input[1]!;
      const size = constantOf(place.scope, slope)?.dims.reduce((product, dim) => product * dim, 1);
      // One slope per channel; one for all, or one per value, are read as before.
      if (size !== 1 && (rankOf(slope, place) ?? 1) === 1) alignAt(node, 1, place);
    },
  },
  Reshape: {
    changedIn: 5,
    raise(node, place) {
      node.input = [node.input[0]!, added(place, int64Tensor(nameFor(node, 'shape', place), intsOf(node, 'shape')))];
      removeAttributes(node, ['shape', 'consumed_inputs']);
    },
  },
  Selu: {
    changedIn: 6,
    raise(node) {
      const [alpha, gamma] = [floatOf(node, 'alpha', 1.6732), floatOf(node, 'gamma', 1.0507)];
      removeAttributes(node, ['alpha', 'gamma', 'consumed_inputs']);
      node.attribute = [...node.attribute, floatAttribute('alpha', alpha), floatAttribute('gamma', gamma)];
    },
  },
  Split: {
    changedIn: 2,
    raise(node) {
      if (node.input.length > 1) refuse(node, 'takes its lengths as an input of numbers, as in operator set 1');
    },
  },
  Tile: { changedIn: 6, raise: (node) => refuse(node, 'has the form of before operator set 6') },
  Upsample: {
    changedIn: 7,
    raise(node, place) {
      const scales = [1, 1, floatOf(node, 'height_scale', 1), floatOf(node, 'width_scale', 1)];
      node.input = [node.input[0]!, added(place, floatTensor(nameFor(node, 'scales', place), scales))];
      removeAttributes(node, ['height_scale', 'width_scale']);
    },
  },
};

function each(operators: readonly string[], rule: Rule): Record<string, Rule> {
  return Object.fromEntries(operators.map((operator) => [operator, rule]));
}

/** The data type that a Cast makes; before operator set 6 its name was the attribute. */
export function castTarget(node: NodeProto): number | undefined {
  const name = stringOf(node, 'to', '');
  const named = Object.entries(DataType).find(([each]) => each === name.toUpperCase())?.[1];
  return name ? named : intOf(node, 'to', DataType.FLOAT);
}

function raiseCast(node: NodeProto): void {
  const type = castTarget(node);
  if (type === undefined) refuse(node, `casts to \`${stringOf(node, 'to', '')}\`, which is no data type`);
  removeAttributes(node, ['to']);
  node.attribute = [...node.attribute, intAttribute('to', type)];
}

function raiseNorm(node: NodeProto): void {
  const p = floatOf(node, 'p', 2);
  if (!Number.isInteger(p)) refuse(node, `has p = ${p}, which must be whole since operator set 2`);
  removeAttributes(node, ['p']);
  node.attribute = [...node.attribute, intAttribute('p', p)];
}

/** The second input was stretched to the first where `broadcast` said so, aligned at `axis` or else at the end. */
function raiseBroadcast(node: NodeProto, place: Place): void {
  const axis = attributeOf(node, 'axis') ? intOf(node, 'axis', 0) : undefined;
  const broadcast = intOf(node, 'broadcast', 0) !== 0;
  removeAttributes(node, ['axis', 'broadcast', 'consumed_inputs']);
  if (broadcast && axis !== undefined) alignAt(node, axis, place);
}

/** Gives the second input axes of size 1 at its end, so that its first stands at `axis` of the first input. */
function alignAt(node: NodeProto, axis: number, place: Place): void {
  const [first, second] = node.input as [string, string];
  const [rank, own] = [rankOf(first, place), rankOf(second, place)];
  if (own === 0) return;
  if (rank === undefined || own === undefined) {
    refuse(node, `broadcasts from axis ${axis}, and how many axes its inputs have is not known`);
  }
  const missing = rank - axis - own;
  if (axis < 0 || missing < 0) refuse(node, `broadcasts ${own} axes from axis ${axis} of ${rank}`);
  if (missing === 0) return;
  const [shape, aligned] = [nameFor(node, 'shape', place), nameFor(node, 'aligned', place)];
  // 0 keeps an axis.
  const sizes = Array.from({ length: own + missing }, (_, at) => (at < own ? 0 : 1));
  place.before.push(makeNode('Reshape', [second, added(place, int64Tensor(shape, sizes))], [aligned]));
  node.input = [first, aligned];
}

/** How many axes a value has, where the model says it or its nodes show it. */
function rankOf(name: string, { scope, raiser: { ranks } }: Place): number | undefined {
  const known = ranks.get(scope) ?? statedRanks(scope);
  ranks.set(scope, known);
  const trail: string[] = [];
  let rank: number | undefined;
  for (let at: string | undefined = name; at !== undefined && rank === undefined; ) {
    rank = known.get(at) ?? constantOf(scope, at)?.dims.length;
    if (rank !== undefined || known.has(at)) break;
    trail.push(at);
    known.set(at, undefined);
    const node = scope.producers.get(at);
    const next: number | string | undefined = node && shownRank(node, scope);
    if (typeof next === 'number') rank = next;
    at = typeof next === 'string' ? next : undefined;
  }
  for (const at of trail) known.set(at, rank);
  return rank;
}

function statedRanks({ graph }: GraphScope): Map<string, number | undefined> {
  const ranks = new Map<string, number | undefined>();
  for (const { name, type } of [...graph.output, ...graph.valueInfo, ...graph.input]) {
    const dims = type?.value.case === 'tensorType' ? type.value.value.shape?.dim : undefined;
    if (dims) ranks.set(name, dims.length);
  }
  return ranks;
}

/** Operators whose output has as many axes as their first input. */
const KEEPING = new Set([
  ...['Add', 'And', 'Div', 'Equal', 'Greater', 'Less', 'Mul', 'Or', 'Pow', 'Sub', 'Xor', 'PRelu', 'Max', 'Mean', 'Min'],
  ...['Abs', 'Ceil', 'Clip', 'Elu', 'Exp', 'Floor', 'HardSigmoid', 'InstanceNormalization', 'LeakyRelu', 'Log', 'Neg'],
  ...['Reciprocal', 'Relu', 'Selu', 'Sigmoid', 'Softmax', 'Softplus', 'Softsign', 'Sqrt', 'Sum', 'Tanh', 'Not'],
  ...['AveragePool', 'BatchNormalization', 'Cast', 'Concat', 'Conv', 'ConvTranspose', 'Dropout', 'GlobalAveragePool'],
  ...['GlobalMaxPool', 'Identity', 'LRN', 'LpPool', 'MaxPool', 'Pad', 'Slice', 'Split', 'Transpose', 'Upsample'],
]);

/** How many axes a node's output has, or the value that has as many. */
function shownRank(node: NodeProto, scope: GraphScope): number | string | undefined {
  const [first, second = ''] = node.input;
  switch (operatorKey(node)) {
    case 'Conv':
    case 'ConvTranspose':
      return constantOf(scope, second)?.dims.length ?? first;
    case 'Flatten':
    case 'Gemm':
      return 2;
    case 'MatMul':
      return constantOf(scope, second)?.dims.length === 2 ? first : undefined;
    case 'Reshape':
      return attributeOf(node, 'shape')?.ints.length ?? constantOf(scope, second)?.dims[0];
    default:
      return KEEPING.has(operatorKey(node)) ? first : undefined;
  }
}
