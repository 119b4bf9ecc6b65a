import { closeSync, openSync, readSync } from 'node:fs';
import {
  AttributeType,
  attributeOf,
  DataType,
  type GraphProto,
  type Model,
  type NodeProto,
  operatorKey,
  shallowCopy,
  subgraphsOf,
  type TensorProto,
  type TensorRef,
} from '../../model/index.ts';

/** Constants of at most so many bytes are read for their values while patterns are looked for. */
const SMALL_BYTES = 2 ** 20;

/** A constant of a graph that is being changed. */
export interface GraphConstant {
  tensor: TensorProto;
  ref: TensorRef;
}

/** One graph while it is folded: nodes come and go, and who makes and who reads a value is known at every moment. */
export class MutableGraph {
  readonly graph: GraphProto;
  readonly parent: MutableGraph | undefined;
  readonly #tensors: Map<TensorProto, TensorRef>;
  readonly #omitted: Model['omitted'];
  readonly #nodes: Set<NodeProto>;
  readonly #producers = new Map<string, NodeProto>();
  readonly #readers = new Map<string, Set<NodeProto>>();
  readonly #constants = new Map<string, GraphConstant>();
  /** Values that must keep their names: outputs, and what subgraphs take from here. */
  readonly #pinned: Set<string>;
  readonly #inputs: Set<string>;
  readonly #added: TensorProto[] = [];
  /** Names whose last reader went away. */
  readonly #released = new Set<string>();

  /** Makes a name that nothing in the model has. */
  readonly unique: (wanted: string) => string;

  constructor(
    graph: GraphProto,
    model: Pick<Model, 'tensors' | 'omitted'>,
    unique: (wanted: string) => string,
    parent: MutableGraph | undefined,
  ) {
    this.graph = graph;
    this.unique = unique;
    this.parent = parent;
    this.#tensors = model.tensors;
    this.#omitted = model.omitted;
    this.#inputs = new Set(graph.input.map(({ name }) => name));
    this.#pinned = new Set(graph.output.map(({ name }) => name));
    for (const tensor of graph.initializer) {
      const ref = model.tensors.get(tensor);
      // An initializer that is an input too may be fed with something else.
      if (ref && !this.#inputs.has(tensor.name)) this.#constants.set(tensor.name, { tensor, ref });
    }
    this.#nodes = new Set(graph.node.map((node) => this.#copy(node)));
    for (const node of this.#nodes) {
      this.#link(node);
      for (const { graph: inner } of subgraphsOf(node)) for (const name of namesIn(inner)) this.#pinned.add(name);
    }
  }

  get nodes(): readonly NodeProto[] {
    return [...this.#nodes];
  }

  has(node: NodeProto): boolean {
    return this.#nodes.has(node);
  }

  producer(name: string | undefined): NodeProto | undefined {
    return name ? this.#producers.get(name) : undefined;
  }

  readers(name: string): readonly NodeProto[] {
    return [...(this.#readers.get(name) ?? [])];
  }

  /** The only node that reads a value, where nothing else needs it under its name. */
  onlyReader(name: string): NodeProto | undefined {
    const readers = this.readers(name);
    return readers.length === 1 && !this.#pinned.has(name) ? readers[0] : undefined;
  }

  isPinned(name: string): boolean {
    return this.#pinned.has(name);
  }

  constant(name: string | undefined): GraphConstant | undefined {
    if (!name) return undefined;
    if (this.#producers.has(name) || this.#inputs.has(name) || this.#constants.has(name)) {
      return this.#constants.get(name);
    }
    return this.parent?.constant(name);
  }

  /** Values of a small FLOAT constant with its dims. */
  floats(name: string | undefined): { dims: readonly number[]; values: Float32Array } | undefined {
    const ref = this.constant(name)?.ref;
    if (ref?.dtype !== DataType.FLOAT || ref.length > SMALL_BYTES) return undefined;
    return { dims: ref.dims, values: readFloats(ref) };
  }

  /** The value of a FLOAT constant with one element. */
  scalar(name: string | undefined): number | undefined {
    const found = this.floats(name);
    return found?.values.length === 1 ? found.values[0] : undefined;
  }

  /** Takes a node out. What it made must be made by another node by then, or be read by none. */
  remove(node: NodeProto): void {
    this.#nodes.delete(node);
    for (const name of node.output) if (this.#producers.get(name) === node) this.#producers.delete(name);
    this.#unread(node);
  }

  /** Changes what a node reads and makes. */
  rewire(node: NodeProto, change: { input?: string[]; output?: string[] }): void {
    this.#unread(node);
    for (const name of node.output) if (this.#producers.get(name) === node) this.#producers.delete(name);
    if (change.input) node.input = change.input;
    if (change.output) node.output = change.output;
    this.#link(node);
  }

  /** Puts a node in the place of another. */
  replace(old: NodeProto, ...news: NodeProto[]): void {
    const order = [...this.#nodes];
    this.remove(old);
    this.#nodes.clear();
    for (const node of order) {
      if (node !== old) this.#nodes.add(node);
      else for (const each of news) this.#nodes.add(each);
    }
    for (const each of news) this.#link(each);
  }

  /**
   * Makes every reader of `gone` read `kept`; where `gone` must keep its name, `kept` takes it over. False, and nothing
   * is changed, where both must keep theirs.
   */
  merge(gone: string, kept: string): boolean {
    if (!this.#pinned.has(gone)) {
      for (const reader of this.readers(gone)) {
        this.rewire(reader, { input: reader.input.map((name) => (name === gone ? kept : name)) });
      }
      return true;
    }
    const producer = this.#producers.get(kept);
    if (this.#pinned.has(kept) || !producer || this.#constants.has(kept)) return false;
    this.#producers.delete(gone);
    for (const reader of this.readers(kept)) {
      this.rewire(reader, { input: reader.input.map((name) => (name === kept ? gone : name)) });
    }
    this.rewire(producer, { output: producer.output.map((name) => (name === kept ? gone : name)) });
    return true;
  }

  /** A new initializer; its bytes are in it unless `ref` says where. */
  addConstant(tensor: TensorProto, ref: TensorRef = innerRef(tensor)): void {
    this.#added.push(tensor);
    this.#tensors.set(tensor, ref);
    this.#constants.set(tensor.name, { tensor, ref });
  }

  /** The graph as it is now, without the constants that lost their last reader. */
  finish(inner: ReadonlyMap<GraphProto, GraphProto>): GraphProto {
    const dead = (name: string) =>
      this.#released.has(name) && !this.#readers.get(name)?.size && !this.#pinned.has(name);
    const graph = this.#copy(this.graph);
    graph.node = [...this.#nodes].filter((node) => node.opType !== 'Constant' || !dead(node.output[0]!));
    for (const node of graph.node) {
      if (subgraphsOf(node).next().done) continue;
      node.attribute = node.attribute.map((attribute) => {
        if (attribute.type !== AttributeType.GRAPH || !attribute.g) return attribute;
        const copy = this.#copy(attribute);
        copy.g = inner.get(attribute.g) ?? attribute.g;
        return copy;
      });
    }
    graph.initializer = [
      ...this.graph.initializer.filter(({ name }) => !dead(name)),
      ...this.#added.filter(({ name }) => !dead(name)),
    ];
    const made = new Set(graph.node.flatMap(({ output }) => output));
    // What shape inference said of values that are gone would be about nothing.
    graph.valueInfo = graph.valueInfo.filter(({ name }) => made.has(name));
    return graph;
  }

  #copy<T extends object>(message: T): T {
    const copy = shallowCopy(message);
    if ('input' in copy && 'opType' in copy) {
      const node = copy as unknown as NodeProto;
      node.input = [...node.input];
      node.output = [...node.output];
    }
    const omitted = this.#omitted.get(message);
    if (omitted) this.#omitted.set(copy, omitted);
    return copy;
  }

  #link(node: NodeProto): void {
    for (const name of node.output) if (name) this.#producers.set(name, node);
    for (const name of node.input) {
      if (!name) continue;
      const readers = this.#readers.get(name);
      if (readers) readers.add(node);
      else this.#readers.set(name, new Set([node]));
    }
    if (operatorKey(node) !== 'Constant' || !node.output[0]) return;
    const tensor = attributeOf(node, 'value')?.t;
    const ref = tensor && this.#tensors.get(tensor);
    if (tensor && ref) this.#constants.set(node.output[0], { tensor, ref });
  }

  #unread(node: NodeProto): void {
    for (const name of node.input) {
      const readers = this.#readers.get(name);
      readers?.delete(node);
      if (readers?.size === 0) this.#released.add(name);
    }
  }
}

/** The elements of a FLOAT tensor, read from wherever they are. */
export function readFloats({ source, length }: TensorRef): Float32Array {
  const bytes = new Uint8Array(length);
  if (source.kind === 'bytes') bytes.set(source.bytes);
  else {
    const file = openSync(source.path, 'r');
    try {
      for (let done = 0; done < length; ) {
        const count = readSync(file, bytes, done, length - done, source.offset + done);
        if (count === 0) throw new Error(`${source.path} ends at ${source.offset + done}`);
        done += count;
      }
    } finally {
      closeSync(file);
    }
  }
  return new Float32Array(bytes.buffer, 0, length / 4);
}

function innerRef({ name, dataType, dims, rawData }: TensorProto): TensorRef {
  const source = { kind: 'bytes', bytes: rawData } as const;
  return { name, dtype: dataType, dims: dims.map(Number), length: rawData.length, source };
}

/** Every name that a graph and those inside it mention as an input. */
function* namesIn(graph: GraphProto): Generator<string> {
  for (const { name } of graph.output) yield name;
  for (const node of graph.node) {
    yield* node.input;
    for (const { graph: inner } of subgraphsOf(node)) yield* namesIn(inner);
  }
}
