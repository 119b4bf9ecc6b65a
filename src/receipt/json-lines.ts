import { appendFile, open } from 'node:fs/promises';
import path from 'node:path';
import { InputError, messageOf } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';

/** A line of a JSON Lines file. `number` counts from 1. */
export interface JsonLine {
  value: unknown;
  number: number;
}

/**
 * Reads JSON Lines. A line that was being written when the power went (the last one, or one that begins as an object
 * and ends too early) is left out, with a warning.
 * @throws InputError for any other line that is not JSON
 */
export function parseJsonLines(text: string, name: string): { lines: JsonLine[]; warnings: string[] } {
  const lines: JsonLine[] = [];
  const warnings: string[] = [];
  const all = text.split('\n');
  const last = all.findLastIndex((line) => !isEmpty(line));
  all.forEach((line, index) => {
    if (isEmpty(line)) return;
    const value = parse(line);
    if (value !== undefined) lines.push({ value, number: index + 1 });
    else if (index === last || line.startsWith('{')) {
      warnings.push(`Line ${index + 1} of '${name}' is cut short, as a power cut leaves it, and is not counted.`);
    } else {
      throw new InputError(
        `Line ${index + 1} of '${name}' is no JSON; restore that line from a backup, or take it out.`,
      );
    }
  });
  return { lines, warnings };
}

/**
 * Appends a line and makes it survive a power cut. A last line that an earlier one has torn goes to `<file>.torn`.
 * Where the disk is full the file is as it was.
 * @throws InputError where the file cannot be written
 */
export async function appendJsonLine(file: string, value: object): Promise<void> {
  try {
    makeFolder(path.dirname(path.resolve(file)));
    const handle = await open(file, 'a+');
    try {
      const bytes = await handle.readFile();
      const end = bytes.lastIndexOf(0x0a) + 1;
      const rest = bytes.subarray(end).toString('utf8');
      const torn = !isEmpty(rest) && parse(rest) === undefined;
      if (torn) await appendFile(`${file}.torn`, `${rest}\n`);
      const size = torn ? end : bytes.length;
      if (torn) await handle.truncate(size);
      const gap = torn || rest === '' ? '' : '\n';
      try {
        await handle.appendFile(`${gap}${JSON.stringify(value)}\n`);
        await handle.sync();
      } catch (error) {
        await handle.truncate(size).catch(() => undefined);
        throw error;
      }
    } finally {
      await handle.close();
    }
    await syncFolder(path.dirname(path.resolve(file)));
  } catch (cause) {
    throw new InputError(
      `'${file}' cannot be appended to (${messageOf(cause)}): free some space, or run as its owner.`,
      {
        cause,
      },
    );
  }
}

/** Makes a rename or a new name survive a power cut. Windows has no such call for folders. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Whether a parsed JSON value is an object (no list, not null). */
export function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined; // JSON has no undefined, so this is no value of it.
  }
}

/** Blanks, or the zeros that a power cut leaves in a file that was growing. */
function isEmpty(line: string): boolean {
  return line.replaceAll('\0', '').trim() === '';
}
