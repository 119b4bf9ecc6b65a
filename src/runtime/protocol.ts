import type { HostActivity } from './host-activity.ts';
import type { Observed, Tap } from './observe/types.ts';
import type {
  Feeds,
  OutputSummary,
  ProcessMemory,
  ProviderChoice,
  ProviderReport,
  SpooledTensor,
  ValueInfo,
} from './types.ts';

/** What `openSession` tells its child; every request carries a number that its answer repeats. */
export type Request =
  | { kind: 'preload'; runtime: string }
  | ({ kind: 'open' } & OpenRequest)
  | { kind: 'run'; inputs: Inputs; outputs: OutputMode; fetch?: string[]; directory?: string }
  | ({ kind: 'measure'; inputs: Inputs[] } & Required<MeasureOptions>)
  | { kind: 'rest' }
  | { kind: 'observe'; inputs: Inputs; taps: Tap[] }
  | { kind: 'memory' }
  | { kind: 'profile' }
  | { kind: 'close' };

/** Feeds of one inference: those of `id` that the child keeps from before, or new ones, to be kept where `id` is given. */
export type Inputs = { id: number } | { id?: number; feeds: Feeds };

/** How far ONNX Runtime rewrites a graph when it loads it. */
export type GraphLevel = 'all' | 'extended' | 'basic';

export interface OpenRequest {
  /** Folder of onnxruntime-node. */
  runtime: string;
  model: string;
  provider: ProviderChoice;
  threads: number;
  arena: boolean;
  graphLevel: GraphLevel;
  prepacking: boolean;
  /** Prefix of the profile that `profile` ends; absent: no profiling, which costs time. */
  profilePrefix?: string;
}

export interface MeasureOptions {
  /** Inferences before any counts. */
  warmup: number;
  /** Inferences that count, at least; at least 1. */
  runs: number;
  /** Seconds that they take together at least, in whole turns through the samples; default 0. */
  minSeconds?: number;
  /** Seconds after which no further inference starts. */
  maxSeconds: number;
}

/** What becomes of an inference's outputs: dropped, described, or written to files. */
export type OutputMode = 'discard' | 'summary' | 'spool';

export interface OpenAnswer {
  /** Milliseconds to load onnxruntime-node's library. */
  runtimeMs: number;
  /** Milliseconds to make the session: reading, optimizing, prepacking. */
  ms: number;
  /** What else the machine did while the session was made. */
  host: HostActivity;
  /** Resident bytes with the runtime loaded and no model. */
  baselineBytes: number;
  residentBytes: number;
  inputs: ValueInfo[];
  outputs: ValueInfo[];
  provider: ProviderReport;
}

export interface RunAnswer {
  ms: number;
  summaries: OutputSummary[];
  spooled: SpooledTensor[];
  /** Milliseconds spent on summaries or files, not part of `ms`. */
  handlingMs: number;
  /** Milliseconds until the outputs' memory was given back, not part of `ms` either. */
  releaseMs: number;
}

export interface ObserveAnswer {
  /** Milliseconds of the inference, and of measuring its values. */
  ms: number;
  handlingMs: number;
  /** In the order of the taps. */
  observed: Observed[];
}

export interface MeasureAnswer {
  /** Milliseconds of all inferences, those of the warm-up too, and of giving their outputs' memory back. */
  ownMs: number;
  firstMs: number;
  runs: number[];
  endedBy: 'runs' | 'time';
  host: HostActivity;
}

export interface Answers {
  preload: null;
  open: OpenAnswer;
  run: RunAnswer;
  observe: ObserveAnswer;
  measure: MeasureAnswer;
  rest: null;
  memory: ProcessMemory;
  /** Path of the profile file. */
  profile: string;
  close: null;
}

/** Why a request failed, as the child can tell. `provider` is the user's mistake; the rest are the model's or machine's. */
export type ChildFailure = 'load' | 'unsupported-operator' | 'run' | 'out-of-memory' | 'provider' | 'bug';

export type ToChild = { id: number; request: Request };
export type FromChild =
  | { id: number; kind: 'answer'; answer: Answers[keyof Answers] }
  /** A sign of life, with the inferences done so far. */
  | { id: number; kind: 'alive'; done: number }
  | { id: number; kind: 'failure'; failure: ChildFailure; message: string; present?: string[] };
