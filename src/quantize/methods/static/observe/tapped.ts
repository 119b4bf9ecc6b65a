import path from 'node:path';
import { create } from '@bufbuild/protobuf';
import {
  type GraphProto,
  type Model,
  makeNode,
  shallowCopy,
  ValueInfoProtoSchema,
  writeModel,
} from '../../../../model/index.ts';

/** Behind the name of a value, the output that tells its shape. */
export const SHAPE_SUFFIX = '::shape';

/** Writes the model with further outputs; a runtime infers their types. Returns the graph file's path. */
export async function writeTapped(
  model: Model,
  taps: readonly string[],
  folder: string,
  name: string,
): Promise<string> {
  const graph = shallowCopy(model.proto.graph!);
  const present = new Set(graph.output.map((output) => output.name));
  graph.output = [...graph.output, ...taps.filter((tap) => !present.has(tap)).map(outputOf)];
  return write(model, graph, path.join(folder, name));
}

/** Writes the model with the shapes of `values` as its only further outputs: a few bytes each. */
export async function writeShaped(
  model: Model,
  values: readonly string[],
  folder: string,
  name: string,
): Promise<string> {
  const graph = shallowCopy(model.proto.graph!);
  graph.node = [...graph.node, ...values.map((value) => makeNode('Shape', [value], [value + SHAPE_SUFFIX]))];
  graph.output = [...graph.output, ...values.map((value) => outputOf(value + SHAPE_SUFFIX))];
  return write(model, graph, path.join(folder, name));
}

const outputOf = (name: string) => create(ValueInfoProtoSchema, { name });

async function write(model: Model, graph: GraphProto, file: string): Promise<string> {
  const proto = shallowCopy(model.proto);
  proto.graph = graph;
  const omitted = model.omitted.get(model.proto.graph!);
  const changed = { ...model, proto, omitted: new Map(model.omitted) };
  if (omitted) changed.omitted.set(graph, omitted);
  const outer = model.omitted.get(model.proto);
  if (outer) changed.omitted.set(proto, outer);
  await writeModel(changed, file);
  return file;
}
