import { roundHalfEven } from '../round.ts';
import type { DType, Feeds, ValueInfo } from './types.ts';

/** Bytes per element; 0 for strings, which have no fixed size. */
export const ELEMENT_BYTES: Record<DType, number> = {
  float32: 4,
  float64: 8,
  float16: 2,
  int8: 1,
  uint8: 1,
  int16: 2,
  uint16: 2,
  int32: 4,
  uint32: 4,
  int64: 8,
  uint64: 8,
  bool: 1,
  string: 0,
};

/** `TensorProto.DataType` numbers (onnx.proto) of the types we can feed. */
export const ONNX_DTYPES: Readonly<Record<number, DType>> = {
  1: 'float32',
  2: 'uint8',
  3: 'int8',
  4: 'uint16',
  5: 'int16',
  6: 'int32',
  7: 'int64',
  8: 'string',
  9: 'bool',
  10: 'float16',
  11: 'float64',
  12: 'uint32',
  13: 'uint64',
};

/** A declared input or output as a session would describe it; `dtype` is a `TensorProto.DataType` number. */
export function valueInfoOf({ name, dtype, dims }: Omit<ValueInfo, 'dtype'> & { dtype: number }): ValueInfo {
  return { name, dtype: ONNX_DTYPES[dtype] ?? 'other', dims: dims.map(declaredSize) };
}

/** Some exporters write an open size as −1 or 0, or as "?", whichever axis it is: none of them is a size or a name. */
export function declaredSize(size: number | string): number | string {
  return size === '?' || (typeof size === 'number' && size <= 0) ? '' : size;
}

/** Bytes of all inputs together. */
export function bytesOfFeeds(feeds: Feeds): number {
  return Object.values(feeds).reduce((sum, { data }) => sum + data.byteLength, 0);
}

/** The array that onnxruntime-node takes and gives for each type. float16 travels as its bits. */
export type NumericArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
} as const;

export type NumericDType = keyof typeof ARRAYS;

export const isFloating = (dtype: DType | 'other'): dtype is 'float32' | 'float64' | 'float16' =>
  dtype === 'float32' || dtype === 'float64' || dtype === 'float16';

export const isNumeric = (dtype: DType | 'other'): dtype is NumericDType => dtype in ARRAYS;

/** A typed array over `bytes`, copied only where the offset is not aligned. */
export function viewAs(dtype: NumericDType, bytes: Uint8Array): NumericArray {
  const size = ELEMENT_BYTES[dtype];
  // The constructor copies; a Buffer's own slice would not.
  const aligned = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
  return new ARRAYS[dtype](aligned.buffer as ArrayBuffer, aligned.byteOffset, Math.floor(aligned.byteLength / size));
}

/** The bytes of a typed array, not copied. */
export const bytesOf = (array: ArrayBufferView): Uint8Array =>
  new Uint8Array(array.buffer as ArrayBuffer, array.byteOffset, array.byteLength);

/** Encodes numbers as a tensor's bytes; integers are rounded, `bool` is "not zero". */
export function encode(dtype: NumericDType, values: ArrayLike<number | bigint>): Uint8Array {
  if (dtype === 'float32' && values instanceof Float64Array) return bytesOf(new Float32Array(values));
  const array = new ARRAYS[dtype](values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (array instanceof BigInt64Array || array instanceof BigUint64Array) {
      array[i] = typeof value === 'bigint' ? value : BigInt(Math.round(value));
    } else if (dtype === 'float16') {
      array[i] = toFloat16(Number(value));
    } else if (dtype === 'bool') {
      array[i] = Number(value) === 0 ? 0 : 1;
    } else {
      array[i] = isFloating(dtype) ? Number(value) : Math.round(Number(value));
    }
  }
  return bytesOf(array);
}

/** IEEE 754 binary16 bits of a number, rounded half to even. */
export function toFloat16(value: number): number {
  const scratch = new DataView(new ArrayBuffer(4));
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const exponent = (bits >>> 23) & 0xff;
  const fraction = bits & 0x7fffff;
  if (exponent === 0xff) return sign | 0x7c00 | (fraction === 0 ? 0 : 0x200);
  const magnitude = Math.abs(Math.fround(value));
  // Half-even by hand: subnormals are multiples of 2^-24, normals keep ten fraction bits.
  if (magnitude < 2 ** -14) return sign | roundHalfEven(magnitude * 2 ** 24);
  const shifted = ((exponent - 112) << 10) + roundHalfEven(fraction / 2 ** 13);
  return sign | Math.min(shifted, 0x7c00);
}

/** The number that binary16 bits stand for. */
export function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Product of a shape's sizes; 1 for a scalar. */
export const elementCount = (dims: readonly number[]): number => dims.reduce((product, size) => product * size, 1);
