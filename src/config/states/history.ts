import { InputError, shown } from '../../errors.ts';
import {
  type ActionName,
  isActionName,
  isJsonObject,
  isVerdict,
  parseJsonLines,
  type Verdict,
} from '../../receipt/index.ts';
import type { ModelIdentity } from '../evidence/models.ts';
import type { AppliedEdit } from '../yaml/edit.ts';
import { isYamlScalar, type YamlScalar } from '../yaml/scalar.ts';

/** A key's change. An absent `from` or `to` means that the key was not, or is no longer, there. */
export interface KeyChange {
  /** Full dotted path. */
  key: string;
  from?: YamlScalar;
  to?: YamlScalar;
  /** Trailing comment before and after, where it was replaced. */
  commentFrom?: string;
  commentTo?: string;
}

/** What a key held. An absent `value` means that the key was not there. */
export interface KeyValue {
  /** Full dotted path. */
  key: string;
  value?: YamlScalar;
}

/** A receipt that a promotion leaned on. */
export interface ReceiptMention {
  action: ActionName;
  file: string;
  sha256: string;
  verdict: Verdict;
  createdAt: string;
}

/**
 * What happened. `promote` puts a model live, `rollback` returns to an earlier state, `revert` undoes a promotion that
 * was not proved, `proof` says what the service answered about the live state. Changes by hand have no entry: the next
 * one tells of them by what it found (`previous`, `left`).
 */
export type EntryAction = 'promote' | 'rollback' | 'revert' | 'proof';

/** One line of `.model-history.jsonl`. What the later fields hold is absent from entries of 0.1.0. */
export interface HistoryEntry {
  schema: 1;
  /** A revert has the id of what it undid. An id that comes again counts once. */
  id: string;
  /** ISO 8601, UTC. For people: nothing is decided by it. */
  at: string;
  action: EntryAction;
  who: string;
  host: string;
  /** Address of the workflow run, where there is one. */
  run?: string;
  reason?: string;
  /** Path of the config, links followed. */
  config: string;
  configSha256: { before: string; after: string };
  keys: KeyChange[];
  /** The model that the config names from now on, and the one it named before. */
  model?: ModelIdentity;
  previous?: ModelIdentity;
  receipts: ReceiptMention[];
  /** What `force` overrode. */
  forced?: string[];
  /** Verdicts that were inconclusive and let through by `allow-inconclusive`. */
  inconclusive?: string[];
  /** The commit that carries the same edit. */
  commit?: string;
  /** Why it was undone, for a revert; what was not proved, for a proof that failed. */
  failure?: string;
  /** The entry that a rollback went back to, as it was asked for. */
  to?: string;

  /** The list of states that the entry belongs to: the config's path from the history's folder, and the resolved key. */
  list?: { config: string; key: string };
  /** The keys that promotions set, as they stood just before. */
  left?: KeyValue[];
  /** The state that is live from now on, where it is not a new one. */
  target?: string;
  /** For a promotion of other bytes under the live path: the state that was announced as the way back from it. */
  back?: string;
  /** For a rollback to a model that no state holds: its state takes the place of the live one. */
  replaces?: true;
  /** Whether the service was healthy on what is live now; absent where it was not asked. */
  proved?: boolean;
  /** How long health took, ms. */
  healthMs?: number;
}

/** A history's text: its entries, oldest first, and what was set aside. */
export interface ParsedHistory {
  entries: HistoryEntry[];
  /** One sentence each. */
  warnings: string[];
}

/**
 * Reads the text of a history. A line that a power cut has torn is left out, with a warning.
 * @throws InputError naming a line that is no entry
 */
export function parseHistory(text: string, name: string): ParsedHistory {
  const { lines, warnings } = parseJsonLines(text, name);
  const entries = lines.map(({ value, number }) => {
    const problem = entryProblem(value);
    if (problem === undefined) return value as HistoryEntry;
    throw new InputError(
      `Line ${number} of '${name}' is no history entry (${problem}); restore that line from a backup, or take it out.`,
    );
  });
  return { entries, warnings };
}

/** An edit as the history keeps it; none where it changed nothing. */
export function keyChangeOf(edit: AppliedEdit): KeyChange[] {
  if (edit.kind === 'unchanged') return [];
  const comment = edit.staleComment;
  return [
    {
      key: edit.path,
      ...(edit.before === undefined ? {} : { from: edit.before }),
      ...(edit.after === undefined ? {} : { to: edit.after }),
      ...(comment?.replaced ? { commentFrom: comment.text, commentTo: comment.replacement ?? '' } : {}),
    },
  ];
}

const ACTIONS: readonly unknown[] = ['promote', 'rollback', 'revert', 'proof'];

/** The first thing that makes `value` no history entry, as half a sentence; undefined where it is one. */
export function entryProblem(value: unknown): string | undefined {
  if (!isJsonObject(value)) return 'it is no object';
  if (value.schema !== 1) return `its schema is ${shown(value.schema)}, and this version reads 1`;
  for (const field of ['id', 'at', 'who', 'host', 'config'] as const) {
    if (!isText(value[field])) return `its '${field}' is ${shown(value[field])}, no text`;
  }
  if (!ACTIONS.includes(value.action)) return `its 'action' is ${shown(value.action)}`;
  for (const field of ['run', 'reason', 'commit', 'failure', 'to', 'target', 'back'] as const) {
    if (value[field] !== undefined && typeof value[field] !== 'string') return `its '${field}' is no text`;
  }
  const digests = value.configSha256;
  if (!isJsonObject(digests) || !isText(digests.before) || !isText(digests.after)) {
    return "its 'configSha256' holds no two digests";
  }
  if (!Array.isArray(value.keys) || !value.keys.every(isKeyChange)) return "its 'keys' are no list of changes";
  if (value.left !== undefined && !(Array.isArray(value.left) && value.left.every(isKeyValue))) {
    return "its 'left' is no list of values";
  }
  if (!isIdentity(value.model)) return "its 'model' is no model";
  if (!isIdentity(value.previous)) return "its 'previous' is no model";
  if (!Array.isArray(value.receipts) || !value.receipts.every(isMention))
    return "its 'receipts' are no list of receipts";
  for (const field of ['forced', 'inconclusive'] as const) {
    if (!isTexts(value[field])) return `its '${field}' is no list of texts`;
  }
  const { list, proved, healthMs, replaces } = value;
  if (list !== undefined && !(isJsonObject(list) && isText(list.config) && isText(list.key))) {
    return "its 'list' names no config and key";
  }
  if (proved !== undefined && typeof proved !== 'boolean') return "its 'proved' is not true or false";
  if (replaces !== undefined && replaces !== true) return "its 'replaces' is not true";
  if (healthMs !== undefined && !isCount(healthMs)) return "its 'healthMs' is no number";
  return undefined;
}

function isKeyChange(value: unknown): boolean {
  if (!isJsonObject(value) || !isText(value.key)) return false;
  const comments = [value.commentFrom, value.commentTo];
  return isOptionalScalar(value.from) && isOptionalScalar(value.to) && comments.every(isOptionalText);
}

function isKeyValue(value: unknown): boolean {
  return isJsonObject(value) && isText(value.key) && isOptionalScalar(value.value);
}

function isIdentity(value: unknown): boolean {
  if (value === undefined) return true;
  if (!isJsonObject(value) || !isText(value.path) || !isOptionalText(value.root)) return false;
  return (
    Array.isArray(value.files) &&
    value.files.every(
      (file) =>
        isJsonObject(file) &&
        isText(file.path) &&
        isCount(file.size) &&
        isJsonObject(file.chunks) &&
        Object.entries(file.chunks).every(([index, digest]) => /^\d{1,9}$/.test(index) && typeof digest === 'string'),
    )
  );
}

function isMention(value: unknown): boolean {
  if (!isJsonObject(value) || !isActionName(value.action) || !isVerdict(value.verdict)) return false;
  return isText(value.file) && isText(value.sha256) && isText(value.createdAt);
}

function isTexts(value: unknown): boolean {
  return value === undefined || (Array.isArray(value) && value.every((each) => typeof each === 'string'));
}

function isOptionalScalar(value: unknown): boolean {
  return value === undefined || isYamlScalar(value);
}

function isOptionalText(value: unknown): boolean {
  return value === undefined || typeof value === 'string';
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

function isCount(value: unknown): boolean {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}
