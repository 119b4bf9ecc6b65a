import type { NodeProto } from '../../model/index.ts';
import type { Scope } from '../graph.ts';
import type { ScopeRewriter } from '../rewrite.ts';

/** What quantizing knows about an operator. One file each, listed in registry.ts. */
export interface Operator {
  /** `operatorKey` of its nodes. */
  key: string;
  /** How many inputs a node must have for the standard, from the first. */
  inputs: number;
  /** The inputs that can be weights, whatever the method. */
  weights(node: NodeProto): WeightSlot[];
  /** Its form with integer arithmetic, where it has one. */
  dynamic?: DynamicForm;
  /** Carries an already quantized input through, where it can; false where it did nothing. */
  follow?(node: NodeProto, rewriter: ScopeRewriter): boolean;
}

export interface WeightSlot {
  input: number;
  /** The fewest and the most axes that a weight may have here. */
  rank: readonly [least: number, most: number];
  /** Axes of a weight with that many that carry its output channels; null for one scale for all of it. */
  axis(rank: number): number | readonly number[] | null;
}

export interface DynamicForm {
  /** The operator that takes its place, as the plan names it. */
  becomes: string;
  /** Used only where `op-types` names the operator. */
  onlyWhenNamed?: boolean;
  /** Why this node has no dynamic form, or undefined. The direct weights are known to be constant FLOATs. */
  refusal(node: NodeProto, scope: Scope): string | undefined;
  /** Emits what takes the node's place. */
  rewrite(node: NodeProto, rewriter: ScopeRewriter): void;
}
