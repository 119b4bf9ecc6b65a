import { InputError } from '../../errors.ts';
import { elementCount } from '../dtype.ts';
import type { DType } from '../types.ts';

const NPY_DTYPES: Record<string, DType> = {
  f2: 'float16',
  f4: 'float32',
  f8: 'float64',
  i1: 'int8',
  i2: 'int16',
  i4: 'int32',
  i8: 'int64',
  u1: 'uint8',
  u2: 'uint16',
  u4: 'uint32',
  u8: 'uint64',
  b1: 'bool',
};

/** A header of a tensor's array ends before this: its shape has at most 32 sizes. */
export const NPY_HEADER_BYTES = 64 * 1024;

/** What a NumPy file (format 1.0 to 3.0; little-endian, C order) says of its array, and where the numbers begin. */
export interface NpyHeader {
  dtype: DType;
  dims: number[];
  /** Byte of the first number. */
  start: number;
}

/**
 * Reads a NumPy file's header from its first bytes.
 * @throws InputError for anything else; `file` is how the message names it
 */
export function parseNpyHeader(bytes: Uint8Array, file: string): NpyHeader {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.length < 12 || buffer.toString('latin1', 0, 6) !== '\x93NUMPY') {
    throw new InputError(`samples: ${file} is no NumPy array; write it with numpy.save.`);
  }
  const wide = buffer[6]! >= 2;
  const start = wide ? 12 : 10;
  const end = start + (wide ? buffer.readUInt32LE(8) : buffer.readUInt16LE(8));
  const header = buffer.toString('latin1', start, Math.min(end, buffer.length));
  const descr = /'descr':\s*'([<>|=]?)(\w+)'/.exec(header);
  const shape = /'shape':\s*\(([\d,\sL]*)\)/.exec(header);
  const dtype = NPY_DTYPES[descr?.[2] ?? ''];
  if (!descr || !shape || !dtype) throw new InputError(`samples: ${file} has a header that no tensor of numbers has.`);
  if (descr[1] === '>') throw new InputError(`samples: ${file} is big-endian; save it with .astype('<${descr[2]}').`);
  if (/'fortran_order':\s*True/.test(header)) {
    throw new InputError(`samples: ${file} is in Fortran order; save numpy.ascontiguousarray of it.`);
  }
  const dims = shape[1]!
    .split(',')
    .map((size) => size.trim())
    .filter((size) => size !== '')
    .map((size) => Number.parseInt(size, 10));
  if (dims.length > 32 || !Number.isSafeInteger(elementCount(dims))) {
    throw new InputError(`samples: ${file} has a shape that no tensor has.`);
  }
  return { dtype, dims, start: end };
}

/** What stands before the data of a NumPy array file (format 1.0) of little-endian, contiguous, row-major data. */
export function npyHeader(dtype: DType, dims: readonly number[]): Uint8Array {
  const descr = Object.entries(NPY_DTYPES).find(([, name]) => name === dtype)?.[0];
  if (!descr) throw new TypeError(`NumPy has no plain array of ${dtype}`);
  const order = descr.endsWith('1') ? '|' : '<';
  const shape = dims.length === 1 ? `(${dims[0]},)` : `(${dims.join(', ')})`;
  const text = `{'descr': '${order}${descr}', 'fortran_order': False, 'shape': ${shape}, }`;
  // The data begin at a multiple of 64 bytes, after a line feed.
  const length = Math.ceil((10 + text.length + 1) / 64) * 64;
  const header = Buffer.alloc(length, ' ');
  header.write('\x93NUMPY\x01\x00', 'latin1');
  header.writeUInt16LE(length - 10, 8);
  header.write(text, 10, 'latin1');
  header.write('\n', length - 1, 'latin1');
  return header;
}
