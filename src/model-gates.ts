import { isMap, parseDocument } from 'yaml';
import { InputError, messageOf } from './errors.ts';
import { matchesGlob } from './glob.ts';
import { readRegularFile } from './read-file.ts';
import { refuseDeepYaml } from './yaml.ts';

/** What a figure may be: beyond `error` it fails, beyond `warn` it is said. `null` is no gate, not even the default one. */
export interface Levels {
  error?: number | null;
  warn?: number;
}

/** Limits by the name of the input that they are for: `max-size-mb`. */
export type ModelLimits = Partial<Record<string, Levels>>;

/** What holds for one model. */
export interface ModelGates {
  /** Of the model itself, as `validate` and `compare` have them. */
  limits: ModelLimits;
  /** Of a model against what it was before: those of `compare`, and how much it may grow. */
  changes: ModelLimits;
}

/** `model-gates.yaml`: what holds for a model, by its path. */
export type GatesFile = (model: string) => ModelGates;

export const NO_GATES: GatesFile = () => ({ limits: {}, changes: {} });

/** Limits that `validate` has as inputs. */
export const VALIDATE_LIMITS = [
  'max-load-ms',
  'max-latency-p50-ms',
  'max-latency-p95-ms',
  'max-memory-mb',
  'max-peak-memory-mb',
  'max-size-mb',
] as const;
const LIKENESS_LIMITS = [
  'min-similarity',
  'min-channel-similarity',
  'min-agreement',
  'max-mse',
  'max-mae',
  'min-speedup',
] as const;
/** Limits that `compare` has as inputs. */
export const COMPARE_LIMITS = [...LIKENESS_LIMITS, 'min-metric'] as const;
/** Limits of a model against what it was before. */
export const CHANGE_LIMITS = [...LIKENESS_LIMITS, 'max-size-increase-percent', 'max-memory-increase-percent'] as const;

/** Whether a figure is beyond a limit of that name. */
export function beyond(limit: string, figure: number, bound: number): boolean {
  return limit.startsWith('min-') ? figure < bound : figure > bound;
}

/** The limits among `names` at one level, as options of `validate` and `compare`: `max-size-mb` is `maxSizeMb`. */
export function optionsOf<Name extends string>(
  limits: ModelLimits,
  names: readonly Name[],
  level: keyof Levels,
): { [N in Name as Camel<N>]?: number } {
  const given = names.flatMap((name) => {
    const bound = limits[name]?.[level];
    // Null takes back a default, which only two limits have; elsewhere it is the same as none.
    const absent = bound === undefined || (bound === null && !HAVE_DEFAULTS.includes(name));
    return absent ? [] : [[name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase()), bound] as const];
  });
  return Object.fromEntries(given) as { [N in Name as Camel<N>]?: number };
}

type Camel<S extends string> = S extends `${infer Head}-${infer Tail}` ? `${Head}${Capitalize<Camel<Tail>>}` : S;

const HAVE_DEFAULTS: readonly string[] = ['min-similarity', 'min-channel-similarity'];

/** Reads the file. @throws InputError naming the part that is wrong */
export async function readModelGates(file: string): Promise<GatesFile> {
  return parseModelGates(await readRegularFile(file, 'The gates'), file);
}

/** @throws InputError naming the part that is wrong */
export function parseModelGates(bytes: Uint8Array, name: string): GatesFile {
  const { version, models, ...own } = mappingIn(bytes, name);
  if (version !== 1) throw new InputError(`"version" in ${name} must be 1.`);
  const all = gatesOf(own, name, '');
  const single = Object.entries(mappingOf(models, name, 'models')).map(
    ([glob, value]) => [glob, gatesOf(mappingOf(value, name, `models: ${glob}`), name, `models: ${glob}: `)] as const,
  );
  return (model) => {
    const path = model.replaceAll('\\', '/').replace(/^\.\//, '');
    const found = [all, ...single.flatMap(([glob, gates]) => (matchesGlob(path, glob) ? [gates] : []))];
    return {
      limits: Object.assign({}, ...found.map(({ limits }) => limits)),
      changes: Object.assign({}, ...found.map(({ changes }) => changes)),
    };
  };
}

/** Parsing takes a thousand times the memory: nobody has that many limits. */
const MAX_BYTES = 2 ** 18;

function mappingIn(bytes: Uint8Array, name: string): Record<string, unknown> {
  if (bytes.length > MAX_BYTES) {
    throw new InputError(`${name} has ${bytes.length} bytes, and at most ${MAX_BYTES} are read: is it the right file?`);
  }
  const text = Buffer.from(bytes).toString('utf8');
  refuseDeepYaml(text, name);
  const document = parseDocument(text, { logLevel: 'error' });
  const problem = document.errors[0];
  if (problem) throw new InputError(`${name} is not valid YAML: ${problem.message.split('\n')[0]}`);
  if (!isMap(document.contents)) throw new InputError(`${name} holds no mapping; begin it with "version: 1".`);
  try {
    return document.toJS() as Record<string, unknown>;
  } catch (cause) {
    throw new InputError(`${name} is no mapping of limits (${messageOf(cause)}).`, { cause });
  }
}

function gatesOf(value: Record<string, unknown>, name: string, where: string): ModelGates {
  const { limits, changes, ...others } = value;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) {
    throw new InputError(`"${where}${unknown}" in ${name} is unknown; use one of: version, limits, changes, models.`);
  }
  return {
    limits: limitsOf(limits, [...VALIDATE_LIMITS, ...COMPARE_LIMITS], name, `${where}limits`),
    changes: limitsOf(changes, CHANGE_LIMITS, name, `${where}changes`),
  };
}

function limitsOf(value: unknown, known: readonly string[], name: string, where: string): ModelLimits {
  const entries = Object.entries(mappingOf(value, name, where)).map(([limit, given]) => {
    if (!known.includes(limit)) {
      throw new InputError(`"${where}: ${limit}" in ${name} is unknown; use one of: ${known.join(', ')}.`);
    }
    return [limit, levelsOf(given, limit, name, `${where}: ${limit}`)] as const;
  });
  return Object.fromEntries(entries);
}

/** `1500`, `{ error: 1500, warn: 1200 }`, or null for no gate. */
function levelsOf(value: unknown, limit: string, name: string, where: string): Levels {
  if (value === null) return { error: null };
  if (typeof value === 'number') return levelsOf({ error: value }, limit, name, where);
  const { error, warn, ...others } = mappingOf(value, name, where);
  const wrong = [error, warn].some((bound) => bound !== undefined && !(Number.isFinite(bound) && Number(bound) >= 0));
  if (wrong || Object.keys(others).length > 0 || (error === undefined && warn === undefined)) {
    throw new InputError(`"${where}" in ${name} must be a number, or { error: number, warn: number }.`);
  }
  const levels = { ...(error === undefined ? {} : { error }), ...(warn === undefined ? {} : { warn }) } as Levels;
  if (levels.error != null && levels.warn !== undefined && beyond(limit, levels.warn, levels.error)) {
    throw new InputError(`"${where}" in ${name} warns at ${warn}, beyond its error ${error}: it would never be heard.`);
  }
  return levels;
}

function mappingOf(value: unknown, name: string, where: string): Record<string, unknown> {
  if (value === undefined || value === null) return {};
  if (typeof value === 'object' && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new InputError(`"${where}" in ${name} must be a mapping.`);
}
