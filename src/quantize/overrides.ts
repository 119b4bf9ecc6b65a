import { parseDocument } from 'yaml';
import { InputError, messageOf, shown } from '../errors.ts';
import { readRegularFile } from '../read-file.ts';
import { inputName } from '../receipt/index.ts';
import { refuseDeepYaml } from '../yaml.ts';
import type { Override, OverrideOptions, Overrides } from './options.ts';

/** The options that an override may set, with the kind of their values; what a value may be is the method's to say. */
const KINDS = {
  method: 'string',
  bits: 'integer',
  blockSize: 'integer',
  algorithm: 'string',
  weightType: 'string',
  weightSymmetric: 'boolean',
  perChannel: 'boolean',
} as const satisfies Record<keyof OverrideOptions, string>;

const KEYS = Object.keys(KINDS) as (keyof OverrideOptions)[];

/**
 * Reads an overrides file: YAML of names or globs of nodes, each with `keep` or with options under their inputs' names.
 *
 * ```yaml
 * "/encoder/*": { method: weight-only, bits: 4 }
 * /encoder/layer.0/MatMul: { method: weight-only, bits: 8, block-size: 32 }
 * "/head/*": keep
 * ```
 *
 * @throws InputError, one sentence, for a file that cannot be read or says something else.
 */
export async function readOverrides(file: string): Promise<Overrides> {
  return parseOverrides((await readRegularFile(file, 'The overrides')).toString('utf8'), file);
}

/** `readOverrides` for a text; `name` is what errors call it. */
export function parseOverrides(text: string, name: string): Overrides {
  const refuse = (what: string): never => {
    throw new InputError(`The overrides "${name}" ${what}.`);
  };
  refuseDeepYaml(text, `The file of overrides "${name}"`);
  const document = parseDocument(text, { uniqueKeys: true });
  const [error] = document.errors;
  if (error) refuse(`are not YAML, or name a pattern twice: ${error.message.split('\n')[0]}`);
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 0 });
  } catch (cause) {
    refuse(`cannot be read (${messageOf(cause)})`);
  }
  if (!isRecord(value)) return refuse('are no list of names: write `name: keep` or `name: { method: dynamic }`');
  return Object.fromEntries(
    Object.entries(value).map(([pattern, said]) => [
      pattern,
      overrideOf(said, (what) => refuse(`${what} (${pattern})`)),
    ]),
  );
}

/** The text of overrides, for `parseOverrides`. */
export function formatOverrides(overrides: Overrides): string {
  const lines = Object.entries(overrides).map(([pattern, said]) => {
    if (said === 'keep') return `${JSON.stringify(pattern)}: keep`;
    const options = Object.entries(said).filter(([, value]) => value !== undefined);
    return `${JSON.stringify(pattern)}: { ${options.map(([key, value]) => `${inputName(key)}: ${value}`).join(', ')} }`;
  });
  return `${lines.join('\n')}\n`;
}

function overrideOf(said: unknown, refuse: (what: string) => never): Override {
  if (said === 'keep') return 'keep';
  if (!isRecord(said)) return refuse(`say ${shown(said)}, which is neither \`keep\` nor options`);
  const { keep, ...rest } = said;
  if (keep === true && Object.keys(rest).length === 0) return 'keep';
  if (keep !== undefined) return refuse('say `keep` beside other options, or not `true`');
  const options: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(rest)) {
    const option = KEYS.find((each) => inputName(each) === key);
    if (!option) return refuse(`set \`${key}\`, and may set ${KEYS.map(inputName).join(', ')} or \`keep\``);
    if (!isPlain(option, value)) return refuse(`set \`${key}\` to ${shown(value)}`);
    options[option] = value;
  }
  if (Object.keys(options).length === 0) return refuse('say nothing of a pattern');
  return options as OverrideOptions;
}

function isPlain(option: keyof OverrideOptions, value: unknown): boolean {
  const kind = KINDS[option];
  return kind === 'integer' ? Number.isSafeInteger(value) : typeof value === kind;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
