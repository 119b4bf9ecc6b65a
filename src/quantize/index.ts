export {
  type DecisionInputs,
  type DecisionStore,
  type Decisions,
  decisionKey,
  formatDecisions,
  MAX_DECISIONS_BYTES,
  type NodeOverride,
  parseDecisions,
} from './cached.ts';
export type { Action } from './decide.ts';
export { METHODS, type QuantizeOptions, type Settings, settingsOf } from './options.ts';
export { type Plan, type PlannedNode, plan } from './plan.ts';
export { type QuantizeContext, type QuantizeResult, type QuantizeResults, quantize } from './quantize.ts';
export { planText } from './report.ts';
