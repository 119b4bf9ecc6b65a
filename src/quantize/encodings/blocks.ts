import { DataType, type TensorRef } from '../../model/index.ts';
import { type BlockGeometry, type BlockJob, type BlockPart, blockGeometry } from '../stream/index.ts';
import { type Encoding, noScale, type Parameter, type Shape } from './encoding.ts';

/** 4 or 8 bits an element; a scale and a zero point for each block of them along one axis of a matrix. */
export interface Blocks extends Encoding {
  readonly kind: 'blocks';
  readonly blocks: BlockJob;
  readonly geometry: BlockGeometry;
}

export type BlockOptions = Omit<BlockJob, 'source'>;

/**
 * Blocks of a matrix, as the block-wise quantizers of onnxruntime 1.32 make them; see the kernels for the arithmetic.
 * Codes, scales and zero points are made in one pass, so nothing has to be known beforehand.
 */
export function blocks(source: TensorRef, options: BlockOptions): Blocks {
  const job: BlockJob = { ...options, source };
  const geometry = blockGeometry(job);
  const { data, parameter, prefix } = options.layout === 'source' ? inPlace(job, geometry) : byRows(job, geometry);
  const parameters: Parameter[] = [{ holds: 'scale', dtype: DataType.FLOAT, dims: parameter.scale }];
  // Without them the middle code stands for 0.
  if (!options.symmetric) parameters.push({ holds: 'zeroPoint', dtype: data.dtype, dims: parameter.zeroPoint });
  const part = (each: BlockPart) => ({ kind: 'blocks', job, part: each }) as const;
  return {
    kind: 'blocks',
    source,
    blocks: job,
    geometry,
    data,
    parameters,
    dequantization: undefined,
    range: undefined,
    names: (constant) => ({
      data: `${constant}${prefix}_Q${options.bits}`,
      scale: `${constant}${prefix}_scales`,
      zeroPoint: `${constant}${prefix}_zero_points`,
    }),
    refusal: noScale,
    job: () => part('codes'),
    fill: ({ holds }) => part(holds === 'scale' ? 'scales' : 'zeroPoints'),
  };
}

/** Shapes of the tensors, and what stands in their names before the rest, as in 1.32. */
interface Shapes {
  data: Shape;
  parameter: { scale: readonly number[]; zeroPoint: readonly number[] };
  prefix: string;
}

/** Bytes: [rows, blocks, bytes] as MatMulNBits wants them, or [rows, bytes] as GatherBlockQuantized. */
function byRows({ layout, block, bits }: BlockJob, { rows, blocks: count, unit }: BlockGeometry): Shapes {
  const dims = layout === 'matrix' ? [rows, count, (block * bits) / 8] : [rows, unit.codes];
  return {
    data: { dtype: DataType.UINT8, dims },
    parameter: { scale: [rows, count], zeroPoint: [rows, unit.zeroPoints] },
    prefix: '',
  };
}

/** Numbers of 4 or 8 bits in the source's own shape, as DequantizeLinear wants them. */
function inPlace({ bits, symmetric, source }: BlockJob, { rows, blocks: count }: BlockGeometry): Shapes {
  const [signed, unsigned] = bits === 4 ? [DataType.INT4, DataType.UINT4] : [DataType.INT8, DataType.UINT8];
  const dims = [count, rows];
  return {
    data: { dtype: symmetric ? signed : unsigned, dims: source.dims },
    parameter: { scale: dims, zeroPoint: dims },
    prefix: '_DQ',
  };
}

/** Whether blocks that are there will do where others are wanted: the same values, and the same bytes in the same order. */
export function sameBlocks(have: Encoding, want: Blocks): have is Blocks {
  if (have.kind !== 'blocks') return false;
  const [a, b] = [(have as Blocks).blocks, want.blocks];
  const alike = a.along === b.along && a.block === b.block && a.bits === b.bits && a.symmetric === b.symmetric;
  return alike && (have as Blocks).geometry.unit.codes === want.geometry.unit.codes;
}
