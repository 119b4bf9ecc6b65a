import path from 'node:path';
import { create } from '@bufbuild/protobuf';
import {
  DataType,
  type Model,
  type NodeProto,
  readsOf,
  shallowCopy,
  tapped,
  type ValueInfoProto,
  ValueInfoProtoSchema,
  withGraph,
  writeModel,
  writeTemporary,
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
  const file = path.join(folder, 'tapped.onnx');
  await writeTemporary(tapped(model, taps), file);
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
  const cut = withGraph(model, {
    node: nodes,
    initializer: graph.initializer.filter(({ name }) => reads.has(name)),
    sparseInitializer: graph.sparseInitializer.filter(({ values }) => reads.has(values?.name ?? '')),
    input: [...fed].map(([name, value]) => typed(name, value)),
    output: [...outputs].map((name) => create(ValueInfoProtoSchema, { name: name + COMPUTED })),
    valueInfo: [],
    quantizationAnnotation: [],
  });
  await writeModel(cut, file);
}

/** A value is fed under its name, so a node that makes it must call it otherwise. */
function withComputedOutputs(node: NodeProto, outputs: Set<string>, fed: ReadonlyMap<string, FedValue>): NodeProto {
  const output = node.output.map((name) => (outputs.has(name) || fed.has(name) ? name + COMPUTED : name));
  return Object.assign(shallowCopy(node), { output });
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
