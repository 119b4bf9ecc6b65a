import type { NodeProto } from '../../../../model/index.ts';
import type { BlockJob } from '../../../stream/index.ts';
import type { Place } from '../../../values/place.ts';
import type { Site, Weight } from '../../method.ts';

/** How weights are cut into blocks. */
export type BlockWeights = Pick<BlockJob, 'bits' | 'block' | 'symmetric'>;

/** One operator's form in blocks. */
export interface BlockOperator {
  /** `operatorKey` of its nodes. */
  key: string;
  /** What the plan says that a node becomes. */
  becomes: string;
  /** The matrices that it takes in blocks. */
  weights(site: Site): Weight[];
  /** Why this node cannot, or undefined. */
  refusal(site: Site, weights: readonly Weight[], settings: BlockWeights): string | undefined;
  /** Emits what takes the node's place. */
  rewrite(node: NodeProto, place: Place, settings: BlockWeights): void;
}
