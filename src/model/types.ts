import type { ModelProto, TensorProto } from './onnx_pb.ts';

/** Bytes that nobody has loaded: a range of a file, or a few bytes that were in the graph anyway. */
export type ByteSource =
  | { kind: 'file'; path: string; offset: number; length: number }
  | { kind: 'bytes'; bytes: Uint8Array };

/** A tensor as it lies on disk. Little-endian, contiguous, row-major. */
export interface TensorRef {
  /** Name of the initializer; for a Constant node the name of its output. */
  name: string;
  /** `TensorProto.DataType`. */
  dtype: number;
  dims: readonly number[];
  /** Bytes: product of dims × size of dtype. */
  length: number;
  source: ByteSource;
}

/** An ONNX model whose weights stay on disk. */
export interface Model {
  /** Absolute path of the graph file. */
  path: string;
  /** Bytes of the graph file. */
  size: number;
  /** The decoded graph. Large `raw_data` is absent here; `tensors` says where it is. */
  proto: ModelProto;
  /** Where the bytes of each TensorProto of `proto` are (initializers, Constant attributes, subgraphs, functions). */
  tensors: Map<TensorProto, TensorRef>;
  /** External data files in use, absolute, sorted by location. */
  externalFiles: string[];
}

/** A piece of an output file. `Job` is the writer's business (a quantization, say); it yields exactly `length` bytes. */
export type Segment<Job> = { offset: number; length: number } & (
  | { kind: 'bytes'; bytes: Uint8Array }
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
