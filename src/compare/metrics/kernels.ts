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

/** Where a piece of a tensor lies along one axis: elements of one index come in runs of `inner`, the next index follows. */
export interface AxisPiece {
  /** Indices of the axis. */
  size: number;
  /** Product of the sizes behind it. */
  inner: number;
  /** Flat index of the piece's first element. */
  start: number;
}

/** Sums by index of one axis; NaN, infinities and their partners are left out and counted. */
export interface AxisSums {
  /** Σ x·y, Σ x², Σ y² of each index. */
  dot: Float64Array;
  referenceEnergy: Float64Array;
  modelEnergy: Float64Array;
  /** Pairs left out. */
  skipped: Float64Array;
}

/** The WebAssembly SIMD kernels with their two buffers: fill the buffers, call, read `sums()`. */
export interface Kernels {
  /**
   * Holds the two buffers, at these offsets, each with room for `capacity` elements of up to 8 bytes. Another object
   * after `resetAxes`, which may need more of it.
   */
  readonly memory: ArrayBuffer;
  referenceOffset: number;
  modelOffset: number;
  /** Forgets all sums. */
  reset(): void;
  /** Adds the first `count` elements of the buffers, floats of `bytes` bytes each. @returns whether all were finite */
  accumulate(bytes: 4 | 8, count: number): boolean;
  /** Forgets the sums of all axes and makes room for axes of these sizes. */
  resetAxes(sizes: readonly number[]): void;
  /** Adds the first `count` elements of the buffers to the sums of an axis, which is a number into `resetAxes`. */
  accumulateAxis(bytes: 4 | 8, count: number, axis: number, piece: AxisPiece, finite: boolean): void;
  /** Views that `resetAxes` ends. */
  axisSums(axis: number): AxisSums;
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
  const axesOffset = modelOffset + bytes;
  let state = new Float64Array(memory.buffer, 0, FIELDS);
  let axes: { size: number; offset: number }[] = [];
  const notFinite = () => state[8]! + state[9]! + state[10]! + state[11]!;
  return {
    get memory() {
      return memory.buffer;
    },
    referenceOffset,
    modelOffset,
    reset: () => void state.fill(0),
    accumulate(size, count) {
      const before = notFinite();
      (size === 4 ? kernels.accumulate32 : kernels.accumulate64)(referenceOffset, modelOffset, count, 0);
      return notFinite() === before;
    },
    resetAxes(sizes) {
      let offset = axesOffset;
      axes = sizes.map((size) => {
        const axis = { size, offset };
        offset += AXIS_ROWS * size * 8;
        return axis;
      });
      if (offset > memory.buffer.byteLength) {
        memory.grow(Math.ceil((offset - memory.buffer.byteLength) / PAGE));
        state = new Float64Array(memory.buffer, 0, FIELDS);
      }
      new Uint8Array(memory.buffer, axesOffset, offset - axesOffset).fill(0);
    },
    accumulateAxis(bytes, count, axis, { size, inner, start }, finite) {
      const run = Math.floor(start / inner);
      // A run may be longer than what a 32-bit integer holds; no piece is.
      const left = Math.min(inner - (start - run * inner), count);
      const add = bytes === 4 ? kernels.channels32 : kernels.channels64;
      const { offset } = axes[axis]!;
      add(referenceOffset, modelOffset, count, run % size, left, Math.min(inner, count), size, offset, finite ? 1 : 0);
    },
    axisSums(axis) {
      const { size, offset } = axes[axis]!;
      const row = (index: number) => new Float64Array(memory.buffer, offset + index * size * 8, size);
      return { dot: row(0), referenceEnergy: row(1), modelEnergy: row(2), skipped: row(3) };
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
const AXIS_ROWS = 4;
/** The kernels' sums lie at address 0, the buffers after them. */
const STATE_BYTES = 128;

type Channels = (
  reference: number,
  model: number,
  count: number,
  index: number,
  left: number,
  inner: number,
  size: number,
  sums: number,
  finite: number,
) => void;

interface Exports {
  channels32: Channels;
  channels64: Channels;
  accumulate32(reference: number, model: number, count: number, state: number): void;
  accumulate64(reference: number, model: number, count: number, state: number): void;
  agreement32(reference: number, model: number, rows: number, columns: number): number;
  agreement64(reference: number, model: number, rows: number, columns: number): number;
}
