import type { InputContext } from '../inputs/index.ts';
import type { WeightForms } from '../model/index.ts';
import type { Log, Receipt, Verdict } from '../receipt/index.ts';
import type {
  CacheService,
  HostActivity,
  Interval,
  OutputSummary,
  PlacedNode,
  ProviderChoice,
  ProviderReport,
  Timings,
} from '../runtime/index.ts';
import type { Tuning } from './tune.ts';

/** An absent limit is no gate. Milliseconds and MB of 10^6 bytes. */
export interface ValidateLimits {
  maxLoadMs?: number | undefined;
  maxLatencyP50Ms?: number | undefined;
  maxLatencyP95Ms?: number | undefined;
  maxMemoryMb?: number | undefined;
  maxPeakMemoryMb?: number | undefined;
  maxSizeMb?: number | undefined;
}

/** Beyond a limit of its own the verdict fails, beyond one of `warn` it is said. Seconds. */
export interface ValidateOptions extends ValidateLimits {
  /** Path of the graph file. */
  model: string;
  /** Manifest that the files must match. */
  manifest?: string | undefined;
  /** File or folder of samples; generated from the signature when absent. */
  samples?: string | undefined;
  /** Sizes of symbolic dimensions: `batch=1,seq=16`. */
  dims?: string | undefined;
  /** Ranges of generated inputs: `audio_codes=0..1023`. */
  ranges?: string | undefined;
  /** Default 0. */
  seed?: number | undefined;
  /** Default 3. */
  warmup?: number | undefined;
  /** Default 100, which a P95 needs. */
  runs?: number | undefined;
  /** Cap of the measurement, default 60. */
  maxSeconds?: number | undefined;
  threads?: number | undefined;
  /** Default `auto`. */
  executionProvider?: ProviderChoice | undefined;
  /** ONNX Runtime's CPU arena. `auto`: off where an inference has outputs of 256 MiB and more, which it would keep. */
  arena?: 'auto' | 'on' | 'off' | undefined;
  ortPath?: string | undefined;
  registryUrl?: string | undefined;
  /** For loading, or for one inference. Default 600. */
  timeoutSeconds?: number | undefined;
  /** Look for session options with which the model is faster, `maxSeconds` at most. Default false. */
  tune?: boolean | undefined;
  /** How far answers may be from the `output_K.pb` of samples; a gate where one of the two is given. */
  rtol?: number | undefined;
  atol?: number | undefined;
  warn?: ValidateLimits | undefined;
  /** Folder of the receipt; the model's own unless given. */
  report?: string | undefined;
}

export interface ValidateContext extends InputContext {
  /** Default: silence. */
  log?: Log | undefined;
  signal?: AbortSignal | undefined;
  now?: () => Date;
  cache?: CacheService;
  /** Where large outputs and profiles lie meanwhile; default the system's temporary folder. */
  temporaryFolder?: string;
}

export type CheckName = 'integrity' | 'load' | 'inference' | 'latency' | 'resources';

/** One line of a check: a figure with its limit, if there is one. */
export interface Figure {
  name: string;
  value: number;
  unit: 'ms' | 'MB' | 'runs' | 'bytes' | 'x' | 'nodes' | '';
  limit?: number;
  /** What came of holding it against its limit; absent where there is none. */
  verdict?: Verdict;
}

export interface Check {
  name: CheckName;
  /** `skipped`: an earlier check failed, so that this one could not be made. */
  status: Verdict | 'skipped';
  figures: Figure[];
  /** What is wrong: sentences with figure, limit and what to do. */
  failures: string[];
  /** What leaves it open. */
  open?: OpenQuestion[];
  /** What a reader should know that is not wrong in itself. */
  findings: string[];
}

/** What noise or a cache leaves open. */
export interface OpenQuestion {
  /** The limit that it is about. */
  input?: string;
  /** With figure, interval, limit, cause and what to do. */
  sentence: string;
}

/** What looks wrong with the timing itself. */
export interface HygieneFinding {
  kind: 'cached' | 'throttled' | 'noisy';
  message: string;
}

/** One measurement of all runs. */
export interface LatencyWindow {
  /** Percentiles with their 95 % intervals, ms. */
  p50: Interval;
  p95: Interval;
  /** Robust coefficient of variation: what windows are chosen by. */
  variation: number;
  hygiene: HygieneFinding[];
  /** What else the machine did meanwhile. */
  host?: HostActivity;
  /** Whether its figures are the result's. */
  chosen?: boolean;
  /** Times of its runs, ms; those of the chosen one are in `timings`. */
  runs?: number[];
}

export interface ValidateResults {
  checks: Check[];
  /** Figures beyond a limit of `warn`, a sentence each. */
  warnings: string[];
  hygiene: HygieneFinding[];
  provider?: ProviderReport;
  /** Nodes by the provider that ran them, where a GPU provider was got. */
  placement?: Record<string, number>;
  /** Nodes that fell back to the CPU although another provider was got. */
  fallbacks?: PlacedNode[];
  threads?: number;
  arena?: boolean;
  /** What `tune` has found. */
  tuning?: Tuning;
  /** In which forms the model keeps its weights. */
  weights?: WeightForms;
  runtime?: { version: string; source: string };
  samples?: { count: number; notes: readonly string[] };
  outputs?: Omit<OutputSummary, 'digest'>[];
  timings?: Timings;
  /** All windows that were measured; `timings` is of the chosen one, the one that varies least. */
  windows?: LatencyWindow[];
  loadMs?: number;
  /** All loads, ms, where the first was over its limit while the machine was busy with other work. */
  loads?: number[];
  memoryMb?: number;
  peakMemoryMb?: number;
  /** Resident before the model: Node and onnxruntime. Part of `memoryMb`. */
  baselineMb?: number;
  sizeMb: number;
  /** Seconds for all of it. */
  seconds: number;
  /** Seconds of it that the model's loading and its inferences took themselves. */
  ownSeconds?: number;
}

export interface ValidateResult {
  verdict: Verdict;
  passed: boolean;
  /** Whether an inconclusive verdict may be allowed: noise may, times that a cache seems to have answered may not. */
  excusable: boolean;
  /** Every failing check's sentences; for `inconclusive` what is missing. */
  failures: string[];
  loadMs?: number;
  latencyP50Ms?: number;
  latencyP95Ms?: number;
  memoryMb?: number;
  peakMemoryMb?: number;
  sizeMb: number;
  /** Path of the receipt. */
  report: string;
  receipt: Receipt<ValidateResults>;
}
