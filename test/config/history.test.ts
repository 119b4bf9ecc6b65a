import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readHistory } from '../../src/config/states/history.ts';
import { splitCommand } from '../../src/program.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { remember } from './support/site.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'history-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('the history', () => {
  const entry = (id: string) => JSON.stringify({ schema: 1, id, keys: [] });

  it('forgives a last line that a crash cut short, and nothing else', async () => {
    const file = path.join(folder, 'history.jsonl');
    await writeFile(file, `${entry('a')}\n${entry('b').slice(0, 10)}`);
    const context = remember();
    expect((await readHistory(file, context.log)).map(({ id }) => id)).toEqual(['a']);
    expect(context.lines.join()).toMatch(/cut short/);
    await writeFile(file, `garbage\n${entry('a')}\n${entry('b')}\n`);
    await expect(readHistory(file, silentLog)).rejects.toThrow(/Line 1 of .* is no history entry/);
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
