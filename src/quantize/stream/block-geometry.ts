import type { TensorRef } from '../../model/types.ts';

/**
 * A float matrix that is quantized in blocks: each `block` consecutive weights of an output row share a scale and a
 * zero point, which are found and used in one pass.
 */
export interface BlockJob {
  source: TensorRef;
  /** How the source lies: `columns` is [depth, rows], blocks run down its columns; `rows` is [rows, depth]. */
  along: 'columns' | 'rows';
  /** Weights in a block, a power of two from 16. The last block of a row may be shorter. */
  block: number;
  bits: 4 | 8;
  symmetric: boolean;
  /** Which quantizer's arithmetic of onnxruntime 1.32: that of MatMulNBits, or that of GatherBlockQuantized. */
  rounding: 'away' | 'even';
  /** Whether each row of codes is filled up with zeros to whole blocks. */
  padded: boolean;
}

/** The tensors that a job makes. Codes of 4 bits lie two to a byte, the first in the low half; so do zero points. */
export type BlockPart = 'codes' | 'scales' | 'zeroPoints';

/** What a job makes, in bytes. */
export interface BlockGeometry {
  /** Rows of the result. */
  rows: number;
  /** Weights in a row. */
  depth: number;
  /** Blocks in a row. */
  blocks: number;
  /** Bytes of one row of each part; 0 where there is none. */
  row: Record<BlockPart, number>;
}

/** Sizes of what a job makes. Symmetric ones have no zero points: all are the middle code. */
export function blockGeometry(
  job: Pick<BlockJob, 'along' | 'block' | 'bits' | 'symmetric' | 'padded'> & { source: Pick<TensorRef, 'dims'> },
): BlockGeometry {
  const { along, block, bits, symmetric, padded, source } = job;
  const [first = 0, second = 0] = source.dims.slice(-2);
  const [rows, depth] = along === 'rows' ? [first, second] : [second, first];
  const blocks = Math.ceil(depth / block);
  return {
    rows,
    depth,
    blocks,
    row: {
      codes: padded ? (blocks * block * bits) / 8 : Math.ceil((depth * bits) / 8),
      scales: 4 * blocks,
      zeroPoints: symmetric ? 0 : Math.ceil((blocks * bits) / 8),
    },
  };
}
