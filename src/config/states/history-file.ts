import { readRegularFileIfThere } from '../../read-file.ts';
import { appendJsonLine, type Log } from '../../receipt/index.ts';
import { type HistoryEntry, parseHistory } from './history.ts';

/**
 * Reads a history, oldest entry first. 0.1.0 kept it beside the real file behind a link: what lies there comes first.
 * @param earlier where 0.1.0 kept it, if that is another place
 */
export async function readHistory(file: string, log: Log, earlier?: string): Promise<HistoryEntry[]> {
  const old = earlier === undefined ? [] : (await read(earlier, log)).filter(({ list }) => list === undefined);
  return [...old, ...(await read(file, log))];
}

/** Appends one line and makes it survive a power cut. A line that a power cut has torn is set aside first. */
export async function appendHistory(file: string, entry: HistoryEntry): Promise<void> {
  await appendJsonLine(file, entry);
}

/** A promotion takes a few kB. */
const MOST_BYTES = 256 * 2 ** 20;

async function read(file: string, log: Log): Promise<HistoryEntry[]> {
  const bytes = await readRegularFileIfThere(file, 'The history', MOST_BYTES);
  if (bytes === undefined) return [];
  const { entries, warnings } = parseHistory(bytes.toString('utf8'), file);
  for (const warning of warnings) log.warning(warning);
  return entries;
}
