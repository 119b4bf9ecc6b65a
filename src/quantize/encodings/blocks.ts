import { DataType, type TensorRef } from '../../model/index.ts';
import {
  type BlockGeometry,
  type BlockJob,
  type BlockPart,
  blockGeometry,
  type StreamJob,
  type WeightParameters,
} from '../stream/index.ts';
import { type Encoding, noScale, type Parameter, type Shape } from './encoding.ts';

export type BlockOptions = Omit<BlockJob, 'source'>;

/**
 * Blocks of a matrix, as the block-wise quantizers of onnxruntime 1.32 make them: 4 or 8 bits an element; a scale and a
 * zero point for each block of them along one axis. See the kernels for the arithmetic. Codes, scales and zero points are
 * made in one pass, so nothing has to be known beforehand.
 */
export class Blocks implements Encoding {
  /** One for all parts: they are made together. */
  readonly blocks: BlockJob;

  constructor(source: TensorRef, options: BlockOptions) {
    this.blocks = { ...options, source };
  }

  get kind(): 'blocks' {
    return 'blocks';
  }

  get source(): TensorRef {
    return this.blocks.source;
  }

  get geometry(): BlockGeometry {
    return blockGeometry(this.blocks);
  }

  get data(): Shape {
    return this.#shapes().data;
  }

  get parameters(): Parameter[] {
    const { data, parameter } = this.#shapes();
    const scale: Parameter = { holds: 'scale', dtype: DataType.FLOAT, dims: parameter.scale };
    // Without them the middle code stands for 0.
    if (this.blocks.symmetric) return [scale];
    return [scale, { holds: 'zeroPoint', dtype: data.dtype, dims: parameter.zeroPoint }];
  }

  get dequantization(): undefined {
    return undefined;
  }

  get range(): undefined {
    return undefined;
  }

  names(constant: string) {
    const base = `${constant}${this.#shapes().prefix}`;
    return { data: `${base}_Q${this.blocks.bits}`, scale: `${base}_scales`, zeroPoint: `${base}_zero_points` };
  }

  refusal(found: WeightParameters): string | undefined {
    return noScale(found);
  }

  job(): StreamJob {
    return this.#part('codes');
  }

  fill({ holds }: Parameter): StreamJob {
    return this.#part(holds === 'scale' ? 'scales' : 'zeroPoints');
  }

  #part(part: BlockPart): StreamJob {
    return { kind: 'blocks', job: this.blocks, part };
  }

  #shapes(): Shapes {
    const shapes = this.blocks.layout === 'source' ? inPlace : byRows;
    return shapes(this.blocks, this.geometry);
  }
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
  if (!(have instanceof Blocks)) return false;
  const [a, b] = [have.blocks, want.blocks];
  const alike = a.along === b.along && a.block === b.block && a.bits === b.bits && a.symmetric === b.symmetric;
  return alike && have.geometry.unit.codes === want.geometry.unit.codes;
}
