import { appendFile, readFile } from 'node:fs/promises';
import path from 'node:path';
import { InputError, messageOf } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import { median } from '../runtime/index.ts';
import { FIGURES, type FigureName } from './gates.ts';

/** A line of the history: the figures of one run. */
export interface HistoryEntry {
  /** ISO 8601. */
  createdAt: string;
  model: string;
  modelRoot: string;
  referenceRoot: string;
  cpu: string;
  verdict: string;
  figures: Partial<Record<FigureName, number>>;
  referenceP50Ms: number;
  modelP50Ms: number;
  /** Bytes. */
  residentBytes: number;
  size: number;
}

/**
 * Past runs, oldest first; none where the file is not there yet.
 * @throws InputError, naming the line, where one is not what this action writes
 */
export async function readHistory(file: string): Promise<HistoryEntry[]> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new InputError(`history: ${file} cannot be read (${messageOf(error)}); name a JSON Lines file.`);
  }
  return text.split('\n').flatMap((line, index) => (line.trim() === '' ? [] : [parseLine(line, file, index + 1)]));
}

/** Appends one line, making the file and its folder. */
export async function appendHistory(file: string, entry: HistoryEntry): Promise<void> {
  try {
    makeFolder(path.dirname(path.resolve(file)));
    await appendFile(file, `${JSON.stringify(entry)}\n`);
  } catch (error) {
    throw new InputError(`history: ${file} cannot be written (${messageOf(error)}); name a writable file.`);
  }
}

/**
 * Median of each figure over past runs; the speed-up only over those on the same CPU. A figure without any is absent.
 */
export function medianFigures(entries: readonly HistoryEntry[], cpu: string): Partial<Record<FigureName, number>> {
  const medians: Partial<Record<FigureName, number>> = {};
  for (const name of FIGURES) {
    const comparable = name === 'speedup' ? entries.filter((entry) => entry.cpu === cpu) : entries;
    const values = comparable.flatMap(({ figures }) => figures[name] ?? []);
    if (values.length > 0) medians[name] = median(values);
  }
  return medians;
}

function parseLine(line: string, file: string, number: number): HistoryEntry {
  try {
    const entry = JSON.parse(line) as HistoryEntry;
    if (typeof entry.createdAt === 'string' && typeof entry.figures === 'object' && entry.figures) return entry;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new InputError(
    `history: line ${number} of ${file} is no entry of a comparison; remove it or name another file.`,
  );
}
