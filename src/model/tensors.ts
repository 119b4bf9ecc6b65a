import { isFieldSet } from '@bufbuild/protobuf';
import { InputError } from '../errors.ts';
import { bitsOf, DataLocation, DataType, dataTypeName } from './enums.ts';
import type { ExternalData } from './external.ts';
import { type ModelProto, type TensorProto, TensorProtoSchema } from './onnx_pb.ts';
import { quote } from './quote.ts';
import type { ByteSource, OmittedField, TensorRef } from './types.ts';
import { walkTensors } from './walk.ts';
import { Wire, type WireFile } from './wire.ts';

/** Where the tensors' bytes may be. */
export interface TensorSources {
  /** Path of the graph file, for references and sentences. */
  path: string;
  file: WireFile;
  omitted: Map<object, OmittedField[]>;
  external: ExternalData;
}

/**
 * Finds the bytes of every tensor and checks that there are as many as dims and type say.
 *
 * @throws InputError naming the tensor.
 */
export function locateTensors(proto: ModelProto, sources: TensorSources): Map<TensorProto, TensorRef> {
  const tensors = new Map<TensorProto, TensorRef>();
  for (const { tensor, name } of walkTensors(proto)) {
    const subject = `The model "${sources.path}": tensor ${quote(name)}`;
    const dims = tensor.dims.map(Number);
    const length = bytesOfTensor(tensor.dataType, dims, subject);
    if (length === undefined) continue;
    const source =
      tensor.dataLocation === DataLocation.EXTERNAL
        ? externalSource(tensor, length, sources)
        : innerSource(tensor, length, sources, subject);
    if (source) tensors.set(tensor, { name, dtype: tensor.dataType, dims, length, source });
  }
  return tensors;
}

/** Bytes of a tensor, or `undefined` for strings and unknown types. */
function bytesOfTensor(dtype: number, dims: number[], subject: string): number | undefined {
  const elements = dims.reduce((product, size) => product * size, 1);
  if (dims.some((size) => !Number.isSafeInteger(size) || size < 0) || !Number.isSafeInteger(elements * 16)) {
    throw new InputError(`${subject} has the impossible dims [${dims.slice(0, 16)}]: export the model again.`);
  }
  const bits = bitsOf(dtype);
  return bits === undefined ? undefined : Math.ceil((elements * bits) / 8);
}

function externalSource(tensor: TensorProto, length: number, sources: TensorSources): ByteSource {
  const { path, offset } = sources.external.resolve(tensor, length);
  return { kind: 'file', path, offset, length };
}

/** Bytes inside the graph file: `raw_data`, or the typed field that belongs to the data type. */
function innerSource(
  tensor: TensorProto,
  length: number,
  sources: TensorSources,
  subject: string,
): ByteSource | undefined {
  const omitted = sources.omitted.get(tensor) ?? [];
  const check = (found: number) => {
    if (found === length) return;
    const shape = `${dataTypeName(tensor.dataType)} [${tensor.dims.slice(0, 16)}]`;
    throw new InputError(`${subject} is ${shape}, ${length} bytes, but holds ${found}: export the model again.`);
  };
  if (omitted.some(({ no }) => no === RAW_DATA)) {
    const range = packedRange(omitted, RAW_DATA, sources);
    if (!range) throw new InputError(`${subject} has raw_data more than once: export the model again.`);
    check(range.length);
    return range;
  }
  if (isFieldSet(tensor, TensorProtoSchema.field.rawData)) {
    check(tensor.rawData.length);
    return { kind: 'bytes', bytes: tensor.rawData };
  }
  const typed = typedField(tensor.dataType);
  if (omitted.some(({ no }) => no === typed.no)) {
    const range = typed.fixed ? packedRange(omitted, typed.no, sources) : undefined;
    if (range) check(range.length);
    return range;
  }
  const bytes = typed.bytes(tensor);
  check(bytes.length);
  return { kind: 'bytes', bytes };
}

const RAW_DATA = 9;

/** The content of a field that stayed in the file, if it is one length-delimited piece. */
function packedRange(
  omitted: OmittedField[],
  no: number,
  { path, file }: TensorSources,
): (ByteSource & { length: number }) | undefined {
  const [run, ...more] = omitted.filter((each) => each.no === no);
  if (!run || more.length > 0) return undefined;
  const end = run.offset + run.length;
  file.position = run.offset;
  if (file.tag(end).wire !== Wire.BYTES) return undefined;
  const length = file.length(end);
  return file.position + length === end ? { kind: 'file', path, offset: file.position, length } : undefined;
}

/** Where the standard stores a data type's elements when not in `raw_data`. `fixed`: the packed field is the bytes. */
function typedField(dtype: number): { no: number; fixed: boolean; bytes(tensor: TensorProto): Uint8Array } {
  switch (dtype) {
    case DataType.FLOAT:
    case DataType.COMPLEX64:
      return { no: 4, fixed: true, bytes: ({ floatData }) => bytesOf(Float32Array.from(floatData)) };
    case DataType.DOUBLE:
    case DataType.COMPLEX128:
      return { no: 10, fixed: true, bytes: ({ doubleData }) => bytesOf(Float64Array.from(doubleData)) };
    case DataType.INT64:
      return { no: 7, fixed: false, bytes: ({ int64Data }) => bytesOf(BigInt64Array.from(int64Data)) };
    case DataType.UINT64:
      return { no: 11, fixed: false, bytes: ({ uint64Data }) => bytesOf(BigUint64Array.from(uint64Data)) };
    case DataType.UINT32:
      return { no: 11, fixed: false, bytes: ({ uint64Data }) => bytesOf(Uint32Array.from(uint64Data, Number)) };
    case DataType.INT32:
      return { no: 5, fixed: false, bytes: ({ int32Data }) => bytesOf(Int32Array.from(int32Data)) };
    case DataType.UINT16:
    case DataType.INT16:
    case DataType.FLOAT16:
    case DataType.BFLOAT16:
      return { no: 5, fixed: false, bytes: ({ int32Data }) => bytesOf(Uint16Array.from(int32Data)) };
    default:
      return { no: 5, fixed: false, bytes: ({ int32Data }) => Uint8Array.from(int32Data) };
  }
}

/** Every platform Node.js runs on is little-endian, as ONNX is. */
function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
