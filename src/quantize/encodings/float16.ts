import { DataType, type TensorRef } from '../../model/index.ts';
import type { StreamJob, WeightJob, WeightParameters } from '../stream/index.ts';
import type { Encoding, Parameter, Shape } from './encoding.ts';

/** Largest finite half-precision number. */
const LARGEST = 65504;

/** Half precision: the same elements, rounded to the nearest, ties to even. Infinities are held exactly. */
export class Float16 implements Encoding {
  readonly source: TensorRef;

  constructor(source: TensorRef) {
    this.source = source;
  }

  get kind(): 'float16' {
    return 'float16';
  }

  get data(): Shape {
    return { dtype: DataType.FLOAT16, dims: this.source.dims };
  }

  get parameters(): readonly Parameter[] {
    return [];
  }

  get dequantization(): undefined {
    return undefined;
  }

  /** Only to see whether the values fit. */
  get range(): WeightJob {
    return { source: this.source, target: 'int8', symmetric: true, reduceRange: false, axis: null };
  }

  names(constant: string) {
    return { data: `${constant}_float16` };
  }

  refusal({ min, max }: WeightParameters): string | undefined {
    return Math.max(-min, max) > LARGEST ? 'has values that FP16 cannot hold' : undefined;
  }

  job(): StreamJob {
    return { kind: 'float16', source: this.source };
  }

  fill({ holds }: Parameter): never {
    throw new Error(`FLOAT16 has no ${holds}`);
  }
}
