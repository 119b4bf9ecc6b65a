import path from 'node:path';
import { InputError } from '../errors.ts';

export const METHODS = ['dynamic', 'weight-only', 'static', 'fp16', 'auto'] as const;
export type Method = (typeof METHODS)[number];

/** What this release does; the other methods of the contract are refused by name. */
export type BuiltMethod = 'dynamic' | 'weight-only' | 'fp16';
const BUILT: readonly string[] = ['dynamic', 'weight-only', 'fp16'] satisfies BuiltMethod[];

/** The inputs of the action, in camelCase. Empty lists and absent values mean the defaults. */
export interface QuantizeOptions {
  model: string;
  /** Default: `<stem>_int8.onnx` beside the model (`<stem>_fp16.onnx` for `fp16`). */
  output?: string | undefined;
  method?: string | undefined;
  bits?: number | undefined;
  weightType?: string | undefined;
  /** Default: true for int8, false for uint8. */
  weightSymmetric?: boolean | undefined;
  perChannel?: boolean | undefined;
  reduceRange?: boolean | undefined;
  opTypes?: readonly string[] | undefined;
  includeNodes?: readonly string[] | undefined;
  excludeNodes?: readonly string[] | undefined;
  allowNonFinite?: boolean | undefined;
  calibrationData?: string | undefined;
  calibrationMethod?: string | undefined;
  minSimilarity?: number | undefined;
  threads?: number | undefined;
  /** Whether the receipt names the source by its SHA-256, which takes longer than quantizing. Default: true. */
  sourceDigest?: boolean | undefined;
  dryRun?: boolean | undefined;
  /** Folder of the receipt. Default: beside the output. */
  report?: string | undefined;
}

/** The options of one run, checked and complete. */
export interface Settings {
  /** Absolute. */
  model: string;
  /** Absolute. */
  output: string;
  method: BuiltMethod;
  weightType: 'int8' | 'uint8';
  /** Whether weights of a type are symmetric: int8 unless told otherwise, uint8 only when told. */
  symmetric: { int8: boolean; uint8: boolean };
  perChannel: boolean;
  reduceRange: boolean;
  /** Empty: what the method handles well. */
  opTypes: readonly string[];
  includeNodes: readonly string[];
  excludeNodes: readonly string[];
  allowNonFinite: boolean;
  threads: number | undefined;
  sourceDigest: boolean;
  dryRun: boolean;
  reportDirectory: string;
}

/** Checks the options; throws InputError for a value outside the contract or one that this release does not do. */
export function settingsOf(options: QuantizeOptions): Settings {
  if (!options.model) throw new InputError('Input `model` is empty: give the path of the FP32 model.');
  const method = methodOf(options);
  const weightType = oneOf('weight-type', options.weightType ?? 'int8', ['int8', 'uint8']);
  const model = path.resolve(options.model);
  const output = path.resolve(options.output || defaultOutput(model, method));
  if (output === model) {
    throw new InputError(`Input \`output\` is the model itself (${options.model}): give it another path.`);
  }
  if (options.reduceRange && method !== 'dynamic') {
    throw new InputError(
      `Input \`reduce-range\` guards integer products, which \`${method}\` has none of: leave it off or use \`dynamic\`.`,
    );
  }
  const { threads } = options;
  if (threads !== undefined && !(Number.isInteger(threads) && threads > 0)) {
    throw new InputError(`Input \`threads\` is ${threads}: give a whole number from 1, or leave it empty.`);
  }
  const symmetric = options.weightSymmetric;
  return {
    model,
    output,
    method,
    weightType,
    symmetric: { int8: symmetric ?? true, uint8: symmetric ?? false },
    perChannel: options.perChannel ?? true,
    reduceRange: options.reduceRange ?? false,
    opTypes: options.opTypes ?? [],
    includeNodes: options.includeNodes ?? [],
    excludeNodes: options.excludeNodes ?? [],
    allowNonFinite: options.allowNonFinite ?? false,
    threads,
    sourceDigest: options.sourceDigest ?? true,
    dryRun: options.dryRun ?? false,
    reportDirectory: path.resolve(options.report || path.dirname(output)),
  };
}

/** Whether `name` is `pattern`, in which `*` stands for any characters (slashes too) and `?` for one. */
export function matchesGlob(name: string, pattern: string): boolean {
  if (name === pattern) return true;
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*+/g, '.*')
    .replace(/\?/g, '.');
  return new RegExp(`^${source}$`, 's').test(name);
}

function methodOf(options: QuantizeOptions): BuiltMethod {
  const method = oneOf('method', options.method ?? 'dynamic', METHODS);
  const bits = options.bits ?? 8;
  if (bits !== 8 && bits !== 4) throw new InputError(`Input \`bits\` is ${bits}: it can be 8.`);
  if (options.minSimilarity !== undefined && method !== 'auto') {
    throw new InputError(
      `Input \`min-similarity\` belongs to method \`auto\`, not to \`${method}\`: gate with compare.`,
    );
  }
  if (options.calibrationData && method !== 'static') {
    throw new InputError(
      `Input \`calibration-data\` belongs to method \`static\`, not to \`${method}\`: leave it empty.`,
    );
  }
  if (!isBuilt(method)) {
    throw new InputError(`Method \`${method}\` is not in this release: use \`dynamic\`, \`weight-only\` or \`fp16\`.`);
  }
  if (bits !== 8) throw new InputError('4-bit weights are not in this release: set `bits` to 8.');
  return method;
}

function isBuilt(method: Method): method is BuiltMethod {
  return BUILT.includes(method);
}

function oneOf<T extends string>(input: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((candidate) => candidate === value);
  if (found === undefined) {
    throw new InputError(`Input \`${input}\` is \`${value}\`: it must be one of ${allowed.join(', ')}.`);
  }
  return found;
}

function defaultOutput(model: string, method: BuiltMethod): string {
  const stem = path.basename(model).replace(/\.onnx$/i, '');
  return path.join(path.dirname(model), `${stem}_${method === 'fp16' ? 'fp16' : 'int8'}.onnx`);
}
