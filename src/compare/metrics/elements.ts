import { fromFloat16 } from '../../runtime/index.ts';

/** How an element type is compared: floats by their error, everything else (integers, booleans, text) exactly. */
export interface ElementType {
  /** Bytes of an element; 1 where the type is unknown and bytes are compared. */
  bytes: number;
  float: boolean;
  /** Width of the float that holds every value; 8 for integers, which are exact there up to 2^53. */
  kernel: 4 | 8;
  /** Writes `count` elements of `raw` into `target`, an array of the given width. */
  decode(raw: DataView, count: number, target: Float32Array | Float64Array): void;
}

/** The element type of a tensor by the name ONNX Runtime gives it. */
export function elementType(dtype: string): ElementType {
  return dtype === 'float16' ? float16Type() : (TYPES[dtype] ?? TYPES.uint8!);
}

const TYPES: Record<string, ElementType> = {
  float32: floatType(4, 4, (raw, at) => raw.getFloat32(at, true)),
  float64: floatType(8, 8, (raw, at) => raw.getFloat64(at, true)),
  int8: exactType(1, (raw, at) => raw.getInt8(at)),
  uint8: exactType(1, (raw, at) => raw.getUint8(at)),
  bool: exactType(1, (raw, at) => raw.getUint8(at)),
  int16: exactType(2, (raw, at) => raw.getInt16(at, true)),
  uint16: exactType(2, (raw, at) => raw.getUint16(at, true)),
  int32: exactType(4, (raw, at) => raw.getInt32(at, true)),
  uint32: exactType(4, (raw, at) => raw.getUint32(at, true)),
  int64: exactType(8, (raw, at) => raw.getInt32(at + 4, true) * 2 ** 32 + raw.getUint32(at, true)),
  uint64: exactType(8, (raw, at) => raw.getUint32(at + 4, true) * 2 ** 32 + raw.getUint32(at, true)),
};

/** Looks halves up in a table of all of them, which takes milliseconds to make: only who meets one should wait for it. */
function float16Type(): ElementType {
  const numbers = Float32Array.from({ length: 65536 }, (_, bits) => fromFloat16(bits));
  return floatType(2, 4, (raw, at) => numbers[raw.getUint16(at, true)]!);
}

type Read = (raw: DataView, at: number) => number;

function floatType(bytes: number, kernel: 4 | 8, read: Read): ElementType {
  return { bytes, float: true, kernel, decode: decoder(bytes, read) };
}

function exactType(bytes: number, read: Read): ElementType {
  return { bytes, float: false, kernel: 8, decode: decoder(bytes, read) };
}

function decoder(bytes: number, read: Read): ElementType['decode'] {
  return (raw, count, target) => {
    for (let i = 0; i < count; i++) target[i] = read(raw, i * bytes);
  };
}
