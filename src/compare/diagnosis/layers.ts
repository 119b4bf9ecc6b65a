import {
  addressOf,
  constantOf,
  type GraphIndex,
  type GraphScope,
  indexGraphs,
  type Model,
  type ModelProto,
  type NodeProto,
  producerOf,
  readsOf,
  subgraphsOf,
} from '../../model/index.ts';

/**
 * A piece of the quantized graph between tensors that the reference computes too: what became of one node of the
 * reference, or of a few. Fed with the reference's values, its outputs differ from the reference's by the error that
 * this piece introduces, and by nothing else.
 */
export interface Layer {
  /** Nodes of the reference with weights in it, as `exclude-nodes` calls them; where some were replaced, only those. */
  nodes: string[];
  /** All its nodes in the reference but constants, and their operators. */
  members: string[];
  operators: string[];
  /** Tensors it reads and makes, of those that depend on the model's inputs. */
  inputs: string[];
  outputs: string[];
  /** Its nodes in the quantized graph, constants included, in graph order. */
  parts: NodeProto[];
  /** Nodes of the reference whose bodies are in it as a whole: If, Loop and Scan, and calls of the model's functions. */
  inside: string[];
  /** Whether other nodes or types stand there than in the reference. */
  changed: boolean;
}

/** Cuts the quantized graph into layers, in graph order; those that only move or combine values are left out. */
export function findLayers(reference: Model, model: Model): Layer[] {
  const expected = analyze(reference);
  const actual = analyze(model);
  const common = (name: string) => expected.dynamic.has(name) && actual.dynamic.has(name);
  const layers: Layer[] = [];
  for (const node of actual.index.main.graph.node) {
    const outputs = node.output.filter((name) => common(name) && expected.index.main.producers.has(name));
    if (outputs.length === 0) continue;
    const parts = slice(actual, outputs, common);
    const originals = slice(expected, outputs, common);
    const weighted = originals.nodes.flatMap((each) => weightedNodes(expected, each));
    const changed = shapeOf(actual.index, parts.nodes) !== shapeOf(expected.index, originals.nodes);
    if (weighted.length === 0 && !changed) continue;
    const named = weighted.length > 0 ? weighted : originals.nodes;
    const computing = originals.nodes.filter(({ opType }) => opType !== 'Constant');
    const replaced = named.filter((each) => expected.texts.get(each) !== actual.byAddress.get(addressOf(each)));
    layers.push({
      nodes: [...new Set((replaced.length > 0 ? replaced : named).map(addressOf))],
      members: computing.map(addressOf),
      operators: computing.map(({ opType }) => opType),
      inputs: [...parts.reads],
      outputs,
      parts: parts.nodes,
      inside: originals.nodes.filter(holdsNodes(expected)).map((each) => `${each.opType} ${addressOf(each)}`),
      changed,
    });
  }
  return layers;
}

interface Analysis {
  index: GraphIndex;
  /** Where each node of the main graph stands in it. */
  positions: Map<NodeProto, number>;
  /** Values of the main graph that depend on what the model is fed. */
  dynamic: Set<string>;
  /** What each node is and reads, subgraphs included; equal texts of equal addresses stand for an untouched node. */
  texts: Map<NodeProto, string>;
  byAddress: Map<string, string>;
  /** The model's own functions that hold tensors, as `domain::name`. */
  functions: Set<string>;
}

function analyze(model: Model): Analysis {
  const index = indexGraphs(model);
  const { main } = index;
  // Nobody feeds an initializer here, though it may be an input.
  const dynamic = new Set([...main.inputs].filter((name) => !main.constants.has(name)));
  for (const node of main.graph.node) {
    if (!readsOf(node).some((name) => dynamic.has(name))) continue;
    for (const name of node.output) if (name !== '') dynamic.add(name);
  }
  const texts = textsOf(index);
  const byAddress = new Map([...texts].map(([node, text]) => [addressOf(node), text]));
  const positions = new Map(main.graph.node.map((node, position) => [node, position]));
  return { index, positions, dynamic, texts, byAddress, functions: weightedFunctions(model.proto) };
}

/** Operator and inputs of every node, each input with its element type (constants) or the operator that makes it. */
function textsOf({ scopes }: GraphIndex): Map<NodeProto, string> {
  const texts = new Map<NodeProto, string>();
  for (const scope of scopes) {
    for (const node of scope.graph.node) {
      const kindOf = (name: string) => constantOf(scope, name)?.dtype ?? producerOf(scope, name)?.node.opType;
      const reads = node.input.map((name) => [name, kindOf(name)]);
      texts.set(node, JSON.stringify([node.domain, node.opType, reads]));
    }
  }
  return texts;
}

/** The nodes between `outputs` and the nearest common values, in graph order, and the common values they read. */
function slice(
  { index, positions, dynamic }: Analysis,
  outputs: readonly string[],
  common: (name: string) => boolean,
): { nodes: NodeProto[]; reads: Set<string> } {
  const { producers } = index.main;
  const found = new Set<NodeProto>();
  const reads = new Set<string>();
  const pending = outputs.map((name) => producers.get(name)!);
  for (let node = pending.pop(); node; node = pending.pop()) {
    if (found.has(node)) continue;
    found.add(node);
    for (const name of readsOf(node)) {
      const producer = producers.get(name);
      if (dynamic.has(name) && (common(name) || !producer)) reads.add(name);
      else if (producer) pending.push(producer);
    }
  }
  return { nodes: [...found].sort((a, b) => positions.get(a)! - positions.get(b)!), reads };
}

function holdsNodes({ functions }: Analysis): (node: NodeProto) => boolean {
  return (node) => functions.has(`${node.domain}::${node.opType}`) || !subgraphsOf(node).next().done;
}

/** The node itself if it reads a constant, else those inside it that do. */
function weightedNodes(analysis: Analysis, node: NodeProto): NodeProto[] {
  if (node.opType === 'Constant') return [];
  const inner = [...subgraphsOf(node)].flatMap(({ graph }) => graph.node.filter((each) => each.opType !== 'Constant'));
  if (inner.length > 0) return inner.filter(({ opType }) => WEIGHTED.has(opType));
  if (analysis.functions.has(`${node.domain}::${node.opType}`)) return [node];
  const constant = node.input.some((name) => name !== '' && !analysis.dynamic.has(name));
  return constant && WEIGHTED.has(node.opType) ? [node] : [];
}

/** Functions with a tensor in them, or in a function that they call: a call of one is a layer. */
function weightedFunctions({ functions }: ModelProto): Set<string> {
  const callers = new Map<string, string[]>();
  const holding: string[] = [];
  for (const { domain, name, node } of functions) {
    const key = `${domain}::${name}`;
    const nodes = [...node];
    for (let each = nodes.pop(); each; each = nodes.pop()) {
      const called = `${each.domain}::${each.opType}`;
      const known = callers.get(called);
      if (known) known.push(key);
      else callers.set(called, [key]);
      if (each.attribute.some(({ t }) => t !== undefined)) holding.push(key);
      for (const { graph } of subgraphsOf(each)) {
        if (graph.initializer.length > 0) holding.push(key);
        for (const inner of graph.node) nodes.push(inner);
      }
    }
  }
  const found = new Set<string>();
  for (let key = holding.pop(); key !== undefined; key = holding.pop()) {
    if (found.has(key)) continue;
    found.add(key);
    for (const caller of callers.get(key) ?? []) holding.push(caller);
  }
  return found;
}

/** Operators whose constants are weights, so that a wrong one is an error of the layer. */
const WEIGHTED = new Set(
  [
    'MatMul',
    'Gemm',
    'Conv',
    'ConvTranspose',
    'Gather',
    'LSTM',
    'GRU',
    'RNN',
    'Attention',
    'EmbedLayerNormalization',
  ].concat(['BatchNormalization', 'LayerNormalization', 'InstanceNormalization', 'PRelu', 'Add', 'Mul', 'Sub', 'Div']),
);

/** Operators and the types of the constants that nodes read, those in subgraphs too: equal where nothing was changed. */
function shapeOf(index: GraphIndex, nodes: readonly NodeProto[], scope: GraphScope = index.main): string {
  const shapes = nodes.map((node) => [
    node.opType,
    node.domain,
    node.input.map((name) => constantOf(scope, name)?.dtype ?? 0),
    [...subgraphsOf(node)].map(({ graph }) => shapeOf(index, graph.node, index.scopeOf.get(graph))),
  ]);
  return JSON.stringify(shapes);
}
