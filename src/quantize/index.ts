export type { Action } from './decide.ts';
export { METHODS, type QuantizeOptions, type Settings, settingsOf } from './options.ts';
export { type Plan, type PlannedNode, plan } from './plan.ts';
export { type QuantizeContext, type QuantizeResult, type QuantizeResults, quantize } from './quantize.ts';
export { planText } from './report.ts';
export { identify, type Reused, reuse, type Source, store } from './stored.ts';
