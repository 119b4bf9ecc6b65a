import { DataType } from './enums.ts';
import type { AttributeProto, FunctionProto, GraphProto, NodeProto, TensorProto } from './onnx_pb.ts';
import type { Model, TensorRef } from './types.ts';
import { attributeOf, opsetOf, subgraphsOf } from './walk.ts';

/** A value known before anything runs: an initializer or the output of a Constant node. */
export interface Constant {
  name: string;
  scope: GraphScope;
  /** The Constant node, or `undefined` for an initializer. */
  node: NodeProto | undefined;
  /** `undefined` where a Constant node has `value_float(s)` or `value_int(s)` instead of a tensor. */
  tensor: TensorProto | undefined;
  /** Where its bytes are; `undefined` for strings, unknown types and large tensors stored as varints. */
  ref: TensorRef | undefined;
  /** An initializer that is a graph input too (IR version 4 and later): the caller may feed something else. */
  overridable: boolean;
}

/** A place where a value is used: an input of a node, or (without a node) an output of the graph. */
export interface Use {
  scope: GraphScope;
  node: NodeProto | undefined;
  /** Index in the node's inputs or the graph's outputs. */
  index: number;
}

/** One graph of a model, with what is defined in it. A snapshot: after a change, walk again. */
export interface GraphScope {
  kind: 'main' | 'subgraph' | 'function';
  /** Where it is, for people: `main`, `main/If_3.then_branch`, `function local::Block`. */
  path: string;
  graph: GraphProto | FunctionProto;
  /** The graph around a subgraph, whose values it may use. */
  parent: GraphScope | undefined;
  /** The node that a subgraph belongs to. */
  owner: NodeProto | undefined;
  /** Names of the graph's inputs. */
  inputs: ReadonlySet<string>;
  /** Constants defined here, by value name. */
  constants: ReadonlyMap<string, Constant>;
  /** The node that makes each value of this graph. */
  producers: ReadonlyMap<string, NodeProto>;
  /** Uses of the values defined here, in this graph and in subgraphs that capture them. */
  uses: ReadonlyMap<string, readonly Use[]>;
  /** Version of an operator set, as imported by the model or by the function. */
  opset(domain?: string): number | undefined;
}

/** The main graph, its subgraphs and the model-local functions, each before what is nested in it. */
export function walkGraphs(model: Model): GraphScope[] {
  const scopes: Scope[] = [];
  const { proto } = model;
  const visit = (start: Pick<Scope, 'kind' | 'path' | 'graph' | 'parent' | 'owner' | 'opset'>) => {
    const scope = openScope(model, start);
    scopes.push(scope);
    for (const [index, node] of start.graph.node.entries()) {
      for (const { attribute, graph } of subgraphsOf(node)) {
        const path = `${start.path}/${node.name || `${node.opType}_${index}`}.${attribute}`;
        visit({ kind: 'subgraph', path, graph, parent: scope, owner: node, opset: start.opset });
      }
    }
  };
  const top = { parent: undefined, owner: undefined };
  if (proto.graph) {
    visit({ kind: 'main', path: 'main', graph: proto.graph, ...top, opset: (domain) => opsetOf(proto, domain) });
  }
  for (const each of proto.functions) {
    const path = `function ${each.domain}::${each.name}`;
    visit({ kind: 'function', path, graph: each, ...top, opset: (domain) => opsetOf(each, domain) });
  }
  for (const scope of scopes) noteUses(scope);
  return scopes;
}

/** The graph that defines a value, seen from `scope`: itself or one around it. */
export function definingScope(scope: GraphScope, name: string): GraphScope | undefined {
  for (let at: GraphScope | undefined = scope; at; at = at.parent) {
    if (at.constants.has(name) || at.producers.has(name) || at.inputs.has(name)) return at;
  }
  return undefined;
}

/** The constant that `name` stands for in `scope`, captured ones included. */
export function findConstant(scope: GraphScope, name: string): Constant | undefined {
  return definingScope(scope, name)?.constants.get(name);
}

/** Uses of a value as seen from `scope`. */
export function usesOf(scope: GraphScope, name: string): readonly Use[] {
  return definingScope(scope, name)?.uses.get(name) ?? [];
}

/** A scope while it is being filled. */
interface Scope extends GraphScope {
  constants: Map<string, Constant>;
  producers: Map<string, NodeProto>;
  uses: Map<string, Use[]>;
}

function openScope(model: Model, start: Pick<Scope, 'kind' | 'path' | 'graph' | 'parent' | 'owner' | 'opset'>): Scope {
  const inputs = new Set(namesOf(start.graph.input));
  const scope: Scope = { ...start, inputs, constants: new Map(), producers: new Map(), uses: new Map() };
  for (const node of start.graph.node) {
    for (const name of node.output) if (name) scope.producers.set(name, node);
    const constant = constantOfNode(model, node);
    if (constant) scope.constants.set(constant.name, { ...constant, scope });
  }
  if ('initializer' in start.graph) {
    for (const tensor of start.graph.initializer) {
      const overridable = inputs.has(tensor.name) && model.proto.irVersion >= 4n;
      const ref = model.tensors.get(tensor);
      scope.constants.set(tensor.name, { name: tensor.name, scope, node: undefined, tensor, ref, overridable });
    }
  }
  return scope;
}

function constantOfNode(model: Model, node: NodeProto): Omit<Constant, 'scope'> | undefined {
  const name = node.output[0];
  if (node.opType !== 'Constant' || !name || (node.domain && node.domain !== 'ai.onnx')) return undefined;
  const tensor = attributeOf(node, 'value')?.t;
  const ref = tensor ? model.tensors.get(tensor) : listRef(name, node.attribute);
  return tensor || ref ? { name, node, tensor, ref, overridable: false } : undefined;
}

/** The bytes of `value_float(s)` and `value_int(s)`, which are small or left in the file. */
function listRef(name: string, attributes: AttributeProto[]): TensorRef | undefined {
  for (const { name: kind, f, floats, i, ints } of attributes) {
    if (kind === 'value_float') return refOf(name, DataType.FLOAT, [], Float32Array.of(f));
    if (kind === 'value_int') return refOf(name, DataType.INT64, [], BigInt64Array.of(i));
    if (kind === 'value_floats' && floats.length > 0) {
      return refOf(name, DataType.FLOAT, [floats.length], Float32Array.from(floats));
    }
    if (kind === 'value_ints' && ints.length > 0) {
      return refOf(name, DataType.INT64, [ints.length], BigInt64Array.from(ints));
    }
  }
  return undefined;
}

function refOf(name: string, dtype: number, dims: number[], data: Float32Array | BigInt64Array): TensorRef {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return { name, dtype, dims, length: bytes.length, source: { kind: 'bytes', bytes } };
}

function noteUses(scope: Scope): void {
  const note = (name: string, use: Use) => {
    const definer = name ? (definingScope(scope, name) as Scope | undefined) : undefined;
    if (!definer) return;
    const uses = definer.uses.get(name);
    if (uses) uses.push(use);
    else definer.uses.set(name, [use]);
  };
  for (const node of scope.graph.node) {
    for (const [index, name] of node.input.entries()) note(name, { scope, node, index });
  }
  for (const [index, name] of namesOf(scope.graph.output).entries()) note(name, { scope, node: undefined, index });
}

/** A graph's inputs and outputs have types, a function's are bare names. */
function namesOf(values: GraphProto['input'] | FunctionProto['input']): string[] {
  return values.map((each) => (typeof each === 'string' ? each : each.name));
}
