import { closeSync, ftruncateSync, openSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { AttributeType, DataLocation, DataType } from '../../src/model/enums.ts';
import {
  type AttributeProto,
  AttributeProtoSchema,
  type FunctionProto,
  FunctionProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from '../../src/model/onnx_pb.ts';

/** What an attribute may be given as: 1 is an int, 1.5 or `float(1)` a float. */
export type AttributeValue =
  | number
  | bigint
  | string
  | { float: number }
  | { floats: number[] }
  | { ints: number[] }
  | { strings: string[] }
  | TensorProto
  | GraphProto;

/** A value's type: `value('x', [1, 'seq', 8])` is float32 unless told. A string dim is symbolic, `null` unknown. */
export function value(
  name: string,
  dims: readonly (number | string | null)[],
  dtype: number = DataType.FLOAT,
): ValueInfoProto {
  const dim = dims.map((size) => {
    if (size === null) return {};
    if (typeof size === 'string') return { value: { case: 'dimParam' as const, value: size } };
    return { value: { case: 'dimValue' as const, value: BigInt(size) } };
  });
  const tensorType = { elemType: dtype, shape: { dim } };
  return create(ValueInfoProtoSchema, { name, type: { value: { case: 'tensorType', value: tensorType } } });
}

/** A node; attributes by name. `options.name` defaults to none, as many exporters do. */
export function node(
  opType: string,
  input: string[],
  output: string[],
  attributes: Record<string, AttributeValue> = {},
  options: { name?: string; domain?: string } = {},
): NodeProto {
  const attribute = Object.entries(attributes).map(([name, given]) => attributeOf(name, given));
  return create(NodeProtoSchema, { opType, input, output, attribute, ...options });
}

/** A Constant node whose attribute `value` is `tensor`; the tensor's name is its output. */
export function constant(tensor: TensorProto): NodeProto {
  return node('Constant', [], [tensor.name], { value: tensor });
}

/** A float32 tensor stored in `raw_data`, or in `float_data` with `{ typed: true }`. */
export function floats(
  name: string,
  dims: readonly number[],
  values: ArrayLike<number>,
  options: { typed?: boolean } = {},
): TensorProto {
  const data = Float32Array.from(values);
  if (options.typed) return tensor(name, DataType.FLOAT, dims, { floatData: [...data] });
  return tensor(name, DataType.FLOAT, dims, { rawData: bytesOf(data) });
}

/** An int64 tensor stored in `raw_data`, or in `int64_data` with `{ typed: true }`. */
export function int64s(
  name: string,
  dims: readonly number[],
  values: readonly number[],
  options: { typed?: boolean } = {},
): TensorProto {
  const data = BigInt64Array.from(values, BigInt);
  if (options.typed) return tensor(name, DataType.INT64, dims, { int64Data: [...data] });
  return tensor(name, DataType.INT64, dims, { rawData: bytesOf(data) });
}

/** A tensor of any type with its data fields as given (`rawData`, `int32Data`, `externalData`, …). */
export function tensor(
  name: string,
  dtype: number,
  dims: readonly number[],
  data: MessageInitShape<typeof TensorProtoSchema>,
): TensorProto {
  return create(TensorProtoSchema, { name, dataType: dtype, dims: dims.map(BigInt), ...data });
}

/** A tensor whose bytes lie in another file. `length: null` leaves the entry out. */
export function external(
  name: string,
  dtype: number,
  dims: readonly number[],
  at: { location: string; offset?: number | string; length?: number | string | null },
): TensorProto {
  const entries: Record<string, string> = { location: at.location };
  if (at.offset !== undefined) entries.offset = String(at.offset);
  if (at.length !== undefined && at.length !== null) entries.length = String(at.length);
  const externalData = Object.entries(entries).map(([key, text]) => ({ key, value: text }));
  return tensor(name, dtype, dims, { externalData, dataLocation: DataLocation.EXTERNAL });
}

export function graph(parts: {
  nodes: NodeProto[];
  inputs?: ValueInfoProto[];
  outputs: ValueInfoProto[];
  initializers?: TensorProto[];
  valueInfo?: ValueInfoProto[];
  name?: string;
}): GraphProto {
  return create(GraphProtoSchema, {
    name: parts.name ?? 'main',
    node: parts.nodes,
    input: parts.inputs ?? [],
    output: parts.outputs,
    initializer: parts.initializers ?? [],
    valueInfo: parts.valueInfo ?? [],
  });
}

/** A model-local function: its call is a node with this domain and op type. */
export function modelFunction(parts: {
  domain: string;
  name: string;
  inputs: string[];
  outputs: string[];
  nodes: NodeProto[];
  opset?: number;
}): FunctionProto {
  return create(FunctionProtoSchema, {
    domain: parts.domain,
    name: parts.name,
    input: parts.inputs,
    output: parts.outputs,
    node: parts.nodes,
    opsetImport: [{ domain: '', version: BigInt(parts.opset ?? 17) }],
  });
}

/** A model; `opset` is that of the default domain, `domains` adds others. */
export function model(
  main: GraphProto,
  options: {
    opset?: number;
    irVersion?: number;
    domains?: Record<string, number>;
    functions?: FunctionProto[];
    metadata?: Record<string, string>;
  } = {},
): ModelProto {
  const others = Object.entries(options.domains ?? {}).map(([domain, version]) => ({
    domain,
    version: BigInt(version),
  }));
  return create(ModelProtoSchema, {
    irVersion: BigInt(options.irVersion ?? 8),
    producerName: 'onnx-builder',
    graph: main,
    opsetImport: [{ domain: '', version: BigInt(options.opset ?? 17) }, ...others],
    functions: options.functions ?? [],
    metadataProps: Object.entries(options.metadata ?? {}).map(([key, text]) => ({ key, value: text })),
  });
}

/** Writes the model and returns its path. */
export function saveModel(folder: string, proto: ModelProto, name = 'model.onnx'): string {
  const file = path.join(folder, name);
  writeFileSync(file, toBinary(ModelProtoSchema, proto));
  return file;
}

/**
 * Moves every `raw_data` of the graph's initializers of at least `threshold` bytes into `<name>.data` and writes the
 * pair. The proto is changed.
 */
export function saveExternalModel(folder: string, proto: ModelProto, name = 'model.onnx', threshold = 64): string {
  const location = `${name}.data`;
  const file = openSync(path.join(folder, location), 'w');
  let offset = 0;
  for (const tensor of proto.graph?.initializer ?? []) {
    const bytes = tensor.rawData;
    if (bytes.length < threshold) continue;
    writeSync(file, bytes, 0, bytes.length, offset);
    const moved = external(tensor.name, tensor.dataType, [], { location, offset, length: bytes.length });
    tensor.externalData = moved.externalData;
    tensor.dataLocation = moved.dataLocation;
    Reflect.deleteProperty(tensor, 'rawData');
    offset += bytes.length;
  }
  closeSync(file);
  return saveModel(folder, proto, name);
}

/** A file of `size` zero bytes that takes no disk; `patches` are written at their offsets. */
export function sparseFile(file: string, size: number, patches: { offset: number; bytes: Uint8Array }[] = []): void {
  const handle = openSync(file, 'w');
  ftruncateSync(handle, size);
  for (const { offset, bytes } of patches) writeSync(handle, bytes, 0, bytes.length, offset);
  closeSync(handle);
}

export function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function attributeOf(name: string, given: AttributeValue): AttributeProto {
  const typed = (type: number, init: MessageInitShape<typeof AttributeProtoSchema>) =>
    create(AttributeProtoSchema, { name, type, ...init });
  if (typeof given === 'bigint') return typed(AttributeType.INT, { i: given });
  if (typeof given === 'number') {
    if (Number.isInteger(given)) return typed(AttributeType.INT, { i: BigInt(given) });
    return typed(AttributeType.FLOAT, { f: given });
  }
  if (typeof given === 'string') return typed(AttributeType.STRING, { s: Buffer.from(given) });
  if ('float' in given) return typed(AttributeType.FLOAT, { f: given.float });
  if ('floats' in given) return typed(AttributeType.FLOATS, { floats: given.floats });
  if ('ints' in given) return typed(AttributeType.INTS, { ints: given.ints.map(BigInt) });
  if ('strings' in given)
    return typed(AttributeType.STRINGS, { strings: given.strings.map((text) => Buffer.from(text)) });
  if (given.$typeName === 'onnx.GraphProto') return typed(AttributeType.GRAPH, { g: given });
  return typed(AttributeType.TENSOR, { t: given });
}
