import { InputError } from '../errors.ts';
import { type GraphIndex, type GraphScope, labelOf, readsOf } from './graph-index.ts';
import { shallowCopy } from './make.ts';
import type { GraphProto, NodeProto } from './onnx_pb.ts';
import { quote } from './quote.ts';
import type { Model } from './types.ts';

/**
 * The model with every node behind those whose outputs it or its subgraphs read, as the standard demands of a graph; ONNX
 * Runtime loads others too. Nodes that need not move keep their order. A model that is sorted is returned as it is; after
 * any change index again. Model-local functions are not looked into. Linear in nodes and names.
 *
 * @param index of `model`
 * @throws InputError if a node depends on its own output.
 */
export function sorted(model: Model, index: GraphIndex): Model {
  const omitted = new Map(model.omitted);
  const sortedGraph = ({ graph }: GraphScope): GraphProto => {
    const scope = index.scopeOf.get(graph)!;
    const order = orderOf(model, scope);
    const nodes = order.map((node) => withSubgraphs(node, (inner) => sortedGraph(index.scopeOf.get(inner)!), omitted));
    if (nodes.every((node, i) => node === graph.node[i])) return graph;
    const changed = carried(graph, omitted);
    changed.node = nodes;
    return changed;
  };
  const graph = sortedGraph(index.main);
  if (graph === model.proto.graph) return model;
  const proto = carried(model.proto, omitted);
  proto.graph = graph;
  return { ...model, proto, omitted };
}

/** The nodes of one graph, each behind what it needs: depth first from each in its place. */
function orderOf(model: Model, { graph, producers }: GraphScope): NodeProto[] {
  const order: NodeProto[] = [];
  const state = new Map<NodeProto, 'begun' | 'done'>();
  for (const start of graph.node) {
    if (state.has(start)) continue;
    const open = [{ node: start, needs: producersRead(start, producers) }];
    state.set(start, 'begun');
    for (let top = open.at(-1); top; top = open.at(-1)) {
      const next = top.needs.pop();
      if (!next) {
        state.set(top.node, 'done');
        order.push(top.node);
        open.pop();
      } else if (state.get(next) === 'begun') {
        throw new InputError(
          `The model "${model.path}" has a cycle: node ${quote(labelOf(next))} depends on its own output; export the model again.`,
        );
      } else if (!state.has(next)) {
        state.set(next, 'begun');
        open.push({ node: next, needs: producersRead(next, producers) });
      }
    }
  }
  return order;
}

/** The nodes that make what a node reads, the first read last. */
function producersRead(node: NodeProto, producers: GraphScope['producers']): NodeProto[] {
  return readsOf(node)
    .flatMap((name) => producers.get(name) ?? [])
    .reverse();
}

/** The node itself, or a copy where a subgraph of it changes. */
function withSubgraphs(
  node: NodeProto,
  change: (graph: GraphProto) => GraphProto,
  omitted: Model['omitted'],
): NodeProto {
  const attribute = node.attribute.map((each) => {
    const g = each.g && change(each.g);
    const graphs = each.graphs.map(change);
    if (g === each.g && graphs.every((graph, i) => graph === each.graphs[i])) return each;
    const changed = carried(each, omitted);
    if (g) changed.g = g;
    changed.graphs = graphs;
    return changed;
  });
  if (attribute.every((each, i) => each === node.attribute[i])) return node;
  const changed = carried(node, omitted);
  changed.attribute = attribute;
  return changed;
}

/** A copy that keeps what decoding left in the file for its original. */
function carried<T extends object>(original: T, omitted: Model['omitted']): T {
  const copy = shallowCopy(original);
  const left = omitted.get(original);
  if (left) omitted.set(copy, left);
  return copy;
}
