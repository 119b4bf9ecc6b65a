import type { GraphScope, NodeProto } from '../../../model/index.ts';
import type { IntegerWeights } from '../../options.ts';
import type { Place } from '../../values/place.ts';

/** One operator's form with integer arithmetic. */
export interface OperatorForm {
  /** `operatorKey` of its nodes. */
  key: string;
  /** The operators that take its place, as the plan names them. */
  becomes: string;
  /** Used only where `op-types` names the operator. */
  onlyWhenNamed?: boolean;
  /** Why this node cannot, or undefined. Its direct weights are known to be constant FLOATs. */
  refusal(node: NodeProto, scope: GraphScope): string | undefined;
  /** Emits what takes the node's place. */
  rewrite(node: NodeProto, place: Place, weights: DynamicWeights): void;
}

/** How weights that take part in integer products are quantized. */
export interface DynamicWeights extends IntegerWeights {
  /** 7 of the 8 bits, so that uint8 × int8 products cannot saturate on CPUs without VNNI. */
  reduceRange: boolean;
}
