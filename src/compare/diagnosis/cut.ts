import { link, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import {
  DataType,
  GraphProtoSchema,
  type Model,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  readsOf,
  type ValueInfoProto,
  ValueInfoProtoSchema,
  writeModel,
} from '../../model/index.ts';
import type { Layer } from './layers.ts';

/** Behind the names of a cut graph's outputs, whose own names are those of inputs. */
export const COMPUTED = '::computed';

/** The dtype and dims that a value of the cut graph is fed with. */
export interface FedValue {
  dtype: string;
  dims: readonly number[];
}

/** Writes the model with `taps` as further outputs into `folder`, and returns the graph file's path. */
export async function writeTapped(model: Model, taps: readonly string[], folder: string): Promise<string> {
  const graph = model.proto.graph!;
  const present = new Set(graph.output.map(({ name }) => name));
  // A runtime infers the types of outputs that have none.
  const added = taps.filter((name) => !present.has(name)).map((name) => create(ValueInfoProtoSchema, { name }));
  const tapped = Object.assign(create(GraphProtoSchema), graph, { output: [...graph.output, ...added] });
  const changed = withGraph(model, tapped);
  const file = path.join(folder, 'tapped.onnx');
  if (await linkWeights(model, folder)) await writeFile(file, toBinary(ModelProtoSchema, changed.proto));
  else await writeModel(changed, file);
  return file;
}

/** Writes a model that holds nothing but `layers`: common values are inputs, what layers make of them is output. */
export async function writeCut(
  model: Model,
  layers: readonly Layer[],
  fed: ReadonlyMap<string, FedValue>,
  file: string,
): Promise<void> {
  const graph = model.proto.graph!;
  const outputs = new Set(layers.flatMap((layer) => layer.outputs));
  const parts = new Set(layers.flatMap((layer) => layer.parts));
  const nodes = graph.node.filter((node) => parts.has(node)).map((node) => withComputedOutputs(node, outputs, fed));
  const reads = new Set(nodes.flatMap(readsOf));
  const cut = Object.assign(create(GraphProtoSchema), graph, {
    node: nodes,
    initializer: graph.initializer.filter(({ name }) => reads.has(name)),
    sparseInitializer: graph.sparseInitializer.filter(({ values }) => reads.has(values?.name ?? '')),
    input: [...fed].map(([name, value]) => typed(name, value)),
    output: [...outputs].map((name) => create(ValueInfoProtoSchema, { name: name + COMPUTED })),
    valueInfo: [],
    quantizationAnnotation: [],
  });
  await writeModel(withGraph(model, cut), file);
}

/**
 * Makes the external data appear in `folder` without copying it. Runtimes refuse symbolic links that lead out of a
 * model's folder, so these are hard links; where none can be made (another disk), the caller copies.
 */
async function linkWeights(model: Model, folder: string): Promise<boolean> {
  if (model.externalFiles.length === 0 || model.omitted.size > 0) return false;
  const home = path.dirname(model.path);
  try {
    for (const file of model.externalFiles) {
      const name = path.relative(home, file);
      // A location in a subfolder would need that folder too: rare enough to copy.
      if (path.dirname(name) !== '.') return false;
      await link(file, path.join(folder, name));
    }
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EXDEV' || code === 'EPERM' || code === 'EACCES' || code === 'ENOTSUP') return false;
    throw error;
  }
}

/** The model with another main graph; its tensors stay where they are on disk. */
function withGraph(model: Model, graph: Model['proto']['graph']): Model {
  return { ...model, proto: Object.assign(create(ModelProtoSchema), model.proto, { graph }) };
}

/** A value is fed under its name, so a node that makes it must call it otherwise. */
function withComputedOutputs(node: NodeProto, outputs: Set<string>, fed: ReadonlyMap<string, FedValue>): NodeProto {
  const output = node.output.map((name) => (outputs.has(name) || fed.has(name) ? name + COMPUTED : name));
  return Object.assign(create(NodeProtoSchema), node, { output });
}

/** Of the shape only the rank: branches that these values never take need not fit their sizes. */
function typed(name: string, { dtype, dims }: FedValue): ValueInfoProto {
  const dim = dims.map(() => ({}));
  const tensorType = { elemType: elementTypeOf(dtype), shape: { dim } };
  return create(ValueInfoProtoSchema, { name, type: { value: { case: 'tensorType', value: tensorType } } });
}

function elementTypeOf(dtype: string): number {
  if (dtype === 'float32') return DataType.FLOAT;
  if (dtype === 'float64') return DataType.DOUBLE;
  return DataType[dtype.toUpperCase() as keyof typeof DataType];
}
