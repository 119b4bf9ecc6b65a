import type { AxisSums, Kernels } from './kernels.ts';
import { cosineOf } from './metrics.ts';

/** One index of an axis: a channel, a class, a feature. */
export interface Channel {
  index: number;
  /** Cosine over all that is pooled. */
  cosine: number;
  /** Root mean square in the reference. */
  rms: number;
}

/** How alike an output is index by index along one axis, over all samples. */
export interface AxisFigures {
  axis: number;
  /** Mean over indices of the cosine. */
  similarity: number;
  /** Indices that count. */
  indices: number;
  /** Indices that do not: all zero in the reference, or negligible beside the output's largest. */
  leftOut: number;
  /** The indices with the lowest cosine, lowest first. */
  worst: Channel[];
}

/** Fewest pooled values of an index: fewer have a cosine by chance. */
const MIN_VALUES = 8;
/**
 * An index whose RMS is less than this part of the largest is left out. Faint is not meaningless: where a detector finds
 * nothing, the RMS of its scores is 1e-7 of that of its boxes, and a model that lost them all would pass without them.
 */
const NEGLIGIBLE = 1e-9;
/** Indices of an axis beyond which it is no axis of channels. */
const MAX_INDICES = 2 ** 20;
const NAMED = 5;

/** The axes along which an output of this shape is looked at: axis 1, and at rank 3 the last one too. */
export function channelAxes(dims: readonly number[]): number[] {
  const axes = dims.length === 3 ? [1, 2] : dims.length >= 2 ? [1] : [];
  return axes.filter((axis) => dims[axis]! > 0 && dims[axis]! <= MAX_INDICES);
}

/**
 * Collects one output over samples, index by index: x·y / (|x| |y|) of all that has the same index along an axis, every
 * sample and every other axis pooled. Sums are kept, not values, so sizes may differ between samples; a sample of another
 * rank has other axes, and ends it.
 */
export class Channels {
  readonly #axes = new Map<number, Totals>();
  #rank: number | undefined;
  #dropped = false;

  /** Makes the kernels ready for an output of this shape. @returns how to add each chunk, and how to end */
  begin(kernels: Kernels, dims: readonly number[]): { add: AddChunk; end(): void } {
    this.#rank ??= dims.length;
    if (this.#rank !== dims.length) this.#dropped = true;
    const axes = this.#dropped ? [] : channelAxes(dims);
    const pieces = axes.map((axis) => ({
      size: dims[axis]!,
      inner: dims.slice(axis + 1).reduce((product, size) => product * size, 1),
    }));
    kernels.resetAxes(pieces.map(({ size }) => size));
    const elements = dims.reduce((product, size) => product * size, 1);
    return {
      add: (bytes, count, start, finite) => {
        for (const [number, piece] of pieces.entries()) {
          kernels.accumulateAxis(bytes, count, number, { ...piece, start }, finite);
        }
      },
      end: () => {
        for (const [number, axis] of axes.entries()) {
          const totals = this.#axes.get(axis) ?? new Totals();
          this.#axes.set(axis, totals);
          totals.add(kernels.axisSums(number), elements / pieces[number]!.size);
        }
      },
    };
  }

  /** Whether samples of different ranks left nothing to pool. */
  get dropped(): boolean {
    return this.#dropped;
  }

  /** The axes that have a figure; none where nothing qualifies. */
  figures(): AxisFigures[] {
    if (this.#dropped) return [];
    return [...this.#axes].flatMap(([axis, totals]) => totals.figures(axis) ?? []);
  }
}

/** Adds a chunk that lies in the kernels' buffers; `start` is the flat index of its first element. */
type AddChunk = (bytes: 4 | 8, count: number, start: number, finite: boolean) => void;

/** Sums by index over samples. */
class Totals {
  #dot = new Float64Array(0);
  #referenceEnergy = new Float64Array(0);
  #modelEnergy = new Float64Array(0);
  #values = new Float64Array(0);

  /** `values`: elements of each index, those left out included. */
  add({ dot, referenceEnergy, modelEnergy, skipped }: AxisSums, values: number): void {
    if (dot.length > this.#dot.length) this.#grow(dot.length);
    for (let index = 0; index < dot.length; index++) {
      this.#dot[index]! += dot[index]!;
      this.#referenceEnergy[index]! += referenceEnergy[index]!;
      this.#modelEnergy[index]! += modelEnergy[index]!;
      this.#values[index]! += values - skipped[index]!;
    }
  }

  figures(axis: number): AxisFigures | null {
    const size = this.#dot.length;
    const rms = Float64Array.from({ length: size }, (_, index) =>
      Math.sqrt(this.#referenceEnergy[index]! / Math.max(1, this.#values[index]!)),
    );
    const pooled = (index: number) => this.#values[index]! >= MIN_VALUES;
    let largest = 0;
    for (let index = 0; index < size; index++) if (pooled(index)) largest = Math.max(largest, rms[index]!);
    const worst: Channel[] = [];
    let sum = 0;
    let indices = 0;
    let leftOut = 0;
    for (let index = 0; index < size; index++) {
      if (!pooled(index)) continue;
      if (rms[index] === 0 || rms[index]! < NEGLIGIBLE * largest) {
        leftOut++;
        continue;
      }
      const cosine = cosineOf(this.#dot[index]!, this.#referenceEnergy[index]!, this.#modelEnergy[index]!);
      sum += cosine;
      indices++;
      if (worst.length === NAMED && cosine >= worst.at(-1)!.cosine) continue;
      worst.push({ index, cosine, rms: rms[index]! });
      worst.sort((a, b) => a.cosine - b.cosine);
      worst.length = Math.min(worst.length, NAMED);
    }
    return indices === 0 ? null : { axis, similarity: sum / indices, indices, leftOut, worst };
  }

  #grow(size: number): void {
    const grown = (values: Float64Array) => {
      const larger = new Float64Array(size);
      larger.set(values);
      return larger;
    };
    this.#dot = grown(this.#dot);
    this.#referenceEnergy = grown(this.#referenceEnergy);
    this.#modelEnergy = grown(this.#modelEnergy);
    this.#values = grown(this.#values);
  }
}
