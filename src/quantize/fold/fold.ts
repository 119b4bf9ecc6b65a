import {
  type GraphProto,
  indexGraphs,
  type Model,
  type NodeProto,
  shallowCopy,
  subgraphsOf,
  uniqueNames,
} from '../../model/index.ts';
import { foldAffine } from './affine.ts';
import { MutableGraph } from './mutable-graph.ts';
import { dropNoOperation, foldHardSigmoid, writeOutHardSwish } from './patterns.ts';
import { Weights } from './weights.ts';

/** A model with less to compute for the same values, up to the rounding of FLOAT. */
export interface Folded {
  /** The model itself where there was nothing to fold. */
  model: Model;
  /** Nodes before and after, Constant nodes not counted. */
  before: number;
  after: number;
  /** Convolutions whose weights took a neighbour in. */
  convolutions: number;
}

/**
 * Folds BatchNormalization, and Mul, Add, Sub and Div by constants, into the convolutions around them; writes x × clip(x
 * + 3) ÷ 6 and HardSwish as x × HardSigmoid(x); takes out what changes nothing. Functions of the model are left as they are.
 *
 * New weights go to the file `scratch`, from which the returned model streams them: it must stay as long as that.
 * Takes the memory of the largest convolution's weight twice.
 */
export function foldModel(source: Model, scratch: string): Folded {
  const model: Model = { ...source, tensors: new Map(source.tensors), omitted: new Map(source.omitted) };
  const unique = uniqueNames(indexGraphs(source));
  let convolutions = 0;
  let changed = false;
  const visit = (graph: GraphProto, parent: MutableGraph | undefined): GraphProto => {
    const mutable = new MutableGraph(graph, model, unique, parent);
    const weights = new Weights();
    if (settle(mutable, weights)) changed = true;
    weights.write(mutable, scratch);
    convolutions += weights.size;
    const inner = new Map<GraphProto, GraphProto>();
    for (const node of mutable.nodes) {
      for (const { graph: each } of subgraphsOf(node)) inner.set(each, visit(each, mutable));
    }
    return mutable.finish(inner);
  };
  const before = countNodes(source.proto.graph!);
  const graph = visit(source.proto.graph!, undefined);
  const after = countNodes(graph);
  if (!changed) return { model: source, before, after, convolutions };
  model.proto = shallowCopy(source.proto);
  model.proto.graph = graph;
  // Who links or copies the files that a model is read from has to know of this one too.
  if (convolutions > 0 && source.externalFiles.length > 0) model.externalFiles = [...source.externalFiles, scratch];
  return { model, before, after, convolutions };
}

/** Applies the rules until none applies. False where none ever did. */
function settle(graph: MutableGraph, weights: Weights): boolean {
  let changed = false;
  for (let again = true; again; ) {
    again = false;
    for (const node of graph.nodes) {
      if (graph.has(node) && apply(graph, node, weights)) again = true;
    }
    changed ||= again;
  }
  return changed;
}

function apply(graph: MutableGraph, node: NodeProto, weights: Weights): boolean {
  return (
    dropNoOperation(graph, node) ||
    foldHardSigmoid(graph, node) ||
    writeOutHardSwish(graph, node) ||
    foldAffine(graph, node, weights)
  );
}

function countNodes(graph: GraphProto): number {
  let count = 0;
  for (const node of graph.node) {
    if (node.opType !== 'Constant') count += 1;
    for (const { graph: inner } of subgraphsOf(node)) count += countNodes(inner);
  }
  return count;
}
