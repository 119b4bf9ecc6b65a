export * from './digest.ts';
export { AttributeType, bitsOf, DataLocation, DataType, dataTypeName } from './enums.ts';
export * from './onnx_pb.ts';
export { MAX_PROTOBUF_BYTES, modelFiles, readModel } from './read.ts';
export { assertUnchanged } from './stamp.ts';
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
export { attributeOf, intOf, opsetOf, subgraphsOf, type TensorPlace, walkTensors } from './walk.ts';
