import { type Constant, DataType, type TensorProto, type TensorRef } from '../../model/index.ts';
import type { Encoding, Parameter } from '../encodings/encoding.ts';

/** A value in 8 bits: real = scale × (q − zeroPoint). All are names of values. */
export interface QuantizedValue {
  q: string;
  scale: string;
  /** Empty where there is none. */
  zeroPoint: string;
  /** The axis of the scales, counted from the end (−1 is the last); null for one scale. */
  axis: number | null;
}

/** A constant whose elements can be encoded. */
export type FloatConstant = Constant & { ref: TensorRef };

/** Whether a constant is FLOAT and its bytes can be read: what this release quantizes. */
export function isFloat(constant: Constant): constant is FloatConstant {
  return constant.ref?.dtype === DataType.FLOAT;
}

/** The tensors of the new graph that hold a constant of the old one in fewer bytes. Their bytes come later. */
export interface Encoded extends QuantizedValue {
  constant: FloatConstant;
  encoding: Encoding;
  data: TensorProto;
  parameters: { tensor: TensorProto; parameter: Parameter }[];
}
