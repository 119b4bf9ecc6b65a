/** The inspect room: what a model is and what quantizing would make of it, without running it. */
export {
  type InspectOptions,
  inspect,
  type MethodEstimate,
  type ModelDescription,
  type SignatureValue,
} from './describe.ts';
export { inspectionPage, inspectionText } from './tell.ts';
