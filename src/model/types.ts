import type { AttributeProto, GraphProto, ModelProto, TensorProto } from './onnx_pb.ts';

/** Bytes that nobody has loaded: a range of a file, or a few bytes that were in the graph anyway. */
export type ByteSource =
  | { kind: 'file'; path: string; offset: number; length: number }
  | { kind: 'bytes'; bytes: Uint8Array };

/** A tensor as it lies on disk. Little-endian, contiguous, row-major. */
export interface TensorRef {
  /** Name of the initializer; for a Constant node the name of its output. */
  name: string;
  /** `TensorProto.DataType` (see `DataType` in enums.ts). */
  dtype: number;
  dims: readonly number[];
  /** Bytes: product of dims × size of dtype. */
  length: number;
  source: ByteSource;
}

/** A file as it was when it was read; `assertUnchanged` compares it with what is there now. */
export interface FileStamp {
  /** Absolute. */
  path: string;
  /** Bytes. */
  size: number;
  /** Modification time in nanoseconds. */
  mtimeNs: bigint;
}

/**
 * Consecutive occurrences of one large field that were left in the graph file: `length` bytes from `offset`, tags
 * included. The writer copies them back as they are.
 */
export interface OmittedField {
  no: number;
  offset: number;
  length: number;
}

/** An ONNX model whose weights stay on disk. */
export interface Model {
  /** Absolute path of the graph file. */
  path: string;
  /** Bytes of the graph file. */
  size: number;
  /** The decoded graph. Large fields of tensors and attributes are absent here: see `tensors` and `omitted`. */
  proto: ModelProto;
  /**
   * Where the bytes of each TensorProto of `proto` are (initializers, Constant attributes, subgraphs, functions).
   * Not in it: strings, types this version does not know, and large tensors stored as varints.
   */
  tensors: Map<TensorProto, TensorRef>;
  /** What decoding left in the graph file, by the message it belongs to. */
  omitted: Map<object, OmittedField[]>;
  /** External data files in use, absolute, sorted by location. */
  externalFiles: string[];
  /** The graph file and the external data files as they were when read. */
  stamps: FileStamp[];
}

/**
 * A piece of an output file. `Job` is the writer's business (a quantization, say); it yields exactly `length` bytes.
 * `bytes` may be made anew whenever they are asked for, so that they need not all be there at once: ask once, and late.
 */
export type Segment<Job> = { offset: number; length: number } & (
  | { kind: 'bytes'; readonly bytes: Uint8Array }
  | { kind: 'file'; path: string; sourceOffset: number }
  | { kind: 'job'; job: Job }
  | { kind: 'zeros' }
);

/** A file to be written: its segments in order, without gaps, from 0 to `size`. */
export interface FileLayout<Job> {
  path: string;
  size: number;
  segments: Segment<Job>[];
}

/** What a tensor of the output holds instead of what its TensorProto had: `length` bytes made by `job`. */
export interface JobContent<Job> {
  length: number;
  job: Job;
}

export type { AttributeProto, GraphProto, ModelProto, TensorProto };
