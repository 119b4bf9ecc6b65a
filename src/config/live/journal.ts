import { chmod, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { InputError, messageOf } from '../../errors.ts';
import { makeFolder } from '../../make-folder.ts';
import { readRegularFileIfThere } from '../../read-file.ts';
import { isJsonObject, syncFolder } from '../../receipt/index.ts';
import { entryProblem, type HistoryEntry, type KeyChange } from '../states/history.ts';
import type { KeyEdit } from '../yaml/edit.ts';
import { isYamlScalar } from '../yaml/scalar.ts';
import { type FileRights, type LiveConfig, sha256, writeAside } from './files.ts';

/**
 * What is on disk of a change that is under way: all that the next run needs to finish it or to undo it, whatever
 * becomes of the backups. Readable by its owner only, since a config may hold secrets.
 */
export interface Journal {
  /**
   * `prepared`: the new bytes may be in place. `proved`: healthy, not recorded yet. `reverting`: on the way back. A
   * rollback is never more than `prepared`: once written it stands.
   */
  state: 'prepared' | 'proved' | 'reverting';
  /** SHA-256 of the config's bytes before and after the change. */
  before: string;
  after: string;
  entry: HistoryEntry;
  /** The way back; a rollback has none. */
  back?: WayBack;
}

/** How an unproved promotion is undone. */
export interface WayBack {
  /** The config's bytes then; absent in a journal of 0.1.0. */
  bytes?: Buffer;
  /** A file that holds the same bytes, on the config's disk: it is renamed back, which takes no space. */
  backup: string;
  /** Mode of the config, where known. */
  mode?: number;
  /** The same as edits, for a config that somebody has edited since. */
  edits: KeyEdit[];
  /** The state that it leads to, where that is not the one that was live. */
  target?: string;
}

const KEPT_BACKUPS = 10;

/** @throws InputError where it cannot be written; the old one is still there then */
export async function writeJournal(live: LiveConfig, journal: Journal): Promise<void> {
  const file = journalOf(live);
  const draft = `${file}.draft`;
  const { back, ...rest } = journal;
  const text = JSON.stringify({
    schema: 2,
    ...rest,
    ...(back ? { back: { ...back, bytes: back.bytes?.toString('base64') } } : {}),
  });
  try {
    await rm(draft, { force: true });
    await writeFile(draft, text, { mode: 0o600, flush: true });
    await rename(draft, file);
    await syncFolder(live.state);
  } catch (cause) {
    await rm(draft, { force: true }).catch(() => undefined);
    throw new InputError(`The journal '${file}' cannot be written (${messageOf(cause)}): free some space.`, { cause });
  }
}

export async function removeJournal(live: LiveConfig): Promise<void> {
  await rm(journalOf(live), { force: true });
  await removeDrafts(live);
  await syncFolder(live.state);
}

/** What a run that was killed while it wrote has left; we hold the lock, so nobody writes it now. */
export async function removeDrafts(live: LiveConfig): Promise<void> {
  await rm(`${journalOf(live)}.draft`, { force: true });
  await rm(draftOf(live), { force: true });
}

export async function readJournal(live: LiveConfig): Promise<Journal | undefined> {
  const file = journalOf(live);
  const bytes = await readRegularFileIfThere(file, 'The journal');
  return bytes && parseJournal(bytes.toString('utf8'), file);
}

/** Reads the text of a journal, 0.1.0's too. @throws InputError in one sentence where it is none */
export function parseJournal(text: string, name: string): Journal {
  const refuse = (why: string): never => {
    throw new InputError(
      `'${name}' is no journal (${why}): compare the config with the newest file in backups/ beside the journal, then delete the journal.`,
    );
  };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return refuse('it is no JSON');
  }
  if (!isJsonObject(value)) return refuse('it is no object');
  const { schema, state, before, after, entry, back, backup } = value;
  if (schema !== 1 && schema !== 2) return refuse('its schema is neither 1 nor 2');
  if (state !== 'prepared' && state !== 'proved' && state !== 'reverting') return refuse("its 'state' is unknown");
  if (typeof before !== 'string' || typeof after !== 'string') return refuse("its 'before' and 'after' are no digests");
  const problem = entryProblem(entry);
  if (problem !== undefined) return refuse(`its entry: ${problem}`);
  const known = { state, before, after, entry: entry as unknown as HistoryEntry } as const;
  if (schema === 1) {
    if (typeof backup !== 'string') return refuse("its 'backup' is no path");
    return { ...known, back: { backup, edits: undoEdits(known.entry.keys) } };
  }
  if (back === undefined) return known;
  return isWayBack(back) ? { ...known, back: wayBackOf(back) } : refuse("its 'back' is no way back");
}

/** Puts a copy of the bytes that the way back needs where a rename can bring it back; nothing else is needed then. */
export async function backUp(live: LiveConfig, bytes: Uint8Array, rights: FileRights, id: string): Promise<string> {
  const folder = path.join(live.state, 'backups');
  const file = path.join(folder, `${id}-${path.basename(live.file)}`);
  try {
    makeFolder(folder);
    await writeAside(file, bytes, rights, 0o600);
    await syncFolder(folder);
  } catch (cause) {
    throw new InputError(
      `The backup '${file}' cannot be written (${messageOf(cause)}), so nothing was changed: free some space, or run as the config's owner.`,
      { cause },
    );
  }
  return file;
}

/**
 * Keeps the last backups by the position of their entries in the history, and `needed` whatever it is called: clocks may
 * be wrong. What cannot be removed stays.
 */
export async function pruneBackups(live: LiveConfig, history: readonly HistoryEntry[], needed: string): Promise<void> {
  const folder = path.join(live.state, 'backups');
  const suffix = `-${path.basename(live.file)}`;
  const position = new Map(history.map(({ id }, index) => [`${id}${suffix}`, index]));
  const names = (await readdir(folder).catch(() => [])).filter(
    (name) => name.endsWith(suffix) && name !== path.basename(needed),
  );
  const old = names.toSorted((a, b) => (position.get(a) ?? -1) - (position.get(b) ?? -1) || (a < b ? -1 : 1));
  for (const name of old.slice(0, Math.max(0, old.length - (KEPT_BACKUPS - 1)))) {
    await rm(path.join(folder, name), { force: true }).catch(() => undefined);
  }
}

/** Renames the backup to be the config again. False where it is gone or holds something else. */
export async function renameBack(live: LiveConfig, { backup, bytes, mode }: WayBack): Promise<boolean> {
  try {
    if (mode === undefined || bytes === undefined || sha256(await readFile(backup)) !== sha256(bytes)) return false;
    await chmod(backup, mode);
    await rename(backup, live.file);
  } catch {
    return false; // The journal holds the bytes too.
  }
  await syncFolder(path.dirname(live.file));
  return true;
}

/** The draft has one name, so that a killed run leaves nothing that adds up. */
export function draftOf(live: LiveConfig): string {
  return path.join(live.state, `draft-${path.basename(live.file)}`);
}

/** Returns keys to what they were. */
export function undoEdits(keys: readonly KeyChange[]): KeyEdit[] {
  return keys.map(({ key, from, commentFrom, commentTo }) => ({
    key,
    value: from,
    ...(commentFrom === undefined || commentTo === undefined ? {} : { comment: { from: commentTo, to: commentFrom } }),
  }));
}

interface SavedWayBack {
  bytes: string;
  backup: string;
  mode: number;
  edits: KeyEdit[];
  target?: string;
}

function isWayBack(value: unknown): value is SavedWayBack {
  if (!isJsonObject(value)) return false;
  const { bytes, backup, mode, edits, target } = value;
  const texts = typeof bytes === 'string' && typeof backup === 'string';
  return texts && Number.isInteger(mode) && isOptionalText(target) && Array.isArray(edits) && edits.every(isEdit);
}

function isEdit(value: unknown): boolean {
  if (!isJsonObject(value) || typeof value.key !== 'string') return false;
  if (value.value !== undefined && !isYamlScalar(value.value)) return false;
  const { comment } = value;
  return (
    comment === undefined ||
    (isJsonObject(comment) && typeof comment.from === 'string' && typeof comment.to === 'string')
  );
}

function isOptionalText(value: unknown): boolean {
  return value === undefined || typeof value === 'string';
}

function wayBackOf({ bytes, edits, ...rest }: SavedWayBack): WayBack {
  // JSON has no undefined: an edit without a value removes its key.
  return { ...rest, bytes: Buffer.from(bytes, 'base64'), edits: edits.map((edit) => ({ ...edit, value: edit.value })) };
}

function journalOf(live: LiveConfig): string {
  return path.join(live.state, `journal-${path.basename(live.file)}.json`);
}
