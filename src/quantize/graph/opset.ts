import {
  attributeOf,
  DataType,
  floatOf,
  floatTensor,
  type GraphIndex,
  type GraphProto,
  type GraphScope,
  indexGraphs,
  int64Tensor,
  intAttribute,
  intOf,
  type Model,
  makeNode,
  type NodeProto,
  operatorKey,
  opsetOf,
  shallowCopy,
  stringAttribute,
  stringOf,
  subgraphsOf,
  type TensorProto,
  uniqueNames,
} from '../../model/index.ts';
import { castTarget, EARLY_RULES } from './early-opsets.ts';
import {
  added,
  intsOf,
  listToInput,
  nameFor,
  Obstacle,
  type Place,
  type Raiser,
  type Rule,
  refuse,
  removeAttributes,
} from './opset-rule.ts';

/** The newest operator set that this raises to: the first with scales per channel. */
const NEWEST = 13;

/**
 * A model as one of operator set `target`, or all that stands in the way; a later one is left as it is. Since operator
 * set 7 (before it: `EARLY_RULES`) these operators changed in form (ONNX operators changelog); all others only gained types, axes or defaults:
 * BatchNormalization and Scan in 9; Slice, TopK, Dropout and Upsample in 10; Clip, Pad, Resize and Scatter in 11; Dropout
 * in 12; Squeeze, Unsqueeze, ReduceSum, Split, Softmax, LogSoftmax and Hardmax in 13.
 */
export function raiseOpset(model: Model, target: number): { model: Model } | { obstacle: string } {
  const from = opsetOf(model.proto);
  if (target > NEWEST) return { obstacle: `operator sets are raised to ${NEWEST} at most` };
  if (from !== undefined && from >= target) return { model };
  if (from === undefined) return { obstacle: 'the model imports no standard operator set' };
  if (model.proto.functions.length > 0) return { obstacle: 'the model has functions of its own' };
  const index = indexGraphs(model);
  const raiser: Raiser = {
    from,
    target,
    index,
    unique: uniqueNames(index),
    onlyFloat: isOnlyFloat(model, index),
    tensors: new Map(model.tensors),
    omitted: new Map(model.omitted),
    ranks: new Map(),
    obstacles: new Set(),
  };
  const proto = shallowCopy(model.proto);
  proto.graph = raiseGraph(index.scopes[0]!, raiser);
  proto.opsetImport = proto.opsetImport.map((entry) => {
    if (entry.domain !== '' && entry.domain !== 'ai.onnx') return entry;
    const raised = shallowCopy(entry);
    raised.version = BigInt(target);
    return raised;
  });
  if (raiser.obstacles.size > 0) return { obstacle: listed([...raiser.obstacles]) };
  return { model: { ...model, proto, tensors: raiser.tensors, omitted: raiser.omitted } };
}

/** Obstacles in one sentence; a model of hundreds of layers may have as many. */
function listed(obstacles: readonly string[]): string {
  const more = obstacles.length - MOST_LISTED;
  return [...obstacles.slice(0, MOST_LISTED), ...(more > 0 ? [`${more} more nodes`] : [])].join('; ');
}

const MOST_LISTED = 8;

function raiseGraph(scope: GraphScope, raiser: Raiser): GraphProto {
  const initializers: TensorProto[] = [];
  const nodes = scope.graph.node.flatMap((node) => {
    const place: Place = { scope, raiser, initializers, before: [], after: [] };
    const raised = raiseNode(node, place);
    return [...place.before, raised, ...place.after];
  });
  const graph = carried(shallowCopy(scope.graph), scope.graph, raiser);
  graph.node = nodes;
  graph.initializer = [...scope.graph.initializer, ...initializers];
  return graph;
}

function raiseNode(original: NodeProto, place: Place): NodeProto {
  const rules = [EARLY_RULES, RULES, LATER_RULES].flatMap((table) => table[operatorKey(original)] ?? []);
  const hasGraphs = [...subgraphsOf(original)].length > 0;
  if (rules.length === 0 && !hasGraphs) return original;
  const { raiser } = place;
  const node = carried(shallowCopy(original), original, raiser);
  node.input = [...original.input];
  node.attribute = original.attribute.map((attribute) => {
    if (!attribute.g && attribute.graphs.length === 0) return attribute;
    const changed = shallowCopy(attribute);
    const raised = (graph: GraphProto) => raiseGraph(raiser.index.scopeOf.get(graph)!, raiser);
    if (attribute.g) changed.g = raised(attribute.g);
    if (attribute.graphs.length > 0) changed.graphs = attribute.graphs.map(raised);
    return changed;
  });
  for (const rule of rules) {
    if (rule.changedIn <= raiser.from || raiser.target < rule.changedIn) continue;
    try {
      rule.raise(node, place);
    } catch (error) {
      if (!(error instanceof Obstacle)) throw error;
      raiser.obstacles.add(error.message);
      break;
    }
  }
  return node;
}

/** Changes from operator set 8 to 11. */
const RULES: Record<string, Rule> = {
  BatchNormalization: {
    changedIn: 9,
    raise(node) {
      if (intOf(node, 'spatial', 1) !== 1) refuse(node, 'has spatial = 0');
      removeAttributes(node, ['spatial']);
    },
  },
  Clip: {
    changedIn: 11,
    raise(node, place) {
      if (!place.raiser.onlyFloat) refuse(node, 'may be of another type than FLOAT');
      const bounds = ['min', 'max'].map((name) => {
        if (!attributeOf(node, name)) return '';
        return added(place, floatTensor(nameFor(node, name, place), [floatOf(node, name, 0)], []));
      });
      node.input = [node.input[0]!, ...bounds];
      while (node.input.at(-1) === '') node.input.pop();
      removeAttributes(node, ['min', 'max']);
    },
  },
  Dropout: {
    changedIn: 10,
    raise(node) {
      if (node.output.slice(1).some((name) => name !== '')) refuse(node, 'has a mask, whose type changed');
    },
  },
  Pad: {
    changedIn: 11,
    raise(node, place) {
      if (!place.raiser.onlyFloat) refuse(node, 'may be of another type than FLOAT');
      const pads = added(place, int64Tensor(nameFor(node, 'pads', place), intsOf(node, 'pads')));
      const value = added(place, floatTensor(nameFor(node, 'value', place), [floatOf(node, 'value', 0)], []));
      node.input = [node.input[0]!, pads, value];
      removeAttributes(node, ['pads', 'value']);
    },
  },
  Resize: { changedIn: 11, raise: raiseResize },
  Scan: {
    changedIn: 9,
    raise: (node) => refuse(node, 'has the form of before operator set 9'),
  },
  Scatter: {
    changedIn: 11,
    raise(node) {
      node.opType = 'ScatterElements';
    },
  },
  Slice: {
    changedIn: 10,
    raise(node, place) {
      const starts = intsOf(node, 'starts');
      const given = attributeOf(node, 'axes') ? intsOf(node, 'axes') : starts.map((_, axis) => axis);
      const lists = { starts, ends: intsOf(node, 'ends'), axes: given };
      for (const [name, values] of Object.entries(lists)) {
        node.input.push(added(place, int64Tensor(nameFor(node, name, place), values)));
      }
      removeAttributes(node, ['starts', 'ends', 'axes']);
    },
  },
  TopK: {
    changedIn: 10,
    raise(node, place) {
      node.input.push(added(place, int64Tensor(nameFor(node, 'k', place), [intOf(node, 'k', 1)])));
      removeAttributes(node, ['k']);
    },
  },
  // Operator set 10 put Resize in its place.
  Upsample: {
    changedIn: 10,
    raise(node, place) {
      const scales = attributeOf(node, 'scales');
      if (scales) {
        node.input.push(added(place, floatTensor(nameFor(node, 'scales', place), scales.floats)));
        removeAttributes(node, ['scales']);
      }
      node.opType = 'Resize';
      resizeFromCorner(node, place);
    },
  },
};

/** Changes from operator set 12 on. */
const LATER_RULES: Record<string, Rule> = {
  Dropout: { changedIn: 12, raise: (node) => removeAttributes(node, ['ratio', 'seed']) },
  Hardmax: { changedIn: 13, raise: raiseSoftmax },
  LogSoftmax: { changedIn: 13, raise: raiseSoftmax },
  ReduceSum: { changedIn: 13, raise: (node, place) => listToInput(node, 'axes', place) },
  Softmax: { changedIn: 13, raise: raiseSoftmax },
  Split: { changedIn: 13, raise: (node, place) => listToInput(node, 'split', place) },
  Squeeze: { changedIn: 13, raise: (node, place) => listToInput(node, 'axes', place) },
  Unsqueeze: { changedIn: 13, raise: (node, place) => listToInput(node, 'axes', place) },
};

/**
 * Before 13 all axes from `axis` (1 by default) on counted as one; since then it is the only one (−1 by default). Where
 * it is not known to be the last, the input is made a matrix for it.
 */
function raiseSoftmax(node: NodeProto, place: Place): void {
  const axis = intOf(node, 'axis', 1);
  const [input, output] = [node.input[0]!, node.output[0]!];
  const rank = rankOf(input, place) ?? rankOf(output, place);
  removeAttributes(node, ['axis']);
  node.attribute = [...node.attribute, intAttribute('axis', -1)];
  if (axis === -1 || axis + 1 === rank) return;
  const [matrix, result, shape] = ['matrix', 'result', 'shape'].map((part) => nameFor(node, part, place)) as [
    string,
    string,
    string,
  ];
  node.input = [matrix];
  node.output = [result];
  place.before.push(
    makeNode('Flatten', [input], [matrix], { attributes: [intAttribute('axis', axis)] }),
    makeNode('Shape', [input], [shape]),
  );
  place.after.push(makeNode('Reshape', [result, shape], [output]));
}

function rankOf(name: string, { scope: { graph } }: Place): number | undefined {
  const type = [...graph.output, ...graph.valueInfo, ...graph.input].find((value) => value.name === name)?.type?.value;
  return type?.case === 'tensorType' ? type.value.shape?.dim.length : undefined;
}

function raiseResize(node: NodeProto, place: Place): void {
  // Nearest rounded towards the larger image then; for shrinking no mode of today is known to do the same.
  const scales = place.scope.constants.get(node.input[1]!)?.ref?.source;
  const nearest = stringOf(node, 'mode', 'nearest') === 'nearest';
  if (nearest && !(scales?.kind === 'bytes' && floatsOf(scales.bytes).every((scale) => scale >= 1))) {
    refuse(node, 'may shrink with mode nearest, whose rounding changed');
  }
  resizeFromCorner(node, place);
}

/** Resize as it was before it had a choice: pixel corners at x ÷ scale, nearest rounded down. */
function resizeFromCorner(node: NodeProto, place: Place): void {
  const [x, scales] = node.input;
  const roi = added(place, floatTensor(nameFor(node, 'roi', place), []));
  node.input = [x!, roi, scales!];
  node.attribute = [
    ...node.attribute,
    stringAttribute('coordinate_transformation_mode', 'asymmetric'),
    stringAttribute('nearest_mode', 'floor'),
  ];
}

/** Clip and Pad take a value of their input's type; where any other float type is about, it cannot be known. */
function isOnlyFloat(model: Model, index: GraphIndex): boolean {
  const other = (dtype: number | undefined) => dtype === DataType.FLOAT16 || dtype === DataType.DOUBLE;
  const cast = (node: NodeProto) => node.opType === 'Cast' && other(castTarget(node));
  const elementType = (value: GraphProto['input'][number]) =>
    value.type?.value.case === 'tensorType' ? value.type.value.value.elemType : undefined;
  const tensors = [...model.tensors.values()];
  return (
    !tensors.some(({ dtype }) => other(dtype)) &&
    !index.scopes.some(({ graph }) => graph.node.some(cast) || graph.input.some((value) => other(elementType(value))))
  );
}

function floatsOf(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
}

/** Keeps hold of what decoding left in the file for a message that was copied. */
function carried<T extends object>(copy: T, original: T, { omitted }: Raiser): T {
  const left = omitted.get(original);
  if (left) omitted.set(copy, left);
  return copy;
}
