import { appendFile, open, readFile } from 'node:fs/promises';
import path from 'node:path';
import { InputError, messageOf } from '../../errors.ts';
import type { Log } from '../../receipt/index.ts';
import type { ModelIdentity } from '../evidence/models.ts';
import { syncFolder } from '../live/files.ts';
import type { YamlScalar } from '../yaml/scalar.ts';

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

/** A receipt that a promotion leaned on. */
export interface ReceiptMention {
  action: string;
  file: string;
  sha256: string;
  verdict: string;
  createdAt: string;
}

/** One line of `.model-history.jsonl`. */
export interface HistoryEntry {
  schema: 1;
  id: string;
  /** ISO 8601, UTC. */
  at: string;
  /** `revert`: a promotion or rollback that failed and was undone; it changed nothing in the end. */
  action: 'promote' | 'rollback' | 'revert';
  who: string;
  host: string;
  /** Address of the workflow run, where there is one. */
  run?: string;
  reason?: string;
  /** Path of the config. */
  config: string;
  configSha256: { before: string; after: string };
  keys: KeyChange[];
  /** The model that the config names from now on, and the one it named before. */
  model?: ModelIdentity;
  previous?: ModelIdentity;
  receipts: ReceiptMention[];
  /** What `force` overrode. */
  forced?: string[];
  /** The commit that carries the same edit. */
  commit?: string;
  /** Why it was undone, for a revert; which entry it goes back to, for a rollback. */
  failure?: string;
  to?: string;
}

/** Reads the history, oldest first. A last line that a crash cut short is left out, and said. */
export async function readHistory(file: string, log: Log): Promise<HistoryEntry[]> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new InputError(`The history '${file}' cannot be read (${messageOf(cause)}): run as its owner.`, { cause });
  }
  const lines = text.split('\n');
  const entries: HistoryEntry[] = [];
  lines.forEach((line, index) => {
    if (line.trim() === '') return;
    const entry = parseEntry(line);
    if (entry) entries.push(entry);
    else if (index >= lines.length - 2) log.warning(`The last line of ${file} is cut short and is not counted.`);
    else throw new InputError(`Line ${index + 1} of '${file}' is no history entry; restore that line from a backup.`);
  });
  return entries;
}

/** Appends one line and makes it survive a power cut. A line that a crash cut short is closed first. */
export async function appendHistory(file: string, entry: HistoryEntry): Promise<void> {
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return '';
    throw cause;
  });
  const gap = text === '' || text.endsWith('\n') ? '' : '\n';
  await appendFile(file, `${gap}${JSON.stringify(entry)}\n`);
  const handle = await open(file, 'r+');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
  await syncFolder(path.dirname(file));
}

function parseEntry(line: string): HistoryEntry | undefined {
  try {
    const entry = JSON.parse(line) as HistoryEntry;
    const sound = entry.schema === 1 && typeof entry.id === 'string' && Array.isArray(entry.keys);
    return sound ? entry : undefined;
  } catch {
    return undefined; // Judged by the caller, who knows which line it is.
  }
}
