import { fromFloat16, type NumericArray } from './dtype.ts';
import type { DType } from './types.ts';

export interface RangeSummary {
  notANumber: number;
  infinite: number;
  /** Over finite elements; 0 where there is none. */
  min: number;
  max: number;
}

/** Counts what is not finite and finds the range of the rest, in one pass without copying. */
export function summarize(dtype: DType, data: NumericArray): RangeSummary {
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) return summarizeBig(data);
  if (dtype === 'float16') return summarizeNumbers(data.length, (index) => fromFloat16(data[index]!));
  // Loops over one array type each: V8 keeps them monomorphic, and outputs may have 500 million elements.
  if (data instanceof Float32Array) return summarizeFloat32(data);
  return summarizeNumbers(data.length, (index) => data[index]!);
}

function summarizeFloat32(data: Float32Array): RangeSummary {
  let notANumber = 0;
  let infinite = 0;
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < data.length; i++) {
    const value = data[i]!;
    if (value - value === 0) {
      if (value < min) min = value;
      if (value > max) max = value;
    } else if (Number.isNaN(value)) {
      notANumber++;
    } else {
      infinite++;
    }
  }
  return finished(notANumber, infinite, min, max);
}

function summarizeNumbers(length: number, at: (index: number) => number): RangeSummary {
  let notANumber = 0;
  let infinite = 0;
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < length; i++) {
    const value = at(i);
    if (Number.isFinite(value)) {
      if (value < min) min = value;
      if (value > max) max = value;
    } else if (Number.isNaN(value)) {
      notANumber++;
    } else {
      infinite++;
    }
  }
  return finished(notANumber, infinite, min, max);
}

function summarizeBig(data: BigInt64Array | BigUint64Array): RangeSummary {
  let min = data[0] ?? 0n;
  let max = min;
  for (const value of data) {
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return { notANumber: 0, infinite: 0, min: Number(min), max: Number(max) };
}

function finished(notANumber: number, infinite: number, min: number, max: number): RangeSummary {
  return min > max ? { notANumber, infinite, min: 0, max: 0 } : { notANumber, infinite, min, max };
}
