import {
  DataType,
  type GraphProto,
  type Model,
  type NodeProto,
  subgraphsOf,
  type TensorProto,
  type TensorRef,
} from '../model/index.ts';
import { operatorKey } from './protos.ts';

/** A graph with the names it defines; subgraphs see those of their parents. */
export interface Scope {
  graph: GraphProto;
  parent: Scope | null;
  /** Where the graph stands, for people: empty for the main graph, `If_0/then_branch` for a subgraph. */
  path: string;
  /** Tensors that never change: initializers and outputs of Constant nodes. */
  constants: Map<string, Constant>;
  /** The node that makes each value. */
  producers: Map<string, NodeProto>;
  /** Graph inputs (initializers among them). */
  inputs: Set<string>;
}

export interface Constant {
  name: string;
  tensor: TensorProto;
  /** Undefined for types that are not stored as bytes. */
  ref: TensorRef | undefined;
  /** The Constant node, or null for an initializer. */
  node: NodeProto | null;
  scope: Scope;
  /** Every node that reads it, with the input it reads it by, in file order, subgraphs included. */
  readers: { node: NodeProto; scope: Scope; input: number }[];
}

/** A model's graphs, indexed. Model-local functions are not looked into. */
export interface GraphIndex {
  /** The main graph first, parents before children. */
  scopes: Scope[];
  scopeOf: Map<GraphProto, Scope>;
  /** Every name in use anywhere. */
  names: Set<string>;
}

export function indexGraphs(model: Model): GraphIndex {
  const index: GraphIndex = { scopes: [], scopeOf: new Map(), names: new Set() };
  addScope(index, model, graphOf(model), null, '');
  for (const scope of index.scopes) linkReaders(scope);
  return index;
}

/** The main graph. readModel has refused a model without one. */
export function graphOf(model: Model): GraphProto {
  if (!model.proto.graph) throw new Error(`${model.path} has no graph`);
  return model.proto.graph;
}

/** The nearest scope, from `scope` outwards, that defines `name`. */
export function definingScope(scope: Scope, name: string): Scope | undefined {
  for (let s: Scope | null = scope; s; s = s.parent) {
    if (s.constants.has(name) || s.producers.has(name) || s.inputs.has(name)) return s;
  }
  return undefined;
}

/** The constant that `name` means in `scope`, or undefined where it is computed or fed. */
export function constantOf(scope: Scope, name: string): Constant | undefined {
  return name === '' ? undefined : definingScope(scope, name)?.constants.get(name);
}

/** What to call a node in front of people: its name, or what it is and makes. */
export function labelOf(node: NodeProto): string {
  return node.name || `${node.opType} → ${node.output.find((name) => name !== '') ?? '(nothing)'}`;
}

/** Whether a constant is FLOAT, the one type that this release quantizes. */
export function isFloat(constant: Constant): constant is Constant & { ref: TensorRef } {
  return constant.ref?.dtype === DataType.FLOAT;
}

function addScope(index: GraphIndex, model: Model, graph: GraphProto, parent: Scope | null, path: string): Scope {
  const scope: Scope = {
    graph,
    parent,
    path,
    constants: new Map(),
    producers: new Map(),
    inputs: new Set(graph.input.map((value) => value.name)),
  };
  index.scopes.push(scope);
  index.scopeOf.set(graph, scope);
  for (const { name } of [...graph.input, ...graph.output, ...graph.valueInfo]) index.names.add(name);
  for (const tensor of graph.initializer) {
    index.names.add(tensor.name);
    const constant = { name: tensor.name, tensor, ref: model.tensors.get(tensor), node: null, scope, readers: [] };
    scope.constants.set(tensor.name, constant);
  }
  for (const node of graph.node) {
    if (node.name) index.names.add(node.name);
    for (const name of node.input) index.names.add(name);
    for (const name of node.output) {
      if (name === '') continue;
      index.names.add(name);
      scope.producers.set(name, node);
    }
    addConstantNode(scope, model, node);
    for (const { attribute, graph } of subgraphsOf(node)) {
      addScope(index, model, graph, scope, `${path}${path ? '/' : ''}${labelOf(node)}/${attribute}`);
    }
  }
  return scope;
}

function addConstantNode(scope: Scope, model: Model, node: NodeProto): void {
  const name = node.output[0];
  if (operatorKey(node) !== 'Constant' || !name) return;
  const tensor = node.attribute.find((attribute) => attribute.name === 'value')?.t;
  if (tensor) scope.constants.set(name, { name, tensor, ref: model.tensors.get(tensor), node, scope, readers: [] });
}

function linkReaders(scope: Scope): void {
  for (const node of scope.graph.node) {
    node.input.forEach((name, input) => {
      constantOf(scope, name)?.readers.push({ node, scope, input });
    });
  }
}
