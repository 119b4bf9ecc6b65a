import { DataType } from './enums.ts';
import { constantOf, definingScope, type GraphScope, indexGraphs, producerOf, usesOf } from './graph-index.ts';
import type { NodeProto, ValueInfoProto } from './onnx_pb.ts';
import type { Model } from './types.ts';
import { intOf } from './walk.ts';

/** An input or output as the graph declares it. */
export interface DeclaredValue {
  name: string;
  /** `TensorProto.DataType`; 0 where it is no tensor or has no type. */
  dtype: number;
  /** A number is a fixed size, a string the name of a symbolic one, '' an unknown one. */
  dims: (number | string)[];
}

/** What a caller feeds: the main graph's inputs without those that have a default as an initializer. */
export function declaredInputs(model: Model): DeclaredValue[] {
  const initializers = new Set(model.proto.graph?.initializer.map(({ name }) => name));
  return (model.proto.graph?.input ?? []).filter(({ name }) => !initializers.has(name)).map(declared);
}

/** The main graph's outputs. */
export function declaredOutputs(model: Model): DeclaredValue[] {
  return (model.proto.graph?.output ?? []).map(declared);
}

/** Every value of the main graph that has a declared type: inputs, outputs and what shape inference left in it. */
export function declaredValues(model: Model): DeclaredValue[] {
  const { input, output, valueInfo } = model.proto.graph ?? { input: [], output: [], valueInfo: [] };
  return [...input, ...valueInfo, ...output].map(declared);
}

/** Number of axes that a value is declared to have, where the graph says so. Searches the declarations. */
export function declaredRank(scope: GraphScope, name: string): number | undefined {
  const { input, output, valueInfo } = (definingScope(scope, name) ?? scope).graph;
  const found = [input, valueInfo, output].flatMap((list) => list.find((each) => each.name === name) ?? [])[0];
  const type = found?.type?.value;
  return type?.case === 'tensorType' ? type.value.shape?.dim.length : undefined;
}

/** Operators behind which an index is still the same index. */
const KEEPS_INDEX = new Set(['Cast', 'Identity', 'Reshape', 'Unsqueeze', 'Squeeze', 'Flatten', 'Transpose']);
/** Embeddings of com.microsoft: input of the ids → input of their table. */
const EMBEDDINGS = new Map([
  [0, 2],
  [1, 4],
]);

/**
 * Bounds of inputs that are row numbers of a table, such as token ids: 0 to the number of rows − 1, for every input that
 * a Gather takes its indices from, be it through casts and reshapes. Other inputs are absent.
 */
export function indexRanges(model: Model): Record<string, { low: number; high: number }> {
  const { main } = indexGraphs(model);
  const ranges: Record<string, { low: number; high: number }> = {};
  for (const { name, dtype } of declaredInputs(model)) {
    if (dtype !== DataType.INT64 && dtype !== DataType.INT32) continue;
    const rows = tableRows(main, name, new Set());
    if (rows.length > 0) ranges[name] = { low: 0, high: Math.min(...rows) - 1 };
  }
  return ranges;
}

/** Rows of every table that `name` is an index into. */
function tableRows(scope: GraphScope, name: string, seen: Set<string>): number[] {
  if (seen.has(name)) return [];
  seen.add(name);
  const rows: number[] = [];
  for (const { scope: at, node, index } of usesOf(scope, name)) {
    if (!node) continue;
    const size = rowsIndexed(at, node, index);
    if (size !== undefined) rows.push(size);
    if (KEEPS_INDEX.has(node.opType) && index === 0 && node.output[0])
      rows.push(...tableRows(at, node.output[0], seen));
  }
  return rows;
}

function rowsIndexed(scope: GraphScope, node: NodeProto, index: number): number | undefined {
  if (node.opType === 'Gather' && index === 1) {
    const dims = tableDims(scope, node.input[0]);
    return dims?.at(intOf(node, 'axis', 0));
  }
  const table = node.opType === 'EmbedLayerNormalization' ? EMBEDDINGS.get(index) : undefined;
  return table === undefined ? undefined : tableDims(scope, node.input[table])?.[0];
}

/** Dims of a constant, seen through a DequantizeLinear or Cast. */
function tableDims(scope: GraphScope, name: string | undefined): readonly number[] | undefined {
  if (!name) return undefined;
  const constant = constantOf(scope, name);
  if (constant) return constant.dims;
  const producer = producerOf(scope, name)?.node;
  if (producer?.opType === 'DequantizeLinear' || producer?.opType === 'Cast')
    return tableDims(scope, producer.input[0]);
  return undefined;
}

function declared({ name, type }: ValueInfoProto): DeclaredValue {
  if (type?.value.case !== 'tensorType') return { name, dtype: 0, dims: [] };
  const { elemType, shape } = type.value.value;
  const dims = (shape?.dim ?? []).map(({ value }) => {
    if (value.case === 'dimValue') return Number(value.value);
    return value.case === 'dimParam' ? value.value : '';
  });
  return { name, dtype: elemType, dims };
}
