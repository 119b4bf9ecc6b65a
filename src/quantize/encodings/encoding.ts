import { bitsOf, type TensorRef } from '../../model/index.ts';
import type { StreamJob, WeightJob, WeightParameters } from '../stream/index.ts';

/**
 * A way to hold the elements of one FLOAT constant in fewer bytes, and the only place that knows its data types, shapes
 * and bytes: who plans and who streams asks it. One object for one constant; nothing in it changes. It holds the source and
 * how it is encoded; all else is worked out when asked, as models may have weights by the ten thousand.
 */
export interface Encoding {
  /** Family, for whoever has to know whether what is there will do: `integer8`, `float16`, `blocks`. */
  readonly kind: string;
  readonly source: TensorRef;
  /** The tensor that holds the elements. */
  readonly data: Shape;
  /** The tensors that turn elements back into reals. */
  readonly parameters: readonly Parameter[];
  /** How the elements become FLOAT again in their own order; undefined where no node of the standard does that. */
  readonly dequantization: Dequantization | undefined;
  /** What pass 1 has to find in the source, or undefined where it need not read it. */
  readonly range: WeightJob | undefined;
  /** What the elements and the parameters are called, after the constant. */
  names(constant: string): { data: string } & Partial<Record<Parameter['holds'], string>>;
  /** Why it cannot hold numbers such as pass 1 found (none of them NaN), or undefined. Completes "weight W …". */
  refusal(found: WeightParameters): string | undefined;
  /** How the elements are streamed into the file, or their bytes where they are few. */
  job(found: WeightParameters | undefined): StreamJob | Uint8Array;
  /** What a parameter holds: its bytes, or how to stream them where there can be too many for memory. */
  fill(parameter: Parameter, found: WeightParameters | undefined): Uint8Array | StreamJob;
}

/** A tensor to be, row-major; `dtype` is a `TensorProto.DataType`. */
export interface Shape {
  dtype: number;
  dims: readonly number[];
}

export interface Parameter extends Shape {
  /** `floatZeroPoint`: the same as FLOAT, for graphs that subtract it by themselves. */
  holds: 'scale' | 'zeroPoint' | 'floatZeroPoint';
}

export interface Dequantization {
  /** Axis of the scales, counted from the end; null for one scale. */
  axis: number | null;
  /** The parameters have a shape of their own, which broadcasts over the elements: DequantizeLinear takes no such. */
  byHand: boolean;
  /** A parameter in a shape that broadcasts over the elements. */
  broadcast(parameter: Parameter): Parameter;
}

/** Bytes of a tensor. Elements of 4 bits are packed, two a byte. */
export function bytesOf({ dtype, dims }: Shape): number {
  const bits = bitsOf(dtype);
  if (bits === undefined) throw new Error(`data type ${dtype} has no size`);
  return Math.ceil((elementsOf(dims) * bits) / 8);
}

/** Bytes of all tensors that an encoding makes. */
export function encodedBytes({ data, parameters }: Pick<Encoding, 'data' | 'parameters'>): number {
  return parameters.reduce((sum, parameter) => sum + bytesOf(parameter), bytesOf(data));
}

/** Why an encoding with a scale cannot hold such numbers, or undefined. */
export function noScale({ nonFinite }: WeightParameters): string | undefined {
  if (nonFinite === 0) return undefined;
  return `has ${nonFinite} infinite value${nonFinite > 1 ? 's' : ''}, for which there is no scale`;
}

/** Number of elements; 1 for a scalar. */
export function elementsOf(dims: readonly number[]): number {
  return dims.reduce((product, size) => product * size, 1);
}

/** Axes as a list from the first; null, for one scale, has none. */
export function axesOf(axis: number | readonly number[] | null, rank: number): number[] {
  if (axis === null) return [];
  return (typeof axis === 'number' ? [axis] : axis).map((each) => (each < 0 ? each + rank : each));
}
