/**
 * onnx-quantize-actions as a library: the doors of all rooms. Each room is also a subpath of its own
 * (`onnx-quantize-actions/model`, `/quantize`, `/runtime`, …).
 *
 * ```js
 * import { quantize, readModel, plan } from 'onnx-quantize-actions';
 *
 * console.log(plan(await readModel('model.onnx')).nodesQuantized);
 * const { compressionRatio, report } = await quantize({ model: 'model.onnx', output: 'model_int8.onnx' });
 * ```
 *
 * A user's mistake is thrown as `InputError`; a failing gate is a result (`verdict`, `failures`).
 */
export {
  type ChecksumOptions,
  type ChecksumResult,
  createManifest,
  verifyManifest,
} from './checksum/index.ts';
export {
  type CompareOptions,
  type CompareResult,
  compare,
  type Score,
  type ScoreOptions,
  type Scorer,
  score,
  withScorer,
} from './compare/index.ts';
export { checkConfig, editYaml, promote, readKey, rollback } from './config/index.ts';
export { InputError } from './errors.ts';
export { type InspectOptions, inspect, type ModelDescription } from './inspect/index.ts';
export { type Model, modelFiles, readModel, type TensorRef, writeModel } from './model/index.ts';
export {
  type Plan,
  type PlannedNode,
  plan,
  planText,
  type QuantizeOptions,
  type QuantizeResult,
  quantize,
  settingsOf,
} from './quantize/index.ts';
export {
  type Environment,
  type FileIdentity,
  type Log,
  type Progress,
  parseReceipt,
  type Receipt,
  readReceipt,
  silentLog,
  type Verdict,
} from './receipt/index.ts';
export { actionSummary, pipelineSummary } from './report/index.ts';
export {
  environment,
  type Feeds,
  loadSamples,
  openSession,
  resolveRuntime,
  type Session,
  type Tensor,
} from './runtime/index.ts';
export { type AutoOptions, type AutoResult, auto } from './tune/index.ts';
export { type ValidateOptions, type ValidateResult, validate } from './validate/index.ts';
export { VERSION } from './version.generated.ts';
