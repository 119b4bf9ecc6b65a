import { DataType, type TensorRef } from '../../model/index.ts';
import type { Encoding, Parameter } from './encoding.ts';

/** int8 around zero along one axis, with scales that are known: no pass over the weight has to find them. */
export interface FixedInteger8 extends Encoding {
  readonly kind: 'fixed-integer8';
  readonly axis: number;
  readonly scales: Float32Array;
}

export function fixedInteger8(source: TensorRef, axis: number, scales: Float32Array): FixedInteger8 {
  const channels = scales.length;
  const { dims } = source;
  const job = { source, target: 'int8', symmetric: true, reduceRange: false, axis } as const;
  const found = { scales, zeroPoints: new Int16Array(channels), min: 0, max: 0, nonFinite: 0, nan: 0 };
  return {
    kind: 'fixed-integer8',
    source,
    axis,
    scales,
    data: { dtype: DataType.INT8, dims },
    parameters: [
      { holds: 'scale', dtype: DataType.FLOAT, dims: [channels] },
      { holds: 'zeroPoint', dtype: DataType.INT8, dims: [channels] },
    ],
    dequantization: {
      axis: axis - dims.length,
      byHand: false,
      broadcast: (parameter) => ({ ...parameter, dims: dims.map((size, at) => (at === axis ? size : 1)) }),
    },
    // Only to see whether the values are finite.
    range: job,
    names: namesOf,
    refusal: ({ nonFinite }) => (nonFinite > 0 ? 'has NaN or infinite values' : undefined),
    job: () => ({ kind: 'quantize', job, parameters: found }),
    fill: ({ holds }) => (holds === 'scale' ? bytesOf(scales) : new Uint8Array(channels)),
  };
}

export function isFixedInteger8(encoding: Encoding): encoding is FixedInteger8 {
  return encoding.kind === 'fixed-integer8';
}

/** A bias as int32 on the grid of the products it is added to. Its elements are few and known. */
export function fixedInteger32(source: TensorRef, values: Int32Array, scales: Float32Array): Encoding {
  const channels = values.length;
  return {
    kind: 'fixed-integer32',
    source,
    data: { dtype: DataType.INT32, dims: [channels] },
    parameters: [
      { holds: 'scale', dtype: DataType.FLOAT, dims: [channels] },
      { holds: 'zeroPoint', dtype: DataType.INT32, dims: [channels] },
    ],
    // Another reader wants the FLOAT it had, not what is left of it on this grid.
    dequantization: undefined,
    range: undefined,
    names: namesOf,
    refusal: () => undefined,
    job: () => bytesOf(values),
    fill: ({ holds }: Parameter) => (holds === 'scale' ? bytesOf(scales) : new Uint8Array(4 * channels)),
  };
}

function namesOf(constant: string) {
  return { data: `${constant}_quantized`, scale: `${constant}_scale`, zeroPoint: `${constant}_zero_point` };
}

function bytesOf(array: Int32Array | Float32Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
