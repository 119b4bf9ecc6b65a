import { DataType, type TensorRef } from '../../model/index.ts';
import { type BlockGeometry, type BlockJob, type BlockPart, blockGeometry } from '../stream/index.ts';
import { type Encoding, noScale, type Parameter } from './encoding.ts';

/** 4 or 8 bits an element; a scale and a zero point for each block of them along one axis of a matrix. */
export interface Blocks extends Encoding {
  readonly kind: 'blocks';
  readonly blocks: BlockJob;
  readonly geometry: BlockGeometry;
}

export interface BlockOptions extends Pick<BlockJob, 'along' | 'block' | 'bits' | 'symmetric' | 'rounding'> {
  /** Shape of the codes: [rows, blocks, bytes] as MatMulNBits wants them, or [rows, bytes] as GatherBlockQuantized. */
  layout: 'matrix' | 'table';
}

/**
 * Blocks of a matrix, as the block-wise quantizers of onnxruntime 1.32 make them; see the kernels for the arithmetic.
 * Codes, scales and zero points are made in one pass, so nothing has to be known beforehand.
 */
export function blocks(source: TensorRef, { layout, ...scheme }: BlockOptions): Blocks {
  const job: BlockJob = { ...scheme, source, padded: layout === 'matrix' };
  const geometry = blockGeometry(job);
  const { rows, row } = geometry;
  const part = (each: BlockPart) => ({ kind: 'blocks', job, part: each }) as const;
  const parameters: Parameter[] = [{ holds: 'scale', dtype: DataType.FLOAT, dims: [rows, geometry.blocks] }];
  // Without them the middle code stands for 0.
  if (!scheme.symmetric) parameters.push({ holds: 'zeroPoint', dtype: DataType.UINT8, dims: [rows, row.zeroPoints] });
  const blockBytes = (scheme.block * scheme.bits) / 8;
  return {
    kind: 'blocks',
    source,
    blocks: job,
    geometry,
    data: {
      dtype: DataType.UINT8,
      dims: layout === 'matrix' ? [rows, geometry.blocks, blockBytes] : [rows, row.codes],
    },
    parameters,
    dequantization: undefined,
    range: undefined,
    names: (constant) => ({
      data: `${constant}_Q${scheme.bits}`,
      scale: `${constant}_scales`,
      zeroPoint: `${constant}_zero_points`,
    }),
    refusal: noScale,
    job: () => part('codes'),
    fill: ({ holds }) => part(holds === 'scale' ? 'scales' : 'zeroPoints'),
  };
}

/** Whether blocks that are there will do where others are wanted: the same values, and the same bytes in the same order. */
export function sameBlocks(have: Encoding, want: Blocks): have is Blocks {
  if (have.kind !== 'blocks') return false;
  const [a, b] = [(have as Blocks).blocks, want.blocks];
  const alike = a.along === b.along && a.block === b.block && a.bits === b.bits && a.symmetric === b.symmetric;
  return alike && (have as Blocks).geometry.row.codes === want.geometry.row.codes;
}
