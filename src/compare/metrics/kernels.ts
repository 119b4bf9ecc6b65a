import { wasmBase64 } from './metrics.wasm.generated.ts';

/** Elements compared at once. Small enough to stay in a core's cache between reading and summing. */
export const CHUNK_ELEMENTS = 2 ** 17;

/** Sums over pairs of elements of a reference x and a model's y. NaN, infinities and their partners are left out. */
export interface Sums {
  /** Elements seen, those left out included. */
  count: number;
  /** Σ x·y, Σ x², Σ y², Σ (x − y)², Σ |x − y|. */
  dot: number;
  referenceEnergy: number;
  modelEnergy: number;
  squaredError: number;
  absoluteError: number;
  /** max |x − y| and the flat index of its first place. */
  maxError: number;
  maxErrorIndex: number;
  referenceNans: number;
  modelNans: number;
  /** Pairs with an infinity: on one side only or of opposite sign, and the same on both sides. */
  unequalInfinities: number;
  equalInfinities: number;
}

/** The WebAssembly SIMD kernels with their two buffers: fill the buffers, call, read `sums()`. */
export interface Kernels {
  /** Holds the two buffers, at these offsets, each with room for `capacity` elements of up to 8 bytes. */
  memory: ArrayBuffer;
  referenceOffset: number;
  modelOffset: number;
  /** Forgets all sums. */
  reset(): void;
  /** Adds the first `count` elements of the buffers, floats of `bytes` bytes each. */
  accumulate(bytes: 4 | 8, count: number): void;
  /** Of the first `rows` rows of `columns` floats, how many have their first greatest element in the same place. */
  agreement(bytes: 4 | 8, rows: number, columns: number): number;
  sums(): Sums;
}

/** `capacity`: elements each buffer holds, at least CHUNK_ELEMENTS; more where a row of classes is longer. */
export function createKernels(capacity = CHUNK_ELEMENTS): Kernels {
  const bytes = Math.max(capacity, CHUNK_ELEMENTS) * 8;
  const memory = new WebAssembly.Memory({ initial: Math.ceil((STATE_BYTES + 2 * bytes) / PAGE) });
  const module = new WebAssembly.Module(Buffer.from(wasmBase64, 'base64'));
  const kernels = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Exports;
  const referenceOffset = STATE_BYTES;
  const modelOffset = STATE_BYTES + bytes;
  const state = new Float64Array(memory.buffer, 0, FIELDS);
  return {
    memory: memory.buffer,
    referenceOffset,
    modelOffset,
    reset: () => void state.fill(0),
    accumulate(size, count) {
      (size === 4 ? kernels.accumulate32 : kernels.accumulate64)(referenceOffset, modelOffset, count, 0);
    },
    agreement(size, rows, columns) {
      return (size === 4 ? kernels.agreement32 : kernels.agreement64)(referenceOffset, modelOffset, rows, columns);
    },
    sums: () => ({
      count: state[0]!,
      dot: state[1]!,
      referenceEnergy: state[2]!,
      modelEnergy: state[3]!,
      squaredError: state[4]!,
      absoluteError: state[5]!,
      maxError: state[6]!,
      maxErrorIndex: state[7]!,
      referenceNans: state[8]!,
      modelNans: state[9]!,
      unequalInfinities: state[10]!,
      equalInfinities: state[11]!,
    }),
  };
}

const PAGE = 65536;
const FIELDS = 12;
/** The kernels' sums lie at address 0, the buffers after them. */
const STATE_BYTES = 128;

interface Exports {
  accumulate32(reference: number, model: number, count: number, state: number): void;
  accumulate64(reference: number, model: number, count: number, state: number): void;
  agreement32(reference: number, model: number, rows: number, columns: number): number;
  agreement64(reference: number, model: number, rows: number, columns: number): number;
}
