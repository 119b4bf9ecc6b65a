import { createHash } from 'node:crypto';
import { InputError, messageOf } from '../errors.ts';
import { VERSION } from '../version.generated.ts';
import type { CommonSettings } from './options.ts';

/**
 * What a method decided after measuring, and a later run with the same key may take over instead of measuring again.
 * Never a model: weights are always written anew from the source, so that a forged entry can only decide badly, which
 * the gates of compare see.
 */
export interface Decisions {
  /** Ranges of activations by tensor name (method `static`), in the tensor's own unit. */
  ranges: ReadonlyMap<string, { low: number; high: number }>;
  /** What is done with nodes by name (method `auto`), in order. */
  overrides: readonly NodeOverride[];
}

/** One node's treatment where it is not the method's own. */
export interface NodeOverride {
  node: string;
  /** A method of quantizing, or `keep` for leaving the node as it is. */
  method: 'dynamic' | 'static' | 'weight-only' | 'fp16' | 'keep';
  bits: 4 | 8 | 16 | null;
}

/** What decisions depend on besides the settings. */
export interface DecisionInputs {
  /** Root of the source model. */
  root: string;
  /** SHA-256 over the samples, where the method looks at samples. */
  samples?: string;
  /** Version of the runtime that ran the model, where one did. */
  runtime?: string;
}

/** Where a host keeps texts between runs, by key. A service that fails has said so in the log and is as good as empty. */
export interface DecisionStore {
  get(key: string): Promise<Uint8Array | undefined>;
  put(key: string, text: string): Promise<void>;
}

/**
 * Settings that no decision depends on: where things lie, how many threads work, what is written down. Every other
 * setting, of today and of a later version, is part of the key.
 */
const NOT_DECIDING: readonly (keyof CommonSettings)[] = [
  'model',
  'output',
  'reportDirectory',
  'threads',
  'sourceDigest',
  'dryRun',
];

/** A file of decisions is refused beyond this, before it is parsed. Bytes. */
export const MAX_DECISIONS_BYTES = 16 * 2 ** 20;
const SCHEMA = 1;
const METHODS: readonly string[] = ['dynamic', 'static', 'weight-only', 'fp16', 'keep'];
const BITS: readonly unknown[] = [4, 8, 16, null];

/** SHA-256 (hex) of all that decisions depend on, this tool's version included. */
export function decisionKey(settings: CommonSettings, inputs: DecisionInputs): string {
  const deciding = Object.entries(settings).filter(([name]) => !(NOT_DECIDING as readonly string[]).includes(name));
  const identity = { version: VERSION, settings: Object.fromEntries(deciding), ...inputs };
  return createHash('sha256').update(canonical(identity)).digest('hex');
}

/** The text of decisions, for `parseDecisions`. */
export function formatDecisions({ ranges, overrides }: Decisions, key: string): string {
  const list = [...ranges].map(([tensor, { low, high }]) => [tensor, low, high]);
  const nodes = overrides.map(({ node, method, bits }) => [node, method, bits]);
  return `${JSON.stringify({ schema: SCHEMA, key, ranges: list, overrides: nodes })}\n`;
}

/**
 * Reads decisions that `formatDecisions` wrote under the same key. Whoever can write to the cache may have written
 * this: every field is checked, and there is none besides.
 * @throws InputError with the first thing that is wrong.
 */
export function parseDecisions(bytes: Uint8Array, key: string): Decisions {
  const refuse = (what: string): never => {
    throw new InputError(`The decisions in the cache ${what}: delete that cache entry; they are made anew.`);
  };
  if (bytes.length > MAX_DECISIONS_BYTES) refuse(`have ${bytes.length} bytes, more than ${MAX_DECISIONS_BYTES}`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    refuse(`are not JSON (${messageOf(error)})`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return refuse('are no JSON object');
  const { schema, key: found, ranges, overrides, ...others } = value as Record<string, unknown>;
  if (schema !== SCHEMA) refuse('are of another schema');
  if (found !== key) refuse('were made for other settings');
  if (Object.keys(others).length > 0) refuse('hold more than decisions');
  if (!Array.isArray(ranges) || !Array.isArray(overrides)) return refuse('lack ranges or overrides');
  const read = new Map<string, { low: number; high: number }>();
  for (const [index, entry] of ranges.entries()) {
    if (!isRange(entry) || read.has(entry[0])) return refuse(`have no range as entry ${index}`);
    read.set(entry[0], { low: entry[1], high: entry[2] });
  }
  return {
    ranges: read,
    overrides: overrides.map((entry, index) => {
      if (!isOverride(entry)) return refuse(`have no override as entry ${index}`);
      return { node: entry[0], method: entry[1], bits: entry[2] };
    }),
  };
}

function isRange(entry: unknown): entry is [string, number, number] {
  if (!Array.isArray(entry) || entry.length !== 3) return false;
  const [tensor, low, high] = entry as unknown[];
  return typeof tensor === 'string' && tensor !== '' && isNumber(low) && isNumber(high) && low <= high;
}

function isOverride(entry: unknown): entry is [string, NodeOverride['method'], NodeOverride['bits']] {
  if (!Array.isArray(entry) || entry.length !== 3) return false;
  const [node, method, bits] = entry as unknown[];
  return typeof node === 'string' && node !== '' && METHODS.includes(method as string) && BITS.includes(bits);
}

function isNumber(value: unknown): value is number {
  return Number.isFinite(value);
}

/** JSON whose objects have their keys sorted, so that the order in which settings are put together does not count. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each,
  );
}
