import {
  attributeOf,
  DataType,
  floatAttribute,
  floatOf,
  intOf,
  intsAttribute,
  makeNode,
  type NodeProto,
  operatorKey,
} from '../../model/index.ts';
import type { MutableGraph } from './mutable-graph.ts';

/**
 * x × clip(x + 3, 0, 6) ÷ 6, in whatever order it is multiplied and divided, becomes x × HardSigmoid(x): two nodes that
 * have kernels of their own for five. Begins at the Clip.
 */
export function foldHardSigmoid(graph: MutableGraph, clip: NodeProto): boolean {
  if (operatorKey(clip) !== 'Clip') return false;
  const [low, high] = boundsOf(graph, clip);
  const add = graph.producer(clip.input[0]);
  if (low !== 0 || high !== 6 || operatorKey(add ?? clip) !== 'Add' || !add) return false;
  const offset = add.input.findIndex((name) => graph.scalar(name) === 3);
  const x = add.input[1 - offset];
  if (offset < 0 || !x || graph.onlyReader(add.output[0]!) !== clip) return false;
  const clipped = clip.output[0]!;
  const next = graph.onlyReader(clipped);
  if (!next) return false;
  const gate = makeNode('HardSigmoid', [x], [''], {
    name: clip.name,
    attributes: [floatAttribute('alpha', 1 / 6), floatAttribute('beta', 0.5)],
  });
  if (dividesBySix(graph, next, clipped)) {
    gate.output = [next.output[0]!];
    graph.remove(add);
    graph.remove(clip);
    graph.replace(next, gate);
    return true;
  }
  const divide = operatorKey(next) === 'Mul' && next.input.includes(x) ? graph.onlyReader(next.output[0]!) : undefined;
  if (!divide || !dividesBySix(graph, divide, next.output[0]!)) return false;
  gate.output = [graph.unique(`${divide.output[0]}_gate`)];
  graph.remove(add);
  graph.remove(clip);
  graph.remove(next);
  graph.replace(divide, gate, makeNode('Mul', [x, gate.output[0]!], [divide.output[0]!], { name: next.name }));
  return true;
}

/** HardSwish is x × HardSigmoid(x) by its definition, and ONNX Runtime computes it so; written out, both have 8-bit forms. */
export function writeOutHardSwish(graph: MutableGraph, node: NodeProto): boolean {
  const [x, y] = [node.input[0], node.output[0]];
  if (operatorKey(node) !== 'HardSwish' || !x || !y) return false;
  const gate = graph.unique(`${y}_gate`);
  const attributes = [floatAttribute('alpha', 1 / 6), floatAttribute('beta', 0.5)];
  graph.replace(
    node,
    makeNode('HardSigmoid', [x], [gate], { name: node.name, attributes }),
    makeNode('Mul', [x, gate], [y], { name: node.name && `${node.name}_Mul` }),
  );
  return true;
}

function dividesBySix(graph: MutableGraph, node: NodeProto, value: string): boolean {
  const kind = operatorKey(node);
  const other = node.input.findIndex((name) => name !== value);
  const constant = graph.scalar(node.input[other]);
  if (kind === 'Div') return other === 1 && constant === 6;
  return kind === 'Mul' && constant !== undefined && Math.abs(constant * 6 - 1) < 1e-6;
}

/** Bounds of a Clip: attributes before opset 11, inputs since; undefined where they are not known. */
function boundsOf(graph: MutableGraph, clip: NodeProto): [number | undefined, number | undefined] {
  if (clip.input.length > 1) return [graph.scalar(clip.input[1]), graph.scalar(clip.input[2])];
  const bound = (name: string) => (attributeOf(clip, name) ? floatOf(clip, name, 0) : undefined);
  return [bound('min'), bound('max')];
}

/** Nodes that change nothing: Identity, Dropout at inference, Cast to the type it is of, Transpose and its inverse. */
export function dropNoOperation(graph: MutableGraph, node: NodeProto): boolean {
  switch (operatorKey(node)) {
    case 'Identity':
      return bypass(graph, node);
    case 'Dropout':
      return node.output.slice(1).every((name) => !name || graph.readers(name).length === 0) &&
        !node.output.slice(1).some((name) => graph.isPinned(name)) &&
        !(node.input[2] && graph.readers(node.input[2]).length > 0)
        ? bypass(graph, node)
        : false;
    case 'Cast':
      return isFloat(graph, node.input[0], 8) && intOf(node, 'to', 0) === DataType.FLOAT ? bypass(graph, node) : false;
    case 'Transpose':
      return joinTransposes(graph, node);
    default:
      return false;
  }
}

function bypass(graph: MutableGraph, node: NodeProto): boolean {
  const [input] = node.input;
  if (!input || graph.constant(input) || !graph.merge(node.output[0]!, input)) return false;
  graph.remove(node);
  return true;
}

function joinTransposes(graph: MutableGraph, node: NodeProto): boolean {
  const before = graph.producer(node.input[0]);
  if (!before || operatorKey(before) !== 'Transpose') return false;
  const [first, second] = [before, node].map((each) => attributeOf(each, 'perm')?.ints.map(Number) ?? []);
  if (!first?.length || first.length !== second?.length) return false;
  const joined = second.map((axis) => first[axis]!);
  const [source] = before.input as [string];
  if (joined.every((axis, position) => axis === position)) {
    if (graph.constant(source) || !graph.merge(node.output[0]!, source)) return false;
    graph.remove(node);
    if (graph.readers(before.output[0]!).length === 0 && !graph.isPinned(before.output[0]!)) graph.remove(before);
    return true;
  }
  if (graph.onlyReader(before.output[0]!) !== node) return false;
  const output = node.output[0]!;
  graph.remove(before);
  graph.replace(
    node,
    makeNode('Transpose', [source], [output], { name: node.name, attributes: [intsAttribute('perm', joined)] }),
  );
  return true;
}

/** Operators whose output is FLOAT where their first input is. */
const KEEPS_TYPE = new Set(
  ['Add', 'Sub', 'Mul', 'Div', 'Relu', 'Clip', 'Sigmoid', 'HardSigmoid', 'Tanh', 'LeakyRelu', 'MaxPool'].concat(
    ['AveragePool', 'GlobalAveragePool', 'Softmax', 'Transpose', 'Reshape', 'Squeeze', 'Unsqueeze', 'Flatten'],
    ['Slice', 'Resize', 'ReduceMean', 'Concat', 'BatchNormalization', 'Conv', 'MatMul', 'Gemm', 'ConvTranspose'],
  ),
);

/** Whether a value is surely FLOAT: by what makes it, up to some steps back. */
function isFloat(graph: MutableGraph, name: string | undefined, steps: number): boolean {
  if (!name || steps === 0) return false;
  const constant = graph.constant(name);
  if (constant) return constant.ref.dtype === DataType.FLOAT;
  const producer = graph.producer(name);
  if (!producer) {
    const declared = graph.graph.input.find((input) => input.name === name)?.type?.value;
    return declared?.case === 'tensorType' && declared.value.elemType === DataType.FLOAT;
  }
  const kind = operatorKey(producer);
  if (kind === 'Cast') return intOf(producer, 'to', 0) === DataType.FLOAT;
  return KEEPS_TYPE.has(kind) && isFloat(graph, producer.input[0], steps - 1);
}
