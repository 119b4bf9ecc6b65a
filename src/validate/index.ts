/** The validate room: five checks of one model, with limits, and how far the timing can be believed. */
export { inspectTimings, NOISY_VARIATION } from './hygiene.ts';
export type {
  Check,
  CheckName,
  Figure,
  HygieneFinding,
  ValidateContext,
  ValidateOptions,
  ValidateResult,
  ValidateResults,
} from './types.ts';
export { validate } from './validate.ts';
