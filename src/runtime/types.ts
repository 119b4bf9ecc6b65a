import type { HostActivity } from './host-activity.ts';

/** Element types that onnxruntime-node can pass in and out. Sub-byte and bfloat16 tensors it cannot. */
export type DType =
  | 'float32'
  | 'float64'
  | 'float16'
  | 'int8'
  | 'uint8'
  | 'int16'
  | 'uint16'
  | 'int32'
  | 'uint32'
  | 'int64'
  | 'uint64'
  | 'bool'
  | 'string';

/** A tensor in memory: little-endian, contiguous, row-major. `bool` is one byte per element; `string` carries no data. */
export interface Tensor {
  dtype: DType;
  dims: number[];
  data: Uint8Array;
}

/** What a model is given for one inference, by input name. */
export type Feeds = Record<string, Tensor>;

/** An input or output as the model declares it. A number is a fixed size, a string the name of a symbolic one ('' has none). */
export interface ValueInfo {
  name: string;
  /** `other` for sequences, maps and optionals, which onnxruntime-node cannot read. */
  dtype: DType | 'other';
  dims: (number | string)[];
}

/** An output that lies in a file, because it may be larger than anyone's memory. */
export interface SpooledTensor {
  name: string;
  dtype: DType;
  dims: number[];
  /** Raw little-endian bytes, absolute path. */
  path: string;
  /** Bytes. */
  length: number;
}

/** What the child says about an output without handing it over. Numbers are over the finite elements. */
export interface OutputSummary {
  name: string;
  dtype: DType;
  dims: number[];
  /** Bytes. */
  length: number;
  elements: number;
  notANumber: number;
  infinite: number;
  min: number;
  max: number;
  /** SHA-256 of the bytes, lower-case hex: equal outputs have equal digests. */
  digest: string;
}

export type Provider = 'cpu' | 'cuda' | 'dml';
export type ProviderChoice = 'auto' | Provider;

export interface ProviderReport {
  asked: ProviderChoice;
  got: Provider;
  /** Providers this runtime could use on this machine. */
  present: Provider[];
  /** Providers that `auto` tried in vain, with the reason. */
  refused: { provider: Provider; reason: string }[];
}

/** Where onnxruntime-node was found. */
export interface RuntimeLocation {
  /** The package's folder, the one with its package.json. */
  directory: string;
  version: string;
  source: 'ort-path' | 'node_modules' | 'tool-cache' | 'cache' | 'download';
}

/** Bytes of physical memory of the child process. */
export interface ProcessMemory {
  residentBytes: number;
  /** High-water mark since the process started. */
  peakBytes: number;
}

/** Wall times of single inferences in ms, in the order they ran, and their percentiles. */
export interface Timings {
  /** The first inference of the session, ms: what a warm-up saves. */
  firstMs: number;
  warmup: number;
  runs: number[];
  p50: number;
  p90: number;
  p95: number;
  p99: number;
  mean: number;
  /** Standard deviation ÷ mean. */
  variation: number;
  /** `time` when `maxSeconds` ended the measuring before all `runs` were made. */
  endedBy: 'runs' | 'time';
  /** What else the machine did meanwhile. */
  host?: HostActivity;
}

export type SessionFailure =
  | 'load'
  | 'unsupported-operator'
  | 'run'
  | 'timeout'
  | 'out-of-memory'
  | 'crash'
  | 'exit'
  | 'aborted';

/** A session that did not do what was asked: a finding about the model or the machine, not a bug of ours. */
export class SessionError extends Error {
  override readonly name = 'SessionError';
  readonly kind: SessionFailure;

  constructor(kind: SessionFailure, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}
