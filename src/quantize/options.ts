import { InputError } from '../errors.ts';

/** What `method` may be. */
export type MethodName = 'dynamic' | 'static' | 'weight-only' | 'fp16';

/** The inputs of the action, in camelCase. Empty lists and absent values mean the defaults. */
export interface QuantizeOptions {
  model: string;
  /** Default: `<stem>_int8.onnx` beside the model, with the method's suffix. */
  output?: string | undefined;
  /** Default: dynamic. */
  method?: MethodName | undefined;
  bits?: 8 | 4 | undefined;
  /** Weights that share a scale: 16, 32, 64, 128 or 256. Default: a whole channel for 8 bits, 32 for 4. */
  blockSize?: number | undefined;
  /** Whether `fp16` makes values FP16 too, for GPUs. Default: weights alone. */
  compute?: boolean | undefined;
  /** Whether inputs and outputs stay FP32 where `fp16` computes. Default: true. */
  keepIo?: boolean | undefined;
  /** Operators that take blocks: ONNX Runtime's own (default), or DequantizeLinear of the standard, from operator set 21. */
  quantFormat?: 'qoperator' | 'qdq' | undefined;
  /** How blocks find their scale: `rtn`, from their range. */
  algorithm?: 'rtn' | undefined;
  weightType?: 'int8' | 'uint8' | undefined;
  /** Default: true for int8, false for uint8 and for blocks. */
  weightSymmetric?: boolean | undefined;
  perChannel?: boolean | undefined;
  reduceRange?: boolean | undefined;
  opTypes?: readonly string[] | undefined;
  includeNodes?: readonly string[] | undefined;
  excludeNodes?: readonly string[] | undefined;
  /** What is done with single nodes instead; a file of them is read by `readOverrides`. */
  overrides?: Overrides | undefined;
  /** Leave weights with NaN as they are instead of refusing the model. */
  allowNonFinite?: boolean | undefined;
  /** Copy the model where nothing in it can be quantized, instead of refusing it. */
  allowNothing?: boolean | undefined;
  calibrationData?: string | undefined;
  /** Samples of it to calibrate on, the first ones. Default: all. */
  calibrationCount?: number | undefined;
  calibrationMethod?: 'percentile' | 'minmax' | 'entropy' | 'mse' | undefined;
  /** Percent of the magnitudes that the range of an activation holds, with `percentile`. */
  calibrationPercentile?: number | undefined;
  activationType?: 'uint8' | 'int8' | undefined;
  /** Sizes of open dimensions of what is generated, and bounds of its values: see `SampleOptions`. */
  dims?: string | undefined;
  ranges?: string | undefined;
  /** Whether the graph is simplified first. Default: true for static. */
  fold?: boolean | undefined;
  threads?: number | undefined;
  /** Whether the receipt names the source by its SHA-256, which takes longer than quantizing. Default: true. */
  sourceDigest?: boolean | undefined;
  dryRun?: boolean | undefined;
  /** Folder of the receipt. Default: beside the output. */
  report?: string | undefined;
}

/** The options that an override may set; the rest are the run's. */
export type OverrideOptions = Pick<
  QuantizeOptions,
  'method' | 'bits' | 'blockSize' | 'algorithm' | 'weightType' | 'weightSymmetric' | 'perChannel'
>;

/** What is done with the nodes that a pattern names: they stay as they are, or another method has them. */
export type Override = 'keep' | OverrideOptions;

/** Overrides by name or glob (`*` stands for any characters, slashes too, `?` for one). */
export type Overrides = Readonly<Record<string, Override>>;

/** What every method is asked, checked and complete. */
export interface CommonSettings {
  /** Absolute. */
  model: string;
  /** Absolute. */
  output: string;
  /** Empty: what the method handles well. */
  opTypes: readonly string[];
  includeNodes: readonly string[];
  excludeNodes: readonly string[];
  allowNonFinite: boolean;
  allowNothing: boolean;
  threads: number | undefined;
  sourceDigest: boolean;
  dryRun: boolean;
  reportDirectory: string;
}

/** How weights become 8-bit integers. */
export interface IntegerWeights {
  type: 'int8' | 'uint8';
  /** Whether weights of a type are symmetric: int8 unless told otherwise, uint8 only when told. */
  symmetric: { int8: boolean; uint8: boolean };
  perChannel: boolean;
}

/** The options about 8-bit weights, which several methods have. @throws InputError for a type that is none. */
export function integerWeights(options: QuantizeOptions): IntegerWeights {
  const symmetric = options.weightSymmetric;
  return {
    type: oneOf('weight-type', options.weightType ?? 'int8', ['int8', 'uint8']),
    symmetric: { int8: symmetric ?? true, uint8: symmetric ?? false },
    perChannel: options.perChannel ?? true,
  };
}

/** The value, if it is one of those that an input may have. @throws InputError */
export function oneOf<T extends string>(input: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((candidate) => candidate === value);
  if (found === undefined) {
    throw new InputError(`Input \`${input}\` is \`${value}\`: it must be one of ${allowed.join(', ')}.`);
  }
  return found;
}
