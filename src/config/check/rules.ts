import { isMap, parseDocument } from 'yaml';
import { InputError, messageOf } from '../../errors.ts';
import { refuseDeepYaml } from '../../yaml.ts';
import { decodeYaml } from '../yaml/parse.ts';

/** A part of the service that takes memory. */
export interface Component {
  name: string;
  /** Section of the config that holds its `model_path` and `max_memory_mb`. */
  key?: string;
  /** Fixed memory, MB, for what the config does not name. */
  mb?: number;
}

/** `config/model-budget.yaml`; the example's file says what each part means. */
export interface BudgetRules {
  /** Key of the config that holds the limit, GB. */
  limit?: string;
  hostRamGb?: number;
  permanent: Component[];
  onDemand: Component[];
  /** Globs of model paths that are fetched on first use. */
  downloads: string[];
  knownKeys: string[];
}

export const NO_RULES: BudgetRules = { permanent: [], onDemand: [], downloads: [], knownKeys: [] };

const PARTS = ['version', 'limit', 'host-ram-gb', 'permanent', 'on-demand', 'downloads', 'known-keys'];

/** Reads the budget rules. @throws InputError naming the part that is wrong. */
export function parseRules(bytes: Uint8Array, name: string): BudgetRules {
  const text = decodeYaml(bytes, name);
  refuseDeepYaml(text, `'${name}'`);
  const document = parseDocument(text, { logLevel: 'error' });
  const problem = document.errors[0];
  if (problem) throw new InputError(`${name} is not valid YAML: ${problem.message.split('\n')[0]}`);
  if (!isMap(document.contents)) throw new InputError(`${name} holds no mapping; see the example's model-budget.yaml.`);
  let rules: Record<string, unknown>;
  try {
    rules = document.toJS() as Record<string, unknown>;
  } catch (cause) {
    // Aliases that lead nowhere, or multiply.
    throw new InputError(`${name} cannot be read (${messageOf(cause)}); mend it first.`, { cause });
  }
  const fail = (part: string, wanted: string): never => {
    throw new InputError(`'${part}' in ${name} must be ${wanted}; see the example's model-budget.yaml.`);
  };
  const unknown = Object.keys(rules).find((part) => !PARTS.includes(part));
  if (unknown !== undefined) fail(unknown, `one of ${PARTS.join(', ')}`);
  if (rules.version !== 1) fail('version', '1');
  const texts = (part: string): string[] => {
    const value = rules[part] ?? [];
    if (!Array.isArray(value) || !value.every((each) => typeof each === 'string')) return fail(part, 'a list of texts');
    return value;
  };
  const components = (part: string): Component[] => {
    const value = rules[part] ?? [];
    if (!Array.isArray(value)) return fail(part, 'a list of components');
    return value.map((each: unknown) => {
      const { name: title, key, mb } = (each ?? {}) as Record<string, unknown>;
      const named = typeof title === 'string' && (typeof key === 'string' || key === undefined);
      const sized = mb === undefined || (typeof mb === 'number' && mb >= 0);
      if (!named || !sized || (key === undefined && mb === undefined)) {
        return fail(part, 'a list of { name, key } or { name, mb }');
      }
      return { name: title, ...(key === undefined ? {} : { key }), ...(mb === undefined ? {} : { mb: mb as number }) };
    });
  };
  if (rules.limit !== undefined && typeof rules.limit !== 'string') fail('limit', 'a key of the config');
  const host = rules['host-ram-gb'];
  if (host !== undefined && (typeof host !== 'number' || host <= 0)) fail('host-ram-gb', 'a number of GB');
  return {
    ...(typeof rules.limit === 'string' ? { limit: rules.limit } : {}),
    ...(typeof host === 'number' ? { hostRamGb: host } : {}),
    permanent: components('permanent'),
    onDemand: components('on-demand'),
    downloads: texts('downloads'),
    knownKeys: texts('known-keys'),
  };
}
