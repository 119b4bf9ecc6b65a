import { createHash } from 'node:crypto';
import { InputError, messageOf } from '../errors.ts';
import { VERSION } from '../version.generated.ts';

/** What decisions depend on besides the settings. */
export interface DecisionInputs {
  /** Root of the source model. */
  root: string;
  /** SHA-256 over the samples, where the method looks at samples. */
  samples?: string;
  /** Version of the runtime that ran the model, where one did. */
  runtime?: string;
}

/**
 * Where a host keeps what a method measured, by key, so that a later run need not measure again. A service that fails has
 * said so in the log and is as good as empty. Never a model: weights are always written anew from the source, so that a
 * forged entry can only decide badly, which the gates of compare see.
 */
export interface DecisionStore {
  get(key: string): Promise<Uint8Array | undefined>;
  put(key: string, text: string): Promise<void>;
}

/**
 * What runs of one process share: what a method measured, by a key of the model, the samples and all else that it depends
 * on. Whoever makes many models of one gives each run the same, a new Map at first.
 */
export type Shared = Map<string, object>;

/**
 * Settings that no decision depends on: where things lie (samples count by what is in them), how many threads work, what
 * is written down. Every other setting, of today and of a later version, is part of the key.
 */
const NOT_DECIDING: readonly string[] = [
  'model',
  'output',
  'reportDirectory',
  'threads',
  'sourceDigest',
  'dryRun',
  'calibrationData',
];

/** A file of decisions is refused beyond this, before it is parsed. Bytes. */
export const MAX_DECISIONS_BYTES = 16 * 2 ** 20;
const SCHEMA = 2;

/** SHA-256 (hex) of all that decisions depend on, this tool's version included. */
export function decisionKey(settings: object, inputs: DecisionInputs): string {
  const deciding = Object.entries(settings).filter(([name]) => !NOT_DECIDING.includes(name));
  const identity = { version: VERSION, settings: Object.fromEntries(deciding), ...inputs };
  return createHash('sha256').update(canonical(identity)).digest('hex');
}

/** The text of decisions, for `parseDecisions`. */
export function formatDecisions(lists: Record<string, readonly unknown[]>, key: string): string {
  return `${JSON.stringify({ schema: SCHEMA, key, ...lists })}\n`;
}

/**
 * Reads the lists `names` that `formatDecisions` wrote under the same key. Whoever can write to the cache may have written
 * this: there is nothing besides these lists, and what they hold is for the caller to check.
 * @throws InputError with the first thing that is wrong.
 */
export function parseDecisions<Name extends string>(
  bytes: Uint8Array,
  key: string,
  names: readonly Name[],
): Record<Name, unknown[]> {
  if (bytes.length > MAX_DECISIONS_BYTES) refuse(`have ${bytes.length} bytes, more than ${MAX_DECISIONS_BYTES}`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    refuse(`are not JSON (${messageOf(error)})`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return refuse('are no JSON object');
  const { schema, key: found, ...lists } = value as Record<string, unknown>;
  if (schema !== SCHEMA) refuse('are of another schema');
  if (found !== key) refuse('were made for other settings');
  const known: readonly string[] = names;
  if (Object.keys(lists).some((name) => !known.includes(name))) refuse('hold more than decisions');
  for (const name of names) if (!Array.isArray(lists[name])) refuse(`lack ${name}`);
  return lists as Record<Name, unknown[]>;
}

/** @throws InputError with what is wrong about the decisions in the cache */
export function refuse(what: string): never {
  throw new InputError(`The decisions in the cache ${what}: delete that cache entry; they are made anew.`);
}

/** JSON whose objects have their keys sorted, so that the order in which settings are put together does not count. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each,
  );
}
