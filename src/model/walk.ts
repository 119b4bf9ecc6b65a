import { AttributeType } from './enums.ts';
import type {
  AttributeProto,
  FunctionProto,
  GraphProto,
  ModelProto,
  NodeProto,
  SparseTensorProto,
  TensorProto,
} from './onnx_pb.ts';
import { textOf } from './text.ts';

/** A TensorProto and what it serves as. */
export interface TensorPlace {
  tensor: TensorProto;
  /** The tensor's name, or for a Constant node the name of its output. */
  name: string;
  /** `constant` is the `value` of a Constant node, `attribute` a tensor of any other attribute. */
  role: 'initializer' | 'constant' | 'attribute' | 'sparse';
  /** Whether it lies in the body of a model-local function. */
  inFunction: boolean;
}

/** Every TensorProto of a model: main graph, subgraphs, functions, training graphs; in the order of the file's lists. */
export function* walkTensors(proto: ModelProto): Generator<TensorPlace> {
  if (proto.graph) yield* tensorsOfGraph(proto.graph, false);
  for (const { initialization, algorithm } of proto.trainingInfo) {
    if (initialization) yield* tensorsOfGraph(initialization, false);
    if (algorithm) yield* tensorsOfGraph(algorithm, false);
  }
  for (const { node, attributeProto } of proto.functions) {
    for (const each of node) yield* tensorsOfNode(each, true);
    for (const attribute of attributeProto) yield* tensorsOfAttribute(attribute, undefined, true);
  }
}

/** A node's subgraphs (If, Loop, Scan and whatever else has graph attributes), with the attribute's name. */
export function* subgraphsOf(node: NodeProto): Generator<{ attribute: string; graph: GraphProto }> {
  for (const attribute of node.attribute) {
    if (attribute.g) yield { attribute: attribute.name, graph: attribute.g };
    for (const [index, graph] of attribute.graphs.entries()) yield { attribute: `${attribute.name}[${index}]`, graph };
  }
}

/** Every node of a model: main graph, subgraphs and functions, each node before those inside it. */
export function* walkNodes(proto: ModelProto): Generator<NodeProto> {
  if (proto.graph) yield* nodesOf(proto.graph);
  for (const each of proto.functions) yield* nodesOf(each);
}

/** Key of an operator: `MatMul`, or `com.microsoft:Attention` outside the standard's domain. */
export function operatorKey(node: NodeProto): string {
  return node.domain === '' || node.domain === 'ai.onnx' ? node.opType : `${node.domain}:${node.opType}`;
}

/** An attribute by name. */
export function attributeOf(node: NodeProto, name: string): AttributeProto | undefined {
  return node.attribute.find((attribute) => attribute.name === name);
}

/** An int attribute, or `fallback` where the node has none. */
export function intOf(node: NodeProto, name: string, fallback: number): number {
  const attribute = attributeOf(node, name);
  return attribute && attribute.type !== AttributeType.UNDEFINED ? Number(attribute.i) : fallback;
}

/** A float attribute, or `fallback` where the node has none. */
export function floatOf(node: NodeProto, name: string, fallback: number): number {
  return attributeOf(node, name)?.f ?? fallback;
}

/** A string attribute, or `fallback` where the node has none. */
export function stringOf(node: NodeProto, name: string, fallback: string): string {
  const attribute = attributeOf(node, name);
  return attribute && attribute.s.length > 0 ? textOf(attribute.s) : fallback;
}

/** The version of an operator set that a model or function imports; `ai.onnx` is the default domain's other name. */
export function opsetOf(importer: Pick<ModelProto | FunctionProto, 'opsetImport'>, domain = ''): number | undefined {
  const canonical = (name: string) => (name === 'ai.onnx' ? '' : name);
  const found = importer.opsetImport.find((entry) => canonical(entry.domain) === canonical(domain));
  return found && Number(found.version);
}

function* nodesOf(graph: { node: NodeProto[] }): Generator<NodeProto> {
  for (const node of graph.node) {
    yield node;
    for (const { graph } of subgraphsOf(node)) yield* nodesOf(graph);
  }
}

function* tensorsOfGraph(graph: GraphProto, inFunction: boolean): Generator<TensorPlace> {
  for (const tensor of graph.initializer) yield { tensor, name: tensor.name, role: 'initializer', inFunction };
  for (const sparse of graph.sparseInitializer) yield* tensorsOfSparse(sparse, inFunction);
  for (const node of graph.node) yield* tensorsOfNode(node, inFunction);
}

function* tensorsOfNode(node: NodeProto, inFunction: boolean): Generator<TensorPlace> {
  const output = node.opType === 'Constant' && node.output.length === 1 ? node.output[0] : undefined;
  for (const attribute of node.attribute) yield* tensorsOfAttribute(attribute, output, inFunction);
}

function* tensorsOfAttribute(
  attribute: AttributeProto,
  output: string | undefined,
  inFunction: boolean,
): Generator<TensorPlace> {
  const constant = output !== undefined && attribute.name === 'value';
  if (attribute.t && constant) yield { tensor: attribute.t, name: output, role: 'constant', inFunction };
  else if (attribute.t) yield { tensor: attribute.t, name: attribute.t.name, role: 'attribute', inFunction };
  for (const tensor of attribute.tensors) yield { tensor, name: tensor.name, role: 'attribute', inFunction };
  if (attribute.sparseTensor) yield* tensorsOfSparse(attribute.sparseTensor, inFunction);
  for (const sparse of attribute.sparseTensors) yield* tensorsOfSparse(sparse, inFunction);
  if (attribute.g) yield* tensorsOfGraph(attribute.g, inFunction);
  for (const graph of attribute.graphs) yield* tensorsOfGraph(graph, inFunction);
}

function* tensorsOfSparse({ values, indices }: SparseTensorProto, inFunction: boolean): Generator<TensorPlace> {
  if (values) yield { tensor: values, name: values.name, role: 'sparse', inFunction };
  if (indices) yield { tensor: indices, name: indices.name, role: 'sparse', inFunction };
}
