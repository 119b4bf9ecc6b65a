import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseJournal } from '../../src/config/live/journal.ts';
import { type HistoryEntry, parseHistory } from '../../src/config/states/history.ts';
import { appendHistory, readHistory } from '../../src/config/states/history-file.ts';
import { foldStates } from '../../src/config/states/states.ts';
import { InputError } from '../../src/errors.ts';
import { splitCommand } from '../../src/program.ts';
import { remember } from './support/site.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'history-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const entry = (id: string, more: Partial<HistoryEntry> = {}): HistoryEntry => ({
  schema: 1,
  id,
  at: '2026-01-01T00:00:00.000Z',
  action: 'promote',
  who: 'lucia',
  host: 'agi1',
  config: '/opt/sarai/config/sarai.yaml',
  configSha256: { before: 'b', after: 'a' },
  keys: [{ key: 'a.model_path', from: 'old.onnx', to: 'new.onnx' }],
  model: { path: 'new.onnx', files: [{ path: 'new.onnx', size: 3, chunks: { 0: 'ab' } }] },
  receipts: [],
  ...more,
});
const line = (id: string) => JSON.stringify(entry(id));

describe('the history', () => {
  it('sets aside a line that a power cut has torn, with a warning, and appends a whole one', async () => {
    const file = path.join(folder, 'history.jsonl');
    for (const torn of [line('b').slice(0, 40), `${'\0'.repeat(500)}`, `${line('b').slice(0, 9)}\0\0\0`]) {
      await writeFile(file, `${line('a')}\n${torn}`);
      const context = remember();
      expect((await readHistory(file, context.log)).map(({ id }) => id)).toEqual(['a']);
      if (torn.startsWith('{')) expect(context.lines.join()).toMatch(/Line 2 of .* is cut short/);
      await appendHistory(file, entry('c'));
      const after = remember();
      expect((await readHistory(file, after.log)).map(({ id }) => id)).toEqual(['a', 'c']);
      expect(after.lines).toEqual([]);
      if (torn.startsWith('{')) expect(await readFile(`${file}.torn`, 'utf8')).toContain(torn);
      await rm(`${file}.torn`, { force: true });
    }
  });

  it('reads on over a torn line that 0.1.0 closed and wrote behind', async () => {
    const file = path.join(folder, 'history.jsonl');
    await writeFile(file, `${line('a')}\n${line('b').slice(0, 50)}\n${line('c')}\n`);
    const context = remember();
    expect((await readHistory(file, context.log)).map(({ id }) => id)).toEqual(['a', 'c']);
    expect(context.lines.join()).toMatch(/Line 2/);
  });

  it('counts a whole last line without a line end, and closes it', async () => {
    const file = path.join(folder, 'history.jsonl');
    await writeFile(file, line('a'));
    await appendHistory(file, entry('b'));
    expect(await readFile(file, 'utf8')).toBe(`${line('a')}\n${line('b')}\n`);
  });

  it.each([
    ['garbage', 'garbage', /Line 1 of .* is no JSON/],
    ['another schema', JSON.stringify({ ...entry('a'), schema: 2 }), /its schema is 2/],
    ['no keys', JSON.stringify({ ...entry('a'), keys: undefined }), /its 'keys'/],
    ['keys of a wrong type', JSON.stringify({ ...entry('a'), keys: [{ key: 1 }] }), /its 'keys'/],
    ['a model without files', JSON.stringify({ ...entry('a'), model: { path: 'x' } }), /its 'model'/],
    [
      'chunks that are none',
      JSON.stringify({ ...entry('a'), model: { path: 'x', files: [{ path: 'x', size: 1, chunks: { a: 1 } }] } }),
      /its 'model'/,
    ],
    [
      'a verdict that is none',
      JSON.stringify({
        ...entry('a'),
        receipts: [{ action: 'compare', file: 'f', sha256: 'a', verdict: 'maybe', createdAt: 'then' }],
      }),
      /its 'receipts'/,
    ],
    ['an unknown action', JSON.stringify({ ...entry('a'), action: 'x' }), /its 'action'/],
    ['null', 'null', /it is no object/],
  ])('refuses %s in one sentence', (_, text, reason) => {
    expect(() => parseHistory(`${text}\n${line('b')}\n`, 'h')).toThrow(reason);
    expect(() => parseHistory(`${text}\n${line('b')}\n`, 'h')).toThrow(InputError);
  });

  it('answers any text with entries or one sentence', () => {
    const mutated = fc.tuple(fc.nat(), fc.string({ maxLength: 8 })).map(([at, piece]) => {
      const whole = `${line('a')}\n${line('b')}\n`;
      const place = at % whole.length;
      return whole.slice(0, place) + piece + whole.slice(place + piece.length);
    });
    const shaped = fc.object({
      key: fc.constantFrom(...Object.keys(entry('a')), 'left', 'list', 'target'),
      maxDepth: 3,
    });
    const text = fc.oneof(
      fc.string(),
      mutated,
      fc.array(shaped).map((all) => all.map((each) => JSON.stringify(each)).join('\n')),
    );
    fc.assert(
      fc.property(text, (each) => {
        try {
          const { entries } = parseHistory(each, 'h');
          foldStates(entries, { config: 'sarai.yaml', key: 'a.model_path' });
        } catch (error) {
          if (!(error instanceof InputError)) throw error;
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('the journal', () => {
  const journal = { schema: 2, state: 'prepared', before: 'b', after: 'a', entry: entry('a') };
  const back = { bytes: 'YTogMQo=', backup: '/b', mode: 0o644, edits: [{ key: 'a' }] };
  const old = { ...journal, schema: 1, backup: '/b' };

  it('comes back as it was written, 0.1.0 too', () => {
    const parsed = parseJournal(JSON.stringify({ ...journal, back }), 'j');
    expect(parsed.back?.bytes?.toString()).toBe('a: 1\n');
    expect(parseJournal(JSON.stringify(old), 'j').back).toEqual({
      backup: '/b',
      edits: [{ key: 'a.model_path', value: 'old.onnx' }],
    });
  });

  it.each([
    ['', /it is no JSON/],
    ['[]', /it is no object/],
    [JSON.stringify({ ...journal, schema: 3 }), /neither 1 nor 2/],
    [JSON.stringify({ ...journal, state: 'x' }), /its 'state'/],
    [JSON.stringify({ ...journal, before: 1 }), /no digests/],
    [JSON.stringify({ ...journal, entry: { id: 1 } }), /its entry/],
    [JSON.stringify({ ...journal, back: { ...back, mode: 'x' } }), /no way back/],
    [JSON.stringify({ ...old, backup: undefined }), /its 'backup'/],
  ])('refuses %s in one sentence', (text, reason) => {
    expect(() => parseJournal(text, 'j')).toThrow(reason);
    expect(() => parseJournal(text, 'j')).toThrow(InputError);
  });
});

describe('command lines', () => {
  it.each([
    ['sudo systemctl restart sarai', ['sudo', 'systemctl', 'restart', 'sarai']],
    [`a 'b c' "d \\"e\\" \\\\ f" g"h i"j ''`, ['a', 'b c', 'd "e" \\ f', 'gh ij', '']],
    ['C:\\tools\\x.exe /q', ['C:\\tools\\x.exe', '/q']],
    [`sh -c 'a && b | c'`, ['sh', '-c', 'a && b | c']],
  ])('%s', (command, argv) => {
    expect(splitCommand(command, 'restart-command')).toEqual(argv);
  });

  it.each([
    ['a && b', /has '&' outside quotes/],
    ['a | b', /without a shell/],
    ['echo $HOME', /'\$'/],
    ['a "b', /never closed/],
    ['  ', /is empty/],
  ])('refuses %s', (command, reason) => {
    expect(() => splitCommand(command, 'restart-command')).toThrow(reason);
  });
});
