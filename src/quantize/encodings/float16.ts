import { DataType, type TensorRef } from '../../model/index.ts';
import type { Encoding } from './encoding.ts';

/** Largest finite half-precision number. */
const LARGEST = 65504;

/** Half precision: the same elements, rounded to the nearest, ties to even. Infinities are held exactly. */
export function float16(source: TensorRef): Encoding {
  return {
    kind: 'float16',
    source,
    data: { dtype: DataType.FLOAT16, dims: source.dims },
    parameters: [],
    dequantization: undefined,
    // Only to see whether the values fit.
    range: { source, target: 'int8', symmetric: true, reduceRange: false, axis: null },
    names: (constant) => ({ data: `${constant}_float16` }),
    refusal: ({ min, max }) => (Math.max(-min, max) > LARGEST ? 'has values that FP16 cannot hold' : undefined),
    job: () => ({ kind: 'float16', source }),
    fill: ({ holds }) => {
      throw new Error(`FLOAT16 has no ${holds}`);
    },
  };
}
