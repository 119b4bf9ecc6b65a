import type { DType } from '../types.ts';

/** What is wanted of a value of the model, on one inference. */
export interface Tap {
  name: string;
  /** How its values spread over bins; absent: its range. */
  bins?: Bins;
  /** Whether its elements are wanted as they are: for few of them. */
  values?: boolean;
}

/** Bins of equal width between two bounds; what lies outside is not counted. */
export interface Bins {
  low: number;
  high: number;
  count: number;
  /** Whether magnitudes are binned. */
  absolute: boolean;
}

/** What a FLOAT value was on one inference. Ranges are over the finite elements; of other types only the shape is told. */
export interface Observed {
  name: string;
  dtype: DType;
  dims: number[];
  /** NaN and infinite elements. */
  nonFinite: number;
  /** Least and greatest value; +∞ and −∞ where there was none. */
  min: number;
  max: number;
  /** Least magnitude. */
  smallest: number;
  /** Counts per bin, where those were asked for. */
  counts?: Uint32Array;
  /** The elements of a FLOAT, INT32 or INT64 value, where those were asked for. */
  values?: Float32Array | Float64Array;
}
