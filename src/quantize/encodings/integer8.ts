import { DataType, type TensorRef } from '../../model/index.ts';
import type { Scheme } from '../kernels/parameters.ts';
import type { WeightParameters } from '../stream/index.ts';
import { axesOf, type Encoding, elementsOf, noScale, type Parameter } from './encoding.ts';

/** One byte an element, a scale and a zero point for each channel. */
export interface Integer8 extends Encoding {
  readonly kind: 'integer8';
  /** Axes of the source that carry the channels; null for one scale. */
  readonly axis: number | readonly number[] | null;
  /** Whether the elements lie in another order than the source's. */
  readonly permuted: boolean;
}

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

/** 8-bit integers as onnxruntime.quantization makes them; see `kernels/parameters.ts` for the arithmetic. */
export function integer8(source: TensorRef, options: Integer8Options): Integer8 {
  const { axis, permutation, target, symmetric, reduceRange, layout = 'channels' } = options;
  const { dims } = source;
  const dtype = target === 'int8' ? DataType.INT8 : DataType.UINT8;
  const axes = axesOf(axis, dims.length);
  const spread = dims.map((size, i) => (axes.includes(i) ? size : 1));
  const stack = [...dims.slice(0, -2), 1, dims.at(-1)!];
  const shape = axis === null ? [] : { channels: axes.map((i) => dims[i]!), stack, broadcast: spread }[layout];
  const holds = options.holds ?? ['scale', 'zeroPoint'];
  const range = { source, target, symmetric, reduceRange, axis, ...(permutation ? { permutation } : {}) };
  return {
    kind: 'integer8',
    source,
    axis,
    permuted: permutation !== undefined,
    data: { dtype, dims: permutation ? permutation.map((from) => dims[from]!) : dims },
    parameters: holds.map((each) => ({
      holds: each,
      dtype: each === 'zeroPoint' ? dtype : DataType.FLOAT,
      dims: shape,
    })),
    dequantization: permutation
      ? undefined
      : {
          axis: typeof axis === 'number' ? axis - dims.length : null,
          byHand: axis !== null && layout !== 'channels',
          broadcast: (parameter) => ({ ...parameter, dims: axis === null ? [] : spread }),
        },
    range,
    names(constant) {
      const base = permutation ? `${constant}_Transposed` : constant;
      const zeroPoint = `${base}_zero_point`;
      return { data: `${base}_quantized`, scale: `${base}_scale`, zeroPoint, floatZeroPoint: zeroPoint };
    },
    refusal: noScale,
    job: (found) => ({ kind: 'quantize', job: range, parameters: found! }),
    fill: (parameter, found) => fill(parameter, found!),
  };
}

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
