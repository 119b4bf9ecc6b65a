import { createHash } from 'node:crypto';
import {
  type AttributeProto,
  AttributeType,
  DataType,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  subgraphsOf,
  type TensorProto,
} from '../../../src/model/index.ts';

/** What scripts/golden/canonical.py records of a model; the two compute the same digests. */
export interface Recorded {
  graph: string;
  opsets: string[];
  operators: Record<string, number>;
  tensors: Record<string, string>;
}

export function recordOf(model: ModelProto): Recorded {
  const opsets = model.opsetImport.map(({ domain, version }) => `${standard(domain)} ${version}`).sort();
  const graphs = [...graphsOf(model.graph!)];
  const operators: Record<string, number> = {};
  const tensors: Record<string, string> = {};
  for (const graph of graphs) {
    for (const tensor of graph.initializer) tensors[tensor.name] = tensorKey(tensor);
    for (const { opType } of graph.node) operators[opType] = (operators[opType] ?? 0) + 1;
  }
  return { graph: digest(new Canonical(model.graph!, null).digest(), ...opsets), opsets, operators, tensors };
}

/** One graph; `outer` finds the values that it captures. */
class Canonical {
  readonly graph: GraphProto;
  readonly outer: Canonical | null;
  private readonly initializers: Map<string, TensorProto>;
  private readonly inputs: Map<string, number>;
  private readonly producers = new Map<string, NodeProto>();
  private readonly values = new Map<string, string>();
  private readonly nodes = new Map<NodeProto, string>();

  constructor(graph: GraphProto, outer: Canonical | null) {
    this.graph = graph;
    this.outer = outer;
    this.initializers = new Map(graph.initializer.map((tensor) => [tensor.name, tensor]));
    this.inputs = new Map(graph.input.map(({ name }, i) => [name, i]));
    for (const node of graph.node) for (const name of node.output) if (name) this.producers.set(name, node);
  }

  digest(): string {
    const nodes = this.graph.node.filter((node) => !isConstant(node)).map((node) => this.node(node));
    const outputs = this.graph.output.map(({ name }) => `${this.outer ? '' : name} ${this.value(name)}`);
    return digest(...nodes.sort(), 'outputs', ...outputs);
  }

  private value(name: string): string {
    const known = this.values.get(name);
    if (known !== undefined) return known;
    const found = this.find(name);
    this.values.set(name, found);
    return found;
  }

  private find(name: string): string {
    if (name === '') return '-';
    const tensor = this.initializers.get(name);
    if (tensor) return digest('tensor', tensorKey(tensor));
    const node = this.producers.get(name);
    if (node && isConstant(node)) return digest('tensor', tensorKey(node.attribute[0]!.t!));
    if (node) return digest(this.node(node), String(node.output.indexOf(name)));
    const input = this.inputs.get(name);
    if (input !== undefined) return digest('input', this.outer ? String(input) : name);
    if (!this.outer) throw new Error(`nothing makes ${name}`);
    return this.outer.value(name);
  }

  private node(node: NodeProto): string {
    const known = this.nodes.get(node);
    if (known !== undefined) return known;
    const inputs = node.input.map((name) => this.value(name));
    while (inputs.at(-1) === '-') inputs.pop();
    const attributes = node.attribute.map((each) => `${each.name}=${this.attribute(each)}`).sort();
    const found = digest(standard(node.domain), node.opType, ...attributes, ...inputs);
    this.nodes.set(node, found);
    return found;
  }

  private attribute(attribute: AttributeProto): string {
    switch (attribute.type) {
      case AttributeType.FLOAT:
        return `float ${floatHex([attribute.f])}`;
      case AttributeType.INT:
        return `int ${attribute.i}`;
      case AttributeType.STRING:
        return `string ${Buffer.from(attribute.s).toString('hex')}`;
      case AttributeType.FLOATS:
        return `floats ${floatHex(attribute.floats)}`;
      case AttributeType.INTS:
        return `ints ${attribute.ints.join(',')}`;
      case AttributeType.STRINGS:
        return `strings ${attribute.strings.map((each) => Buffer.from(each).toString('hex')).join(',')}`;
      case AttributeType.TENSOR:
        return `tensor ${tensorKey(attribute.t!)}`;
      case AttributeType.GRAPH:
        return `graph ${new Canonical(attribute.g!, this).digest()}`;
      default:
        throw new Error(`attribute type ${attribute.type}`);
    }
  }
}

function* graphsOf(graph: GraphProto): Generator<GraphProto> {
  yield graph;
  for (const node of graph.node) for (const inner of subgraphsOf(node)) yield* graphsOf(inner.graph);
}

function tensorKey(tensor: TensorProto): string {
  const content = createHash('sha256').update(contentOf(tensor)).digest('hex').slice(0, 32);
  return `${tensor.dataType} [${tensor.dims.join(',')}] ${content}`;
}

function contentOf(tensor: TensorProto): Uint8Array {
  if (tensor.rawData.length > 0) return tensor.rawData;
  if (tensor.dataType === DataType.FLOAT) return new Uint8Array(Float32Array.from(tensor.floatData).buffer);
  if (tensor.dataType === DataType.INT64) return new Uint8Array(BigInt64Array.from(tensor.int64Data).buffer);
  if (tensor.dataType === DataType.INT32) return new Uint8Array(Int32Array.from(tensor.int32Data).buffer);
  return Uint8Array.from(tensor.int32Data);
}

function isConstant(node: NodeProto): boolean {
  return node.opType === 'Constant' && node.attribute.length === 1 && node.attribute[0]!.name === 'value';
}

function standard(domain: string): string {
  return domain === 'ai.onnx' ? '' : domain;
}

function floatHex(values: readonly number[]): string {
  return Buffer.from(Float32Array.from(values).buffer).toString('hex');
}

function digest(...parts: readonly string[]): string {
  return createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 32);
}
