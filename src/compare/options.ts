import type { InputContext } from '../inputs/index.ts';
import type { Log, Receipt, Verdict } from '../receipt/index.ts';
import type { CacheService, ProviderChoice } from '../runtime/index.ts';
import type { Diagnosis } from './diagnosis/index.ts';
import type { Figures, OutputFigures } from './figures.ts';
import type { Gate, Limits } from './gates.ts';
import type { HistoryEntry } from './history.ts';
import type { Metric } from './metric.ts';
import type { Speed } from './speed.ts';

/** The inputs of the action, in camelCase; an absent limit is no gate. */
export interface CompareOptions {
  /** The FP32 model. */
  reference: string;
  /** The quantized model. */
  model: string;
  /** A file or folder of samples; absent: generated. */
  samples?: string;
  /** `batch=1`, one per entry. */
  dims?: readonly string[];
  /** `audio_codes=0..1023`, one per entry. */
  ranges?: readonly string[];
  /** Default 0. */
  seed?: number;
  /** Samples, default 8; of files at most as many as there are. */
  count?: number;
  /** Seconds for timing; default 120. */
  maxSeconds?: number;
  executionProvider?: ProviderChoice;
  threads?: number;
  ortPath?: string;
  registryUrl?: string;
  /** Longest load or single inference; default 600. */
  timeoutSeconds?: number;
  /** Default 0.98; `null` for no gate. */
  minSimilarity?: number | null;
  /** Default 0.9, where an output has such a figure; `null` for no gate. A given one fails where there is none. */
  minChannelSimilarity?: number | null;
  minAgreement?: number;
  /** Outputs whose rows are scores of classes; absent: those that look like it. */
  agreementOutputs?: readonly string[];
  maxMse?: number;
  maxMae?: number;
  /** Program that measures what both models answered (see `MetricCommand`), run without a shell. */
  metricCommand?: string;
  minMetric?: number;
  minSpeedup?: number;
  /** Limits beyond which a figure is said and nothing fails. */
  warn?: Limits;
  /** Folder of stored reference outputs and times. */
  baseline?: string;
  /** JSON Lines file of past runs. */
  history?: string;
  maxRegressionPercent?: number;
  /** Default true. */
  diagnose?: boolean;
  allowInconclusive?: boolean;
  /** Folder of the receipt; absent: beside the model. */
  report?: string;
}

export interface CompareContext extends InputContext {
  log: Log;
  signal?: AbortSignal;
  now?: () => Date;
  /** Monotonic clock, ms. */
  clock?: () => number;
  /** Where outputs are spooled; default the system's temporary folder. */
  temporaryFolder?: string;
  /** Bytes of memory that may be used; default what the machine or control group can give. */
  availableMemory?: () => number;
  /** Keeps the folder `baseline`, and a downloaded onnxruntime-node, between runs. */
  cache?: CacheService;
}

/** One model as it was seen. */
export interface SideFigures {
  path: string;
  root: string;
  /** Bytes of all its files. */
  size: number;
  loadMs: number;
  /** Median of the timed inferences, ms. */
  p50Ms: number;
  /** Bytes after warm-up with outputs released, and the highest ever. */
  residentBytes: number;
  peakBytes: number;
  threads: number;
}

export interface CompareFigures extends Figures {
  outputs: OutputFigures[];
  reference: SideFigures;
  model: SideFigures;
  /** What `metric-command` found; null without one. */
  metric: Metric | null;
  speed: Speed;
  samples: { count: number; digest: string; notes: string[] };
  /** The worst sample, by name, and where it was saved. */
  worstSample: { name: string; output: string; cosine: number; saved: string };
  /** What a reader of the figures must know of how they were taken. */
  notes: string[];
  gates: Gate[];
  /** Figures beyond a limit of `warn`, a sentence each. */
  warnings: string[];
  failures: string[];
  /** Figures worse than `max-regression-percent` allows, a sentence each. */
  regressions: string[];
  diagnosis: Diagnosis | null;
  /** Past runs of `history`, this one last. */
  history: HistoryEntry[];
  /** Seconds: all of it, the models' own loads and inferences, spooling, comparing, diagnosis. */
  seconds: { total: number; own: number; spooling: number; comparing: number; diagnosis: number };
}

export interface CompareResult {
  verdict: Verdict;
  /** Why the action fails, a sentence each; empty for a pass, and for an allowed inconclusive. */
  failures: string[];
  figures: CompareFigures;
  receipt: Receipt<CompareFigures>;
  /** Path of the receipt. */
  report: string;
}
