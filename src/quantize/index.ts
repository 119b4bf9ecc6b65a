export { type DecisionStore, MAX_DECISIONS_BYTES, type Shared } from './cached.ts';
export { type RefusedWeight, refusedWeights } from './check-values.ts';
export { GENERATED } from './methods/at-work.ts';
export type { MethodName, Override, Overrides, QuantizeOptions } from './options.ts';
export { formatOverrides, parseOverrides, readOverrides } from './overrides.ts';
export { type Plan, type PlannedNode, plan, planText } from './plan/index.ts';

export { type QuantizeContext, type QuantizeResult, type QuantizeResults, quantize } from './quantize.ts';
export { type Settings, settingsOf } from './settings.ts';
