import { AttributeType, DataType } from './enums.ts';
import { leanMaker } from './lean.ts';
import {
  type AttributeProto,
  AttributeProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProtoSchema,
} from './onnx_pb.ts';

/** Domain of ONNX Runtime's own operators. */
export const MS_DOMAIN = 'com.microsoft';

/** A node. Trailing empty inputs are kept: some operators count them. */
export function makeNode(
  opType: string,
  inputs: readonly string[],
  outputs: readonly string[],
  options: { name?: string; domain?: string; attributes?: readonly AttributeProto[] } = {},
): NodeProto {
  const node = emptyNode();
  node.opType = opType;
  node.input = [...inputs];
  node.output = [...outputs];
  if (options.name) node.name = options.name;
  if (options.domain) node.domain = options.domain;
  if (options.attributes) node.attribute = [...options.attributes];
  return node;
}

export function intAttribute(name: string, value: number): AttributeProto {
  return makeAttribute(name, AttributeType.INT, { i: BigInt(value) });
}

/** A float32 attribute: `value` is rounded to one. */
export function floatAttribute(name: string, value: number): AttributeProto {
  return makeAttribute(name, AttributeType.FLOAT, { f: Math.fround(value) });
}

export function intsAttribute(name: string, values: readonly number[]): AttributeProto {
  return makeAttribute(name, AttributeType.INTS, { ints: values.map(BigInt) });
}

export function stringAttribute(name: string, value: string): AttributeProto {
  return makeAttribute(name, AttributeType.STRING, { s: new TextEncoder().encode(value) });
}

function makeAttribute(name: string, type: number, value: Partial<AttributeProto>): AttributeProto {
  return Object.assign(emptyAttribute(), { name, type }, value);
}

/** A small tensor with its bytes in the graph. */
export function makeTensor(name: string, dataType: number, dims: readonly number[], rawData: Uint8Array): TensorProto {
  const tensor = emptyTensor();
  tensor.name = name;
  tensor.dataType = dataType;
  tensor.dims = dims.map(BigInt);
  tensor.rawData = rawData;
  return tensor;
}

export function int64Tensor(
  name: string,
  values: readonly number[],
  dims: readonly number[] = [values.length],
): TensorProto {
  return makeTensor(name, DataType.INT64, dims, bytesOf(BigInt64Array.from(values, BigInt)));
}

export function floatTensor(
  name: string,
  values: readonly number[],
  dims: readonly number[] = [values.length],
): TensorProto {
  return makeTensor(name, DataType.FLOAT, dims, bytesOf(Float32Array.from(values)));
}

const emptyNode = leanMaker(NodeProtoSchema);
const emptyAttribute = leanMaker(AttributeProtoSchema);
const emptyTensor = leanMaker(TensorProtoSchema);

/** A copy of the message itself; what it refers to is shared. Unknown fields and presence are kept. */
export function shallowCopy<T extends object>(message: T): T {
  return Object.assign(Object.create(Object.getPrototypeOf(message)), message);
}

/** Every platform Node.js runs on is little-endian, as ONNX is. */
function bytesOf(array: BigInt64Array | Float32Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
