import {
  type GraphIndex,
  type GraphProto,
  type GraphScope,
  type Model,
  type NodeProto,
  shallowCopy,
  type TensorProto,
  uniqueNames,
} from '../../model/index.ts';

/** Builds new graphs beside those of a model, which stay as they are: messages are shared until they differ. */
export class ModelEditor {
  /** A name that nothing in the model has: the wanted one, or that with a number behind it. Takes constant time. */
  readonly unique: (wanted: string) => string;
  /** What decoding left in the source's graph file, by the message that is now in its place. */
  readonly omitted: Model['omitted'];
  readonly #graphs = new Map<GraphScope, GraphEditor>();

  constructor(model: Model, index: GraphIndex) {
    this.unique = uniqueNames(index);
    this.omitted = new Map(model.omitted);
    for (const scope of index.scopes) this.#graphs.set(scope, new GraphEditor(scope, this));
  }

  /** The editor of one of the graphs. */
  graph(scope: GraphScope): GraphEditor {
    return this.#graphs.get(scope)!;
  }

  /** A copy of a message that may be changed; a node's own lists are copied too. */
  copy<T extends NodeProto | GraphProto>(message: T): T {
    const copied = shallowCopy(message);
    if (copied.$typeName === 'onnx.NodeProto') {
      copied.input = [...copied.input];
      copied.output = [...copied.output];
    }
    const omitted = this.omitted.get(message);
    if (omitted) this.omitted.set(copied, omitted);
    return copied;
  }

  /** A copy of a node that may be changed, with what `made` says in place of each of its subgraphs. */
  copyWith(node: NodeProto, made: (subgraph: GraphProto) => GraphProto): NodeProto {
    const copied = this.copy(node);
    copied.attribute = node.attribute.map((attribute) => {
      if (!attribute.g && attribute.graphs.length === 0) return attribute;
      const changed = shallowCopy(attribute);
      if (attribute.g) changed.g = made(attribute.g);
      if (attribute.graphs.length > 0) changed.graphs = attribute.graphs.map(made);
      return changed;
    });
    return copied;
  }

  /**
   * Completes the new graphs, without what they no longer need: the constants that are `gone`, those of the `replaced`
   * that nothing reads any more, and the declared types of values that are `missing` from their graph. Returns the
   * constants that are not there any more.
   */
  finish<D extends Definition>({ gone, replaced, missing }: Leftovers<D>): ReadonlySet<D> {
    const read = new Set<string>();
    for (const graph of this.#graphs.values()) for (const name of graph.reads()) read.add(name);
    const dropped = new Set<D>();
    const byScope = new Map<GraphScope, D[]>();
    for (const each of new Set([...gone, ...replaced])) {
      if (!gone.has(each) && read.has(each.name)) continue;
      dropped.add(each);
      const list = byScope.get(each.scope);
      if (list) list.push(each);
      else byScope.set(each.scope, [each]);
    }
    for (const [scope, graph] of this.#graphs) graph.finish(byScope.get(scope) ?? [], missing(scope));
    return dropped;
  }
}

interface Leftovers<D> {
  gone: ReadonlySet<D>;
  replaced: ReadonlySet<D>;
  missing(scope: GraphScope): ReadonlySet<string>;
}

/** A constant where it is defined: as an initializer, or by the Constant node `node`. */
interface Definition {
  name: string;
  scope: GraphScope;
  node: NodeProto | undefined;
  holder: object;
}

/** One graph on its way. */
export class GraphEditor {
  readonly scope: GraphScope;
  /** The new graph; complete once the model's editor has finished. */
  readonly result: GraphProto;
  readonly #model: ModelEditor;
  readonly #first: NodeProto[] = [];
  readonly #nodes: NodeProto[] = [];
  readonly #initializers: TensorProto[] = [];

  constructor(scope: GraphScope, model: ModelEditor) {
    this.scope = scope;
    this.#model = model;
    this.result = model.copy(scope.graph);
  }

  /** Puts nodes behind what is there. */
  emit(...nodes: NodeProto[]): void {
    this.#nodes.push(...nodes);
  }

  /** Puts nodes before all others; they may read constants only. */
  emitFirst(...nodes: NodeProto[]): void {
    this.#first.push(...nodes);
  }

  addInitializer(tensor: TensorProto): void {
    this.#initializers.push(tensor);
  }

  /** A name that nothing in the model has. */
  unique(wanted: string): string {
    return this.#model.unique(wanted);
  }

  /** A copy of a message that may be changed. */
  copy<T extends NodeProto | GraphProto>(message: T): T {
    return this.#model.copy(message);
  }

  /** Every name that the new nodes read, and the outputs. */
  *reads(): Generator<string> {
    for (const nodes of [this.#first, this.#nodes]) for (const node of nodes) yield* node.input;
    for (const { name } of this.result.output) yield name;
  }

  finish(dropped: readonly Definition[], missing: ReadonlySet<string>): void {
    const holders = new Set(dropped.map(({ holder }) => holder));
    const nodes = new Set(dropped.map(({ node }) => node));
    const inputs = new Set(dropped.filter(({ node }) => !node).map(({ name }) => name));
    const graph = this.result;
    graph.node = [...this.#first, ...this.#nodes].filter((node) => !nodes.has(node));
    graph.initializer = [...graph.initializer, ...this.#initializers].filter((tensor) => !holders.has(tensor));
    graph.input = graph.input.filter(({ name }) => !inputs.has(name));
    graph.valueInfo = graph.valueInfo.filter(({ name }) => !missing.has(name));
  }
}
