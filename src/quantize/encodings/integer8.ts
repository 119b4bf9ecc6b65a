import { DataType, type TensorRef } from '../../model/index.ts';
import type { Scheme } from '../kernels/parameters.ts';
import type { StreamJob, WeightJob, WeightParameters } from '../stream/index.ts';
import {
  axesOf,
  type Dequantization,
  type Encoding,
  elementsOf,
  noScale,
  type Parameter,
  type Shape,
} from './encoding.ts';

/** How 8-bit integers are made of a constant; many constants may share one of these. */
export interface Integer8Options extends Scheme {
  axis: number | readonly number[] | null;
  /** ONNX Transpose `perm` that the elements go through on their way to the file. */
  permutation?: readonly number[];
  /**
   * Shape of the parameters: `channels` as DequantizeLinear wants them, `stack` [stack…, 1, columns] as MatMulInteger
   * wants those of a stack of matrices, `broadcast` as Mul does.
   */
  layout?: 'channels' | 'stack' | 'broadcast';
  /** Which parameters there are. Default: a scale and a zero point of the elements' type. */
  holds?: readonly Parameter['holds'][];
}

/**
 * 8-bit integers as onnxruntime.quantization makes them, one byte an element, a scale and a zero point for each channel;
 * see `kernels/parameters.ts` for the arithmetic.
 */
export class Integer8 implements Encoding {
  readonly source: TensorRef;
  readonly #options: Integer8Options;

  constructor(source: TensorRef, options: Integer8Options) {
    this.source = source;
    this.#options = options;
  }

  get kind(): 'integer8' {
    return 'integer8';
  }

  /** Axes of the source that carry the channels; null for one scale. */
  get axis(): Integer8Options['axis'] {
    return this.#options.axis;
  }

  /** Whether the elements lie in another order than the source's. */
  get permuted(): boolean {
    return this.#options.permutation !== undefined;
  }

  get data(): Shape {
    const { dims } = this.source;
    const { permutation } = this.#options;
    return { dtype: this.#dtype, dims: permutation ? permutation.map((from) => dims[from]!) : dims };
  }

  get parameters(): Parameter[] {
    const { dims } = this.source;
    const { axis, layout = 'channels', holds = BOTH } = this.#options;
    const axes = axesOf(axis, dims.length);
    const shapes = {
      channels: () => axes.map((i) => dims[i]!),
      stack: () => [...dims.slice(0, -2), 1, dims.at(-1)!],
      broadcast: () => this.#spread(),
    };
    const shape = axis === null ? [] : shapes[layout]();
    return holds.map((each) => ({
      holds: each,
      dtype: each === 'zeroPoint' ? this.#dtype : DataType.FLOAT,
      dims: shape,
    }));
  }

  get dequantization(): Dequantization | undefined {
    const { axis, permutation, layout = 'channels' } = this.#options;
    if (permutation) return undefined;
    return {
      axis: typeof axis === 'number' ? axis - this.source.dims.length : null,
      byHand: axis !== null && layout !== 'channels',
      broadcast: (parameter) => ({ ...parameter, dims: axis === null ? [] : this.#spread() }),
    };
  }

  get range(): WeightJob {
    const { target, symmetric, reduceRange, axis, permutation } = this.#options;
    return { source: this.source, target, symmetric, reduceRange, axis, ...(permutation ? { permutation } : {}) };
  }

  names(constant: string) {
    const base = this.permuted ? `${constant}_Transposed` : constant;
    const zeroPoint = `${base}_zero_point`;
    return { data: `${base}_quantized`, scale: `${base}_scale`, zeroPoint, floatZeroPoint: zeroPoint };
  }

  refusal(found: WeightParameters): string | undefined {
    return noScale(found);
  }

  job(found: WeightParameters | undefined): StreamJob {
    return { kind: 'quantize', job: this.range, parameters: found! };
  }

  fill(parameter: Parameter, found: WeightParameters | undefined): Uint8Array {
    return fill(parameter, found!);
  }

  get #dtype(): number {
    return this.#options.target === 'int8' ? DataType.INT8 : DataType.UINT8;
  }

  /** The source's shape with 1 for all axes but those of the channels. */
  #spread(): number[] {
    const { dims } = this.source;
    const axes = axesOf(this.#options.axis, dims.length);
    return dims.map((size, i) => (axes.includes(i) ? size : 1));
  }
}

const BOTH: readonly Parameter['holds'][] = ['scale', 'zeroPoint'];

/** What pass 1 found, repeated to a parameter's size. */
function fill({ holds, dims }: Parameter, { scales, zeroPoints }: WeightParameters): Uint8Array {
  const source = holds === 'scale' ? scales : zeroPoints;
  const elements = elementsOf(dims);
  // As it is: a large model has many megabytes of scales.
  if (holds === 'scale' && elements === source.length) {
    return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  }
  // An Int8Array wraps 128…255 to the same bytes that uint8 has.
  const array = holds === 'zeroPoint' ? new Int8Array(elements) : new Float32Array(elements);
  for (let i = 0; i < elements; i += 1) array[i] = source[i % source.length]!;
  return new Uint8Array(array.buffer);
}
