import { create } from '@bufbuild/protobuf';
import {
  bitsOf,
  type Constant,
  constantBehind,
  type GraphIndex,
  type GraphProto,
  type GraphScope,
  type Model,
  MS_DOMAIN,
  type NodeProto,
  OperatorSetIdProtoSchema,
  operatorKey,
  StringStringEntryProtoSchema,
  shallowCopy,
  subgraphsOf,
} from '../../model/index.ts';
import { atOnce, type Steps } from '../breathe.ts';
import { ModelEditor } from '../graph/editor.ts';
import { Constants } from '../values/constants.ts';
import { Place } from '../values/place.ts';
import type { Encoded } from '../values/value.ts';
import type { Decision, Decisions } from './decide.ts';

/** A model's quantized form, before its numbers are known. */
export interface Rewrite {
  /** The new graph. `tensors` has what is taken over as it is. */
  model: Model;
  /** What is made of the old model's constants. */
  encoded: readonly Encoded[];
  /** Constants whose FLOAT elements are not in the new model. */
  dropped: ReadonlySet<Constant>;
  /** Decisions whose `perhaps` came true. */
  fulfilled: ReadonlySet<Decision>;
}

/** Metadata key by which a model of ours is known again. */
export const METADATA_KEY = 'onnx-quantize-actions';

/**
 * Builds the new graph. The old one is left as it is: messages are shared until they differ.
 *
 * @param description what the new model's metadata say of how it was made
 */
export function* rewrite(model: Model, index: GraphIndex, decisions: Decisions, description: string): Steps<Rewrite> {
  const rewriter = new Rewriter(model, index, decisions);
  const graph = yield* rewriter.rewrite(index.main, undefined);
  yield;
  const dropped = rewriter.finish();
  const { editor, constants, fulfilled } = rewriter;
  const proto = shallowCopy(model.proto);
  proto.graph = graph;
  const graphs = index.scopes.map((scope) => editor.graph(scope).result);
  finishHeader(proto, graphs, description);
  return { model: { ...model, proto, omitted: editor.omitted }, encoded: constants.encoded, dropped, fulfilled };
}

/** The model as it is. */
export function untouched(model: Model): Rewrite {
  return { model, encoded: [], dropped: new Set(), fulfilled: new Set() };
}

/** Nodes that are rewritten in one step: some 0.1 s. */
const STEP = 10_000;

class Rewriter {
  readonly editor: ModelEditor;
  readonly constants: Constants;
  readonly fulfilled = new Set<Decision>();
  readonly #index: GraphIndex;
  readonly #decisions: Decisions;
  readonly #byNode: ReadonlyMap<NodeProto, Decision>;
  readonly #places = new Map<GraphScope, Place>();

  constructor(model: Model, index: GraphIndex, decisions: Decisions) {
    this.editor = new ModelEditor(model, index);
    this.constants = new Constants(decisions, this.editor);
    this.#index = index;
    this.#decisions = decisions;
    this.#byNode = new Map(decisions.nodes.map((decision) => [decision.node, decision]));
  }

  /** Rewrites every node of a graph and its subgraphs. */
  *rewrite(scope: GraphScope, parent: Place | undefined): Steps<GraphProto> {
    const place = new Place(scope, this.editor.graph(scope), this.constants, parent);
    this.#places.set(scope, place);
    for (const constant of scope.constants.values()) {
      const storage = this.#decisions.stored.get(constant);
      if (storage) storage.form.restore(this.constants.store(storage.constant, storage.encoding), place);
    }
    for (const [i, node] of scope.graph.node.entries()) {
      if (i % STEP === STEP - 1) yield;
      this.#node(node, place);
    }
    for (const { name } of scope.graph.output) place.float(name);
    return place.graph.result;
  }

  finish(): ReadonlySet<Constant> {
    this.constants.settle();
    const { gone, replaced } = this.constants;
    return this.editor.finish({ gone, replaced, missing: (scope) => new Set(this.#places.get(scope)?.missing()) });
  }

  #node(original: NodeProto, place: Place): void {
    const decision = this.#byNode.get(original);
    const node = this.#withSubgraphs(original, place);
    if (decision?.form?.kind === 'node') decision.form.rewrite(node, place);
    else if (decision?.perhaps?.form.rewrite(node, place)) this.fulfilled.add(decision);
    else if (this.#passesWeight(original, place.scope)) place.defer(node.output[0]!, () => place.keep(node));
    else place.keep(node);
  }

  /** Whether a node is an Identity behind a weight that others take in fewer bits: only FLOAT readers need it. */
  #passesWeight(node: NodeProto, scope: GraphScope): boolean {
    if (operatorKey(node) !== 'Identity' || !node.output[0]) return false;
    const constant = constantBehind(scope, node.output[0]);
    return constant !== undefined && this.#decisions.quantized.has(constant);
  }

  #withSubgraphs(node: NodeProto, place: Place): NodeProto {
    if ([...subgraphsOf(node)].length === 0) return node;
    return this.editor.copyWith(node, (graph) => atOnce(this.rewrite(this.#index.scopeOf.get(graph)!, place)));
  }
}

function finishHeader(proto: Model['proto'], graphs: readonly GraphProto[], description: string): void {
  const usesMs = graphs.some((graph) => graph.node.some(({ domain }) => domain === MS_DOMAIN));
  if (usesMs && !proto.opsetImport.some(({ domain }) => domain === MS_DOMAIN)) {
    const imported = create(OperatorSetIdProtoSchema, { domain: MS_DOMAIN, version: 1n });
    proto.opsetImport = [...proto.opsetImport, imported];
  }
  // Before IR 4 every initializer had to be an input too; ours are none, and ONNX Runtime took the others as constants.
  if (proto.irVersion < 4n) {
    proto.irVersion = 4n;
    const main = proto.graph!;
    const initializers = new Set(main.initializer.map(({ name }) => name));
    main.input = main.input.filter(({ name }) => !initializers.has(name));
  }
  // Types of 4 bits came with IR 10.
  const has4Bits = graphs.some(({ initializer }) => initializer.some(({ dataType }) => bitsOf(dataType) === 4));
  if (has4Bits && proto.irVersion < 10n) proto.irVersion = 10n;
  const entry = create(StringStringEntryProtoSchema, { key: METADATA_KEY, value: description });
  proto.metadataProps = [...proto.metadataProps, entry];
}
