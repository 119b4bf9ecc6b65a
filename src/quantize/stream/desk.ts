import fs from 'node:fs';
import { bindKernels, type ConvertKernel, type Kernels, SLACK } from '../kernels/kernels.ts';
import { WIDEST_BLOCK } from './block-geometry.ts';
import type { Floats, Input } from './tasks.ts';

/** A source file that could not be read; without a cause it ended before the bytes that the plan saw in it. */
export class SourceError extends Error {
  readonly path: string;

  constructor(path: string, cause?: unknown) {
    super(`${path} could not be read`, { cause });
    this.path = path;
  }
}

/** Elements that are read and quantized at a time: 256 KiB of f32, which stay in the L2 cache. */
export const BLOCK = 64 * 1024;
/** Channels whose ranges or scales are at hand at a time. */
export const WINDOW = BLOCK;
/** Output is hashed and written in pieces of about this many bytes. */
export const FLUSH = 512 * 1024;
/** Bytes of the tile in which rows and columns are exchanged; the output buffer is as long. */
export const TILE = WIDEST_BLOCK;
export const RAW = 0;
export const FLOATS = RAW + 8 * BLOCK + SLACK;
export const FIRST_OF_PAIR = FLOATS + 4 * BLOCK + SLACK;
export const SECOND_OF_PAIR = FIRST_OF_PAIR + 4 * WINDOW + SLACK;
export const STAGE = SECOND_OF_PAIR + 4 * WINDOW + SLACK;
export const OUT = STAGE + BLOCK + SLACK;
const MEMORY = OUT + TILE + SLACK;

/** `TensorProto.DataType` → bytes per element and the kernel that makes it f32. */
const FLOAT_TYPES: Record<number, { bytes: number; widen?: keyof Kernels }> = {
  1: { bytes: 4 },
  10: { bytes: 2, widen: 'float32FromFloat16' },
  11: { bytes: 8, widen: 'float32FromFloat64' },
  16: { bytes: 2, widen: 'float32FromBfloat16' },
};

/** Whether a tensor of this `TensorProto.DataType` can be quantized. */
export function isFloatType(dtype: number): boolean {
  return dtype in FLOAT_TYPES;
}

/**
 * A worker's memory with the kernels bound to it, and the reading of sources into it. Nothing grows with the model:
 * about 6 MiB, of which a model without transposed weights touches 2.
 */
export class Desk {
  readonly kernels: Kernels;
  readonly bytes: Uint8Array;
  readonly f32: Float32Array;
  readonly i16: Int16Array;

  constructor(module: WebAssembly.Module) {
    const memory = new WebAssembly.Memory({ initial: Math.ceil(MEMORY / 65536) });
    this.kernels = bindKernels(module, memory);
    this.bytes = new Uint8Array(memory.buffer);
    this.f32 = new Float32Array(memory.buffer);
    this.i16 = new Int16Array(memory.buffer);
  }

  /** Reads `count` elements from element `start` on, makes them f32, and says where they are. */
  loadFloats({ input, dtype }: Floats, start: number, count: number, at: number): number {
    const { bytes, widen } = FLOAT_TYPES[dtype]!;
    if (!widen) {
      this.load(input, start * bytes, count * bytes, at);
      return at;
    }
    this.load(input, start * bytes, count * bytes, RAW);
    (this.kernels[widen] as ConvertKernel)(RAW, at, count);
    return at;
  }

  load(input: Input, offset: number, length: number, at: number): void {
    if ('bytes' in input) {
      this.bytes.set(input.bytes.subarray(offset - input.from, offset - input.from + length), at);
      return;
    }
    for (let done = 0; done < length; ) {
      const read = this.#read(input, offset + done, length - done, at + done);
      if (read === 0) throw new SourceError(input.path);
      done += read;
    }
  }

  #read(input: Exclude<Input, { bytes: Uint8Array }>, offset: number, length: number, at: number): number {
    try {
      return fs.readSync(input.fd, this.bytes, at, length, input.offset + offset);
    } catch (cause) {
      throw new SourceError(input.path, cause);
    }
  }
}
