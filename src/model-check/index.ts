/** The model-check room: what a pull request does to the ONNX models of a repository. */
export {
  type CheckedModel,
  checkModels,
  type Level,
  type ModelCheck,
  type ModelCheckOptions,
  type Row,
} from './check.ts';
export { modelCheckComment } from './comment.ts';
