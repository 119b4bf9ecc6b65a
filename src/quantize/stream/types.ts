import type { FileLayout, TensorRef } from '../../model/types.ts';
import type { Scheme } from '../kernels/parameters.ts';
import type { BlockJob, BlockPart } from './block-geometry.ts';

/** A float weight (FLOAT, FLOAT16, BFLOAT16 or DOUBLE) that becomes 8-bit integers of the same element count. */
export interface WeightJob extends Scheme {
  source: TensorRef;
  /**
   * Axes of the source that carry the channels, each with its own scale: one axis, several adjacent ones (an LSTM's
   * [directions, 4 × hidden]), or null for one scale for the whole tensor. Negative axes count from the end.
   */
  axis: number | readonly number[] | null;
  /**
   * ONNX Transpose `perm` applied to the quantized tensor on its way to the file. It must exchange two adjacent
   * groups of axes, as [1, 0] and [0, 2, 1] do.
   */
  permutation?: readonly number[];
}

/** What pass 1 finds: one entry per channel, in source order (for several axes row-major). */
export interface WeightParameters {
  scales: Float32Array;
  /** int8 or uint8 values, as numbers of 16 bits. */
  zeroPoints: Int16Array;
  /** Range of the finite values, 0 included. */
  min: number;
  max: number;
  /** NaN and infinite values. They are left out of the range; infinities clip, NaN becomes the zero point. */
  nonFinite: number;
  /** How many of those are NaN. */
  nan: number;
}

/** What a job segment of an output file holds. */
export type StreamJob =
  /** One byte per element. */
  | { kind: 'quantize'; job: WeightJob; parameters: WeightParameters }
  /** Two bytes per element: FLOAT, BFLOAT16 or DOUBLE rounded to half precision, ties to even. */
  | { kind: 'float16'; source: TensorRef }
  /** One of the tensors of a block-wise job: those of one job share the object, and are made together. */
  | { kind: 'blocks'; job: BlockJob; part: BlockPart };

export type StreamLayout = FileLayout<StreamJob>;

/** A file that was written. */
export interface WrittenFile {
  path: string;
  /** Bytes. */
  size: number;
  /** SHA-256 of each 64 MiB chunk. */
  chunks: string[];
  /** `rootOf(chunks)`. */
  root: string;
}
