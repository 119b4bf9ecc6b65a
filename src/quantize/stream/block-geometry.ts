import type { TensorRef } from '../../model/types.ts';

/** Elements of one block of every column that can be quantized in the order of the source. */
export const WIDEST_BLOCK = 4 * 2 ** 20;

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
  /** The arithmetic of which quantizer of onnxruntime 1.32: for MatMulNBits, GatherBlockQuantized, DequantizeLinear. */
  rounding: 'away' | 'even' | 'apart';
  /**
   * How the result lies. `matrix` and `table` are [rows, depth], each row of a matrix filled up with zeros to whole
   * blocks. `source` is the source's own order, [depth, rows], with parameters [blocks, rows]; its symmetric codes are
   * signed.
   */
  layout: 'matrix' | 'table' | 'source';
}

/** The tensors that a job makes. Codes of 4 bits lie two to a byte, the first in the low half; so do zero points. */
export type BlockPart = 'codes' | 'scales' | 'zeroPoints';

/** What a job makes, in bytes. */
export interface BlockGeometry {
  /** Rows of the result; columns of it in the order of the source. */
  rows: number;
  /** Weights in a row. */
  depth: number;
  /** Blocks in a row. */
  blocks: number;
  /** Pieces that can be made apart: rows, or in the order of the source two blocks of each column, as they share bytes. */
  units: number;
  /** Bytes of one unit of each part; 0 where there is none. The last one may be shorter. */
  unit: Record<BlockPart, number>;
  /** Bytes of each part. */
  total: Record<BlockPart, number>;
}

/** Sizes of what a job makes. Symmetric ones have no zero points: all are the middle code. */
export function blockGeometry(
  job: Omit<BlockJob, 'source' | 'rounding'> & { source: Pick<TensorRef, 'dims'> },
): BlockGeometry {
  const { along, block, bits, symmetric, layout, source } = job;
  const [first = 0, second = 0] = source.dims.slice(-2);
  const [rows, depth] = along === 'rows' ? [first, second] : [second, first];
  const blocks = Math.ceil(depth / block);
  const packed = (count: number) => Math.ceil((count * bits) / 8);
  if (layout === 'source') {
    const sizes = (weights: number, parameters: number) => ({
      codes: packed(weights * rows),
      scales: 4 * parameters * rows,
      zeroPoints: symmetric ? 0 : packed(parameters * rows),
    });
    const units = Math.ceil(blocks / 2);
    return { rows, depth, blocks, units, unit: sizes(2 * block, 2), total: sizes(depth, blocks) };
  }
  const unit = {
    codes: layout === 'matrix' ? packed(blocks * block) : packed(depth),
    scales: 4 * blocks,
    zeroPoints: symmetric ? 0 : packed(blocks),
  };
  const total = { codes: rows * unit.codes, scales: rows * unit.scales, zeroPoints: rows * unit.zeroPoints };
  return { rows, depth, blocks, units: rows, unit, total };
}
