import path from 'node:path';
import { InputError } from '../errors.ts';
import { inputName } from '../receipt/index.ts';
import type { Method } from './methods/method.ts';
import { METHODS, type MethodSettings, methodOf } from './methods/registry.ts';
import { type CommonSettings, type MethodName, type Override, oneOf, type QuantizeOptions } from './options.ts';

/** The options of one run, checked and complete: what every method has, and what this one has of its own. */
export type Settings = CommonSettings & MethodSettings & { overrides: readonly NodeSettings[] };

/** What is done with the nodes that a pattern names. */
export interface NodeSettings {
  pattern: string;
  /** Undefined: they stay as they are. */
  settings: MethodSettings | undefined;
}

/** Checks the options; throws InputError for a value outside the contract or one that this release does not do. */
export function settingsOf(options: QuantizeOptions): Settings {
  if (!options.model) throw new InputError('Input `model` is empty: give the path of the FP32 model.');
  const own = methodSettings(options);
  const model = path.resolve(options.model);
  const output = path.resolve(options.output || defaultOutput(model, methodOf(own).suffix(own)));
  if (output === model) {
    throw new InputError(`Input \`output\` is the model itself (${options.model}): give it another path.`);
  }
  const { threads } = options;
  if (threads !== undefined && !(Number.isInteger(threads) && threads > 0)) {
    throw new InputError(`Input \`threads\` is ${threads}: give a whole number from 1, or leave it empty.`);
  }
  return {
    model,
    output,
    opTypes: options.opTypes ?? [],
    includeNodes: options.includeNodes ?? [],
    excludeNodes: options.excludeNodes ?? [],
    allowNonFinite: options.allowNonFinite ?? false,
    allowNothing: options.allowNothing ?? false,
    threads,
    sourceDigest: options.sourceDigest ?? true,
    dryRun: options.dryRun ?? false,
    reportDirectory: path.resolve(options.report || path.dirname(output)),
    overrides: Object.entries(options.overrides ?? {}).map(([pattern, said]) => nodeSettings(pattern, said, options)),
    ...own,
  };
}

function nodeSettings(pattern: string, said: Override, run: QuantizeOptions): NodeSettings {
  if (said === 'keep') return { pattern, settings: undefined };
  const { model, method = 'dynamic', weightType, weightSymmetric, perChannel, opTypes } = run;
  const same = said.method === undefined || said.method === method;
  const shared = same ? run : { model, weightType, weightSymmetric, perChannel, opTypes };
  try {
    const settings = methodSettings({ ...shared, method, ...said });
    if (!same && methodOf(settings).observe?.(settings)) {
      throw new InputError(`method \`${settings.method}\` has to see the model at work: make it the run's method`);
    }
    return { pattern, settings };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new InputError(`Override \`${pattern}\`: ${error.message}`, { cause: error });
  }
}

function methodSettings(options: QuantizeOptions): MethodSettings {
  const name = oneOf(
    'method',
    options.method ?? 'dynamic',
    METHODS.map((each) => each.name),
  );
  refuseForeign(options, name);
  const method = METHODS.find((each) => each.name === name)!;
  refuseBits(options.bits ?? 8, name, method.bits);
  return { method: method.name, ...method.settings(options) } as MethodSettings;
}

function refuseBits(bits: number, name: MethodName, allowed: readonly number[] = [8]): void {
  if (allowed.includes(bits)) return;
  const other = METHODS.find((method: Method) => method.bits?.includes(bits));
  const advice = other ? `use \`${other.name}\` for ${bits} bits` : `it can be ${allowed.join(' or ')}`;
  throw new InputError(`Input \`bits\` is ${bits}, which method \`${name}\` does not do: ${advice}.`);
}

/** Refuses options that ask for something of another method. */
function refuseForeign(options: QuantizeOptions, name: MethodName): void {
  const { owns, shares = [] } = METHODS.find((each) => each.name === name)! as Method;
  const taken = new Set([...owns, ...shares]);
  for (const other of METHODS as readonly Method[]) {
    const given = other.owns.find(
      (option) => !taken.has(option) && options[option] !== undefined && options[option] !== '',
    );
    if (given === undefined) continue;
    throw new InputError(
      `Input \`${inputName(given)}\` belongs to method \`${other.name}\`, not to \`${name}\`: leave it empty.`,
    );
  }
}

function defaultOutput(model: string, suffix: string): string {
  const stem = path.basename(model).replace(/\.onnx$/i, '');
  return path.join(path.dirname(model), `${stem}_${suffix}.onnx`);
}
