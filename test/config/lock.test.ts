import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { splitCommand } from '../../src/config/argv.ts';
import { readHistory } from '../../src/config/history.ts';
import { takeLock } from '../../src/config/lock.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { remember, runProcess } from './support/site.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'lock-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const options = { action: 'promote', log: silentLog, now: new Date() };

describe('the lock', () => {
  it('is held by one, named to the other, and free again', async () => {
    const lock = await takeLock(folder, options);
    await expect(takeLock(folder, options)).rejects.toThrow(
      new RegExp(`promote by process ${process.pid} on ${os.hostname()} since `),
    );
    await lock.release();
    await (await takeLock(folder, options)).release();
    expect(await readdir(folder)).toEqual([]);
  });

  it('is waited for', async () => {
    const lock = await takeLock(folder, options);
    setTimeout(() => void lock.release(), 300);
    await (await takeLock(folder, { ...options, waitMs: 5000 })).release();
  });

  it('of a dead process is taken over, by exactly one of many', async () => {
    const { output } = await runProcess(process.execPath, ['-p', 'process.pid']);
    const dead = { token: 't', pid: Number(output), host: os.hostname(), action: 'promote', since: 'then' };
    await writeFile(path.join(folder, 'lock'), JSON.stringify(dead));
    const taken = await Promise.allSettled(Array.from({ length: 8 }, () => takeLock(folder, options)));
    expect(taken.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  it('of a process whose pid was used again is taken over', async () => {
    const reused = { token: 't', pid: process.pid, host: os.hostname(), started: 'other', action: 'x', since: 'then' };
    await writeFile(path.join(folder, 'lock'), JSON.stringify(reused));
    const context = remember();
    const lock = await takeLock(folder, { ...options, log: context.log });
    expect(context.lines.join()).toMatch(/Taking over the lock of x by process/);
    await lock.release();
  });

  it('of another host is never taken over', async () => {
    const far = { token: 't', pid: 1, host: 'elsewhere', action: 'promote', since: 'then' };
    await writeFile(path.join(folder, 'lock'), JSON.stringify(far));
    await expect(takeLock(folder, options)).rejects.toThrow(/on elsewhere.*delete/s);
    expect(await readFile(path.join(folder, 'lock'), 'utf8')).toContain('elsewhere');
  });
});

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
