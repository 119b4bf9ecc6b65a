import { type Constant, DataType } from '../model/index.ts';

export {
  type Constant,
  constantOf,
  definingScope,
  type GraphIndex,
  type GraphScope as Scope,
  indexGraphs,
  labelOf,
} from '../model/index.ts';

/** Whether a constant is FLOAT and its bytes can be read: what this release quantizes. */
export function isFloat(constant: Constant): constant is Constant & { ref: NonNullable<Constant['ref']> } {
  return constant.ref?.dtype === DataType.FLOAT;
}
