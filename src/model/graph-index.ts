import { create } from '@bufbuild/protobuf';
import { DataType } from './enums.ts';
import {
  type AttributeProto,
  type FunctionProto,
  type GraphProto,
  GraphProtoSchema,
  type NodeProto,
  type SparseTensorProto,
  type TensorProto,
} from './onnx_pb.ts';
import type { Model, TensorRef } from './types.ts';
import { attributeOf, operatorKey, opsetOf, subgraphsOf } from './walk.ts';

/**
 * A value known before anything runs: an initializer (dense or sparse) or the output of a Constant node in any of its
 * forms. Not one: a Constant in a function that takes its value from the call, and a list (`value_floats` and its like)
 * so long that it stayed in the file.
 */
export interface Constant {
  name: string;
  scope: GraphScope;
  /** The Constant node, or `undefined` for an initializer. */
  node: NodeProto | undefined;
  /** The message that holds the value: the same one in every index of a model, and in the models made from it. */
  holder: TensorProto | SparseTensorProto | AttributeProto;
  /** The holder where it is a plain tensor; `undefined` for a sparse one, `value_float(s)`, `value_int(s)`, `value_string(s)`. */
  tensor: TensorProto | undefined;
  /** `TensorProto.DataType`. */
  dtype: number;
  dims: readonly number[];
  /** Where its bytes are; `undefined` for strings, sparse and unknown types and large tensors stored as varints. */
  ref: TensorRef | undefined;
  /**
   * An initializer that is a graph input too (IR version 4 and later): a caller may feed something else. Exporters of old
   * listed all weights so; who takes them for constants must take the name from the graph's inputs.
   */
  overridable: boolean;
}

/** A place where a value is used: an input of a node, or (without a node) an output of the graph. */
export interface Use {
  scope: GraphScope;
  node: NodeProto | undefined;
  /** Index in the node's inputs or the graph's outputs. */
  index: number;
}

/** One graph of a model, with what is defined in it. */
export interface GraphScope {
  readonly kind: 'main' | 'subgraph' | 'function';
  /** Where it is, for people: empty for the main graph, `If_3/then_branch` in it, `function local::Block`. */
  readonly path: string;
  /** A function's body is seen as a graph whose inputs and outputs have no types. */
  readonly graph: GraphProto;
  /** The graph around a subgraph, whose values it may use. */
  readonly parent: GraphScope | undefined;
  /** The node that a subgraph belongs to. */
  readonly owner: NodeProto | undefined;
  /** Names of the graph's inputs, with those of initializers that are inputs too. */
  readonly inputs: ReadonlySet<string>;
  /** Constants defined here, by value name; where a name is given twice, the one that ONNX Runtime takes: the last. */
  readonly constants: ReadonlyMap<string, Constant>;
  /** The node that makes each value of this graph, Constant nodes included. */
  readonly producers: ReadonlyMap<string, NodeProto>;
  /** Uses of the values defined here, in this graph and in subgraphs that capture them; in file order of the graphs. */
  readonly uses: ReadonlyMap<string, readonly Use[]>;
  /** What `constantBehind` has found behind the Identity nodes of this graph: chains may have 100,000 of them. */
  readonly behind: Map<string, Constant | undefined>;
  /** Version of an operator set, as imported by the model or by the function. */
  opset(domain?: string): number | undefined;
}

/** All graphs of a model. A snapshot: after a change, index again. */
export interface GraphIndex {
  readonly main: GraphScope;
  /** The main graph and all graphs nested in it, in file order, each before what is nested in it. */
  readonly scopes: readonly GraphScope[];
  /** Bodies of model-local functions and the graphs nested in them, likewise. */
  readonly functions: readonly GraphScope[];
  readonly scopeOf: ReadonlyMap<GraphProto, GraphScope>;
  /** Every name of a value or node anywhere in `scopes`, some of them more than once, so that a new one can differ from all. */
  names(): Iterable<string>;
}

/** What is indexed of a model. */
type Indexed = Pick<Model, 'proto'> & Partial<Pick<Model, 'tensors' | 'omitted'>>;

/**
 * Indexes the graphs of a model in time linear in nodes and names; uses are gathered when first asked for.
 * readModel has refused a model without a graph.
 */
export function indexGraphs(model: Indexed): GraphIndex {
  return new Index(model);
}

/** The graph that defines a value, seen from `scope`: itself or one around it. */
export function definingScope(scope: GraphScope, name: string): GraphScope | undefined {
  for (let at: GraphScope | undefined = scope; at; at = at.parent) {
    if (at.constants.has(name) || at.producers.has(name) || at.inputs.has(name)) return at;
  }
  return undefined;
}

/** The constant that `name` stands for in `scope`, captured ones included; `undefined` where it is computed or fed. */
export function constantOf(scope: GraphScope, name: string): Constant | undefined {
  return name === '' ? undefined : definingScope(scope, name)?.constants.get(name);
}

/** The node that makes `name` as seen from `scope`, and the graph that it is in. */
export function producerOf(scope: GraphScope, name: string): { node: NodeProto; scope: GraphScope } | undefined {
  const home = name === '' ? undefined : definingScope(scope, name);
  const node = home?.producers.get(name);
  return home && node && { node, scope: home };
}

/** Uses of a value as seen from `scope`. */
export function usesOf(scope: GraphScope, name: string): readonly Use[] {
  return definingScope(scope, name)?.uses.get(name) ?? [];
}

/** The constant whose value `name` has in `scope`: itself one, or behind one Identity or a chain of them. */
export function constantBehind(scope: GraphScope, name: string): Constant | undefined {
  const passed: { scope: GraphScope; name: string }[] = [];
  let at: { scope: GraphScope; name: string } = { scope, name };
  let found: Constant | undefined;
  for (;;) {
    found = constantOf(at.scope, at.name);
    const producer = found ? undefined : producerOf(at.scope, at.name);
    if (!producer || !isIdentity(producer.node)) break;
    const { behind } = producer.scope;
    if (behind.has(at.name)) {
      found = behind.get(at.name);
      break;
    }
    // A circle leads to nothing.
    behind.set(at.name, undefined);
    passed.push({ scope: producer.scope, name: at.name });
    at = { scope: producer.scope, name: producer.node.input[0]! };
  }
  for (const each of passed) each.scope.behind.set(each.name, found);
  return found;
}

/**
 * Uses of a value as seen from `scope` and of all its names: an Identity that passes it on is no use itself, but what
 * reads that Identity's output is. The counterpart of `constantBehind`.
 */
export function usesBehind(scope: GraphScope, name: string): Use[] {
  const found: Use[] = [];
  const seen = new Set<NodeProto>();
  const pending: { scope: GraphScope; name: string }[] = [{ scope, name }];
  for (let at = pending.pop(); at; at = pending.pop()) {
    for (const use of usesOf(at.scope, at.name)) {
      if (!use.node || !isIdentity(use.node)) found.push(use);
      else if (!seen.has(use.node)) {
        seen.add(use.node);
        pending.push({ scope: use.scope, name: use.node.output[0]! });
      }
    }
  }
  return found;
}

/** What the options (`exclude-nodes` and its like) call a node: its name, or that of its first output. */
export function addressOf(node: NodeProto): string {
  return node.name || (node.output.find((name) => name !== '') ?? '');
}

/** What to call a node in front of people: its name, or what it is and makes. */
export function labelOf(node: NodeProto): string {
  return node.name || `${node.opType} → ${node.output.find((name) => name !== '') ?? '(nothing)'}`;
}

/** For people: what to call a node, with the graph that it stands in. */
export function placeOf({ node, scope }: { node: NodeProto; scope: GraphScope }): string {
  return scope.path ? `${scope.path}/${labelOf(node)}` : labelOf(node);
}

/** Every name that a node reads, those that its subgraphs take from around them included; a name read twice is there twice. */
export function readsOf(node: NodeProto): string[] {
  const names = node.input.filter((name) => name !== '');
  for (const { graph } of subgraphsOf(node)) names.push(...capturedBy(graph));
  return names;
}

/** Names that a graph uses and does not define. */
function capturedBy(graph: GraphProto): string[] {
  const own = new Set(graph.input.map(({ name }) => name));
  for (const { name } of graph.initializer) own.add(name);
  for (const { values } of graph.sparseInitializer) own.add(values?.name ?? '');
  for (const { output } of graph.node) for (const name of output) own.add(name);
  const used = [...graph.node.flatMap(readsOf), ...graph.output.map(({ name }) => name)];
  return used.filter((name) => name !== '' && !own.has(name));
}

function isIdentity(node: NodeProto): boolean {
  return operatorKey(node) === 'Identity' && Boolean(node.input[0]) && Boolean(node.output[0]);
}

class Index implements GraphIndex {
  readonly scopes: GraphScope[] = [];
  readonly functions: GraphScope[] = [];
  readonly scopeOf = new Map<GraphProto, GraphScope>();
  readonly #model: Indexed;
  #linked = false;

  constructor(model: Indexed) {
    this.#model = model;
    const { graph, functions } = model.proto;
    if (!graph) throw new Error('a model without a graph was not refused');
    this.#add(this.scopes, { kind: 'main', graph, imports: model.proto });
    for (const each of functions) {
      const path = `function ${each.domain}::${each.name}`;
      this.#add(this.functions, { kind: 'function', graph: bodyOf(each), path, imports: each });
    }
  }

  get main(): GraphScope {
    return this.scopes[0]!;
  }

  names(): Iterable<string> {
    return namesIn(this.scopes);
  }

  /** Notes all uses, once. */
  linkUses(): void {
    if (this.#linked) return;
    this.#linked = true;
    for (const scope of [...this.scopes, ...this.functions]) noteUses(scope);
  }

  #add(list: GraphScope[], start: Start): void {
    const scope = new Scope(this, this.#model, start);
    list.push(scope);
    this.scopeOf.set(start.graph, scope);
    for (const node of start.graph.node) {
      for (const { attribute, graph } of subgraphsOf(node)) {
        const { imports } = start;
        this.#add(list, { kind: 'subgraph', graph, parent: scope, owner: node, attribute, imports });
      }
    }
  }
}

/** A function as a graph. */
function bodyOf({ name, node, input, output, valueInfo }: FunctionProto): GraphProto {
  const untyped = (names: string[]) => names.map((each) => ({ name: each }));
  return create(GraphProtoSchema, { name, node, input: untyped(input), output: untyped(output), valueInfo });
}

interface Start {
  kind: GraphScope['kind'];
  graph: GraphProto;
  path?: string;
  parent?: GraphScope;
  owner?: NodeProto;
  /** The owner's attribute that a subgraph is in. */
  attribute?: string;
  imports: Parameters<typeof opsetOf>[0];
}

class Scope implements GraphScope {
  readonly kind: GraphScope['kind'];
  readonly graph: GraphProto;
  readonly parent: GraphScope | undefined;
  readonly owner: NodeProto | undefined;
  readonly inputs: ReadonlySet<string>;
  readonly constants = new Map<string, Constant>();
  readonly producers = new Map<string, NodeProto>();
  readonly behind = new Map<string, Constant | undefined>();
  /** `uses`, as far as they are noted. */
  readonly noted = new Map<string, Use[]>();
  readonly #index: Index;
  readonly #start: Start;

  constructor(index: Index, model: Indexed, start: Start) {
    this.#index = index;
    this.#start = start;
    this.kind = start.kind;
    this.graph = start.graph;
    this.parent = start.parent;
    this.owner = start.owner;
    const { graph } = start;
    this.inputs = new Set(graph.input.map(({ name }) => name));
    for (const node of graph.node) {
      for (const name of node.output) if (name) this.producers.set(name, node);
      const held = heldBy(model, node);
      if (held) this.#note(node.output[0]!, { ...held, node, overridable: false });
    }
    for (const sparse of graph.sparseInitializer) {
      if (sparse.values)
        this.#note(sparse.values.name, { ...heldSparse(sparse), ...this.#initializer(model, sparse.values.name) });
    }
    for (const tensor of graph.initializer) {
      this.#note(tensor.name, { ...heldTensor(model, tensor), ...this.#initializer(model, tensor.name) });
    }
  }

  /** Made when asked for: names may be long. */
  get path(): string {
    const { path, parent, owner, attribute } = this.#start;
    if (!parent || !owner) return path ?? '';
    const around = parent.path;
    return `${around ? `${around}/` : ''}${labelOf(owner)}/${attribute}`;
  }

  get uses(): ReadonlyMap<string, readonly Use[]> {
    this.#index.linkUses();
    return this.noted;
  }

  opset(domain?: string): number | undefined {
    return opsetOf(this.#start.imports, domain);
  }

  #initializer({ proto }: Indexed, name: string) {
    return { node: undefined, overridable: this.inputs.has(name) && proto.irVersion >= 4n };
  }

  #note(name: string, constant: Omit<Constant, 'name' | 'scope'>): void {
    this.constants.set(name, { name, scope: this, ...constant });
  }
}

type Held = Pick<Constant, 'holder' | 'tensor' | 'dtype' | 'dims' | 'ref'>;

/** What a Constant node holds, in whichever of its attributes; `undefined` for other nodes and where it cannot be known. */
function heldBy(model: Indexed, node: NodeProto): Held | undefined {
  const name = node.output[0];
  if (operatorKey(node) !== 'Constant' || !name) return undefined;
  const tensor = attributeOf(node, 'value')?.t;
  if (tensor) return heldTensor(model, tensor);
  const attribute = node.attribute.find((each) => LISTS.has(each.name) && each.refAttrName === '');
  if (attribute && !model.omitted?.has(attribute)) return heldList(name, attribute);
  const sparse = attributeOf(node, 'sparse_value')?.sparseTensor;
  return sparse?.values && heldSparse(sparse);
}

function heldTensor(model: Indexed, tensor: TensorProto): Held {
  const ref = model.tensors?.get(tensor);
  return { holder: tensor, tensor, dtype: tensor.dataType, dims: ref?.dims ?? tensor.dims.map(Number), ref };
}

function heldSparse(sparse: SparseTensorProto): Held {
  const dtype = sparse.values?.dataType ?? DataType.UNDEFINED;
  return { holder: sparse, tensor: undefined, dtype, dims: sparse.dims.map(Number), ref: undefined };
}

const LISTS = new Set(['value_float', 'value_floats', 'value_int', 'value_ints', 'value_string', 'value_strings']);

/** The attributes that hold a scalar or a list in place of a tensor. Every platform Node.js runs on is little-endian. */
function heldList(name: string, attribute: AttributeProto): Held {
  const held = (dtype: number, dims: number[], data?: Float32Array | BigInt64Array): Held => {
    const bytes = data && new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const ref = bytes && { name, dtype, dims, length: bytes.length, source: { kind: 'bytes' as const, bytes } };
    return { holder: attribute, tensor: undefined, dtype, dims, ref };
  };
  const { f, floats, i, ints, strings } = attribute;
  switch (attribute.name) {
    case 'value_float':
      return held(DataType.FLOAT, [], Float32Array.of(f));
    case 'value_floats':
      return held(DataType.FLOAT, [floats.length], Float32Array.from(floats));
    case 'value_int':
      return held(DataType.INT64, [], BigInt64Array.of(i));
    case 'value_ints':
      return held(DataType.INT64, [ints.length], BigInt64Array.from(ints));
    case 'value_string':
      return held(DataType.STRING, []);
    default:
      return held(DataType.STRING, [strings.length]);
  }
}

function noteUses(scope: GraphScope): void {
  const note = (name: string, node: NodeProto | undefined, index: number) => {
    const home = name ? (definingScope(scope, name) as Scope | undefined) : undefined;
    const uses = home?.noted.get(name);
    if (uses) uses.push({ scope, node, index });
    else home?.noted.set(name, [{ scope, node, index }]);
  };
  for (const node of scope.graph.node) {
    for (const [index, name] of node.input.entries()) note(name, node, index);
  }
  for (const [index, { name }] of scope.graph.output.entries()) note(name, undefined, index);
}

function* namesIn(scopes: readonly GraphScope[]): Generator<string> {
  for (const { graph } of scopes) {
    for (const { name } of graph.input) yield name;
    for (const { name } of graph.output) yield name;
    for (const { name } of graph.valueInfo) yield name;
    for (const { name } of graph.initializer) yield name;
    for (const { values } of graph.sparseInitializer) yield values?.name ?? '';
    for (const node of graph.node) {
      yield node.name;
      yield* node.input;
      yield* node.output;
    }
  }
}
