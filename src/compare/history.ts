import { InputError } from '../errors.ts';
import { readRegularFileIfThere } from '../read-file.ts';
import { appendJsonLine, isJsonObject, type Log, parseJsonLines, silentLog } from '../receipt/index.ts';
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
  /** A figure was worse than past runs allow: this run is no measure for later ones. */
  regressed?: boolean;
  figures: Partial<Record<FigureName, number>>;
  referenceP50Ms: number;
  modelP50Ms: number;
  /** Bytes. */
  residentBytes: number;
  size: number;
}

/** Ten thousand runs have some 6 MB. */
const MAX_HISTORY_BYTES = 64 * 2 ** 20;

/**
 * Past runs, oldest first; none where the file is not there yet. A line that a power cut has torn is left out, and said.
 * @throws InputError, naming the line, where one is not what this action writes
 */
export async function readHistory(file: string, log: Log = silentLog): Promise<HistoryEntry[]> {
  const bytes = await readRegularFileIfThere(file, 'history:', MAX_HISTORY_BYTES);
  const { lines, warnings } = parseJsonLines(bytes?.toString('utf8') ?? '', file);
  for (const warning of warnings) log.warning(warning);
  return lines.map(({ value, number }) => {
    const problem = problemOf(value);
    if (problem === undefined) return value as HistoryEntry;
    throw new InputError(
      `history: line ${number} of ${file} is no entry of a comparison (${problem}); remove it or name another file.`,
    );
  });
}

/** Appends one line, making the file and its folder. @throws InputError where it cannot be written */
export async function appendHistory(file: string, entry: HistoryEntry): Promise<void> {
  await appendJsonLine(file, entry);
}

/**
 * Median of each figure over past runs, those left out that had got worse themselves: they would move what they were held
 * to. The speed-up counts only on the same CPU. A figure without any is absent.
 */
export function medianFigures(entries: readonly HistoryEntry[], cpu: string): Partial<Record<FigureName, number>> {
  const medians: Partial<Record<FigureName, number>> = {};
  for (const name of FIGURES) {
    const sound = entries.filter(({ regressed }) => regressed !== true);
    const comparable = name === 'speedup' ? sound.filter((entry) => entry.cpu === cpu) : sound;
    const values = comparable.flatMap(({ figures }) => figures[name] ?? []);
    if (values.length > 0) medians[name] = median(values);
  }
  return medians;
}

/** The first thing that makes `value` no entry. Entries hold what they held when they were written, so more is fine. */
function problemOf(value: unknown): string | undefined {
  if (!isJsonObject(value)) return 'it is no object';
  for (const key of ['createdAt', 'model', 'modelRoot', 'referenceRoot', 'cpu', 'verdict']) {
    if (typeof value[key] !== 'string') return `its ${key} is no text`;
  }
  for (const key of ['referenceP50Ms', 'modelP50Ms', 'residentBytes', 'size']) {
    if (typeof value[key] !== 'number') return `its ${key} is no number`;
  }
  if (value.regressed !== undefined && typeof value.regressed !== 'boolean') return 'its regressed is no true or false';
  const { figures } = value;
  if (!isJsonObject(figures)) return 'its figures are no object';
  const odd = Object.entries(figures).find(([, figure]) => typeof figure !== 'number');
  return odd && `its figure ${odd[0]} is no number`;
}
