import type { NumericArray } from '../dtype.ts';
import type { DType } from '../types.ts';
import { wasmBase64 } from './observe.wasm.generated.ts';
import type { Bins, Observed, Tap } from './types.ts';

/** Measures values where they are, so that ranges and counts travel instead. Takes about a MiB. */
export interface Observer {
  observe(tap: Tap, value: { type: string; dims: readonly number[]; data: NumericArray | string[] }): Observed;
}

export function createObserver(): Observer {
  const memory = new WebAssembly.Memory({ initial: (DATA + DATA_BYTES) / PAGE });
  const module = new WebAssembly.Module(Buffer.from(wasmBase64, 'base64'));
  const kernels = new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Exports;
  const data = new Float32Array(memory.buffer, DATA, DATA_BYTES / 4);
  const inBlocks = (values: Float32Array, use: (count: number) => void) => {
    for (let start = 0; start < values.length; start += data.length) {
      const block = values.subarray(start, start + data.length);
      data.set(block);
      use(block.length);
    }
  };
  return {
    observe(tap, { type, dims, data: values }) {
      const observed: Observed = {
        name: tap.name,
        dtype: type as DType,
        dims: [...dims],
        nonFinite: 0,
        min: Number.POSITIVE_INFINITY,
        max: Number.NEGATIVE_INFINITY,
        smallest: Number.POSITIVE_INFINITY,
      };
      if (tap.values && !Array.isArray(values)) observed.values = copyOf(values);
      if (!(values instanceof Float32Array)) return observed;
      if (tap.bins) {
        const { count, absolute } = tap.bins;
        if (count > MOST_BINS) throw new RangeError(`${count} bins, but at most ${MOST_BINS} fit`);
        new Float32Array(memory.buffer, EDGES, count + 1).set(edgesOf(tap.bins));
        const counts = new Uint32Array(memory.buffer, COUNTS, count).fill(0);
        inBlocks(values, (length) => kernels.histogram(DATA, length, COUNTS, EDGES, count, absolute ? 1 : 0));
        observed.counts = counts.slice();
        return observed;
      }
      const state = new Float32Array(memory.buffer, 0, 3);
      state.set([observed.min, observed.max, observed.smallest]);
      inBlocks(values, (length) => {
        observed.nonFinite += kernels.range(DATA, length, 0);
      });
      [observed.min, observed.max, observed.smallest] = state as unknown as [number, number, number];
      return observed;
    },
  };
}

/**
 * The edges of bins in f32, as `numpy.linspace` of two f32 computes them; around a single value ± ½, as
 * `numpy.histogram` does.
 */
export function edgesOf({ low, high, count }: Pick<Bins, 'low' | 'high' | 'count'>): Float32Array {
  const { fround } = Math;
  const [first, last] = low === high ? [fround(low - 0.5), fround(high + 0.5)] : [fround(low), fround(high)];
  const delta = fround(last - first);
  const step = fround(delta / count);
  const edges = new Float32Array(count + 1);
  for (let i = 0; i < count; i += 1) {
    // A step that is no f32 is taken apart.
    const offset = step === 0 ? fround(fround(i / count) * delta) : fround(i * step);
    edges[i] = fround(offset + first);
  }
  edges[count] = last;
  return edges;
}

const copyOf = (values: NumericArray): Float32Array | Float64Array =>
  values instanceof Float32Array ? values.slice() : Float64Array.from(values as ArrayLike<number | bigint>, Number);

const PAGE = 65536;
/** The state of `range` lies at 0, then edges, counts and data. */
const EDGES = 64;
const MOST_BINS = 32_000;
const COUNTS = 2 * PAGE;
const DATA = 4 * PAGE;
/** Small enough to stay in a core's cache. */
const DATA_BYTES = 4 * PAGE;

interface Exports {
  range(source: number, count: number, state: number): number;
  histogram(source: number, count: number, counts: number, edges: number, bins: number, absolute: number): void;
}
