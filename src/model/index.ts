export { explainWriteError, type ModelOutput, openOutput } from './commit.ts';
export { copyModel, isCopyOf, layoutCopy } from './copy.ts';
export {
  CHUNK_BYTES,
  type ChunkDigest,
  type Digester,
  digester,
  digestFile,
  digestFiles,
  type FileDigest,
  rootOf,
} from './digest.ts';
export { AttributeType, bitsOf, DataLocation, DataType, dataTypeName } from './enums.ts';
export { assertNotOverlong, graphBytes, orphanedBytes } from './external.ts';
export {
  addressOf,
  type Constant,
  constantBehind,
  constantOf,
  definingScope,
  type GraphIndex,
  type GraphScope,
  indexGraphs,
  labelOf,
  placeOf,
  producerOf,
  readsOf,
  type Use,
  usesBehind,
  usesOf,
} from './graph-index.ts';
export { DATA_ALIGNMENT, type LayoutOptions, layoutModel, type ModelLayout } from './layout.ts';
export {
  floatAttribute,
  floatTensor,
  int64Tensor,
  intAttribute,
  intsAttribute,
  MS_DOMAIN,
  makeNode,
  makeTensor,
  shallowCopy,
  stringAttribute,
} from './make.ts';
export { assertNamesUnique, uniqueNames } from './names.ts';
export * from './onnx_pb.ts';
export { MAX_PROTOBUF_BYTES, modelFiles, namedLocations, readModel } from './read.ts';
export {
  type DeclaredValue,
  declaredInputs,
  declaredOutputs,
  declaredRank,
  declaredValues,
} from './signature.ts';
export { sorted } from './sort.ts';
export { assertUnchanged, explainReadError, stampFile } from './stamp.ts';
export { tapped, withGraph, writeTemporary } from './tap.ts';
export type {
  ByteSource,
  FileLayout,
  FileStamp,
  JobContent,
  Model,
  OmittedField,
  Segment,
  TensorRef,
} from './types.ts';
export {
  attributeOf,
  floatOf,
  intOf,
  operatorKey,
  opsetOf,
  stringOf,
  subgraphsOf,
  type TensorPlace,
  walkNodes,
  walkTensors,
} from './walk.ts';
export { type WeightForms, weightForms } from './weight-forms.ts';
export { assertOutputDiffers, type WrittenModel, writeModel } from './write.ts';
