import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { takeLock, waitForLock } from '../src/lock.ts';
import { useTemp } from './support/temp.ts';

const temp = useTemp();
const options = { what: 'the thing', action: 'promote', now: new Date(0) };
const lockIn = (folder: string) => path.join(folder, 'lock');
const put = (folder: string, content: unknown) => writeFileSync(lockIn(folder), JSON.stringify(content));
const dead = { token: 't', pid: 2 ** 22 + 1, host: os.hostname(), action: 'promote', since: 'then' };

describe('the lock', () => {
  it('is held by one, named to the other, and free again', () => {
    const folder = temp();
    const lock = takeLock(lockIn(folder), options);
    lock.assertHeld();
    expect(() => takeLock(lockIn(folder), options)).toThrow(
      `(promote by process ${process.pid} since 1970-01-01T00:00:00.000Z) is at work on the thing`,
    );
    lock.release();
    expect(() => lock.assertHeld()).toThrow(/took over/);
    takeLock(lockIn(folder), options).release();
    expect(readdirSync(folder)).toEqual([]);
  });

  it('is waited for as long as the one who waits wants to', async () => {
    const file = lockIn(temp());
    const lock = takeLock(file, options);
    const asked: string[] = [];
    await expect(waitForLock(file, { ...options, onWait: () => false })).rejects.toThrow(/at work/);
    const onWait = ({ token }: { token: string }) => {
      if (asked.push(token) === 2) lock.release();
      return true;
    };
    const next = await waitForLock(file, { ...options, onWait });
    expect(new Set(asked)).toEqual(new Set([lock.token]));
    next.release();
  });

  it('of a dead process is taken over, by exactly one of many, and the one is told', () => {
    const folder = temp();
    put(folder, dead);
    const said: string[] = [];
    const results = Array.from({ length: 8 }, () => {
      try {
        return takeLock(lockIn(folder), { ...options, warn: (sentence) => said.push(sentence) });
      } catch {
        return undefined;
      }
    });
    expect(results.filter((lock) => lock !== undefined)).toHaveLength(1);
    expect(said.join()).toMatch(/of promote by process \d+ since then, which has died, is taken over/);
  });

  it('of a process whose pid was used again is taken over', () => {
    const folder = temp();
    put(folder, { ...dead, pid: process.pid, started: 'other' });
    takeLock(lockIn(folder), options).release();
  });

  it('of another host is never taken over', () => {
    const folder = temp();
    put(folder, { ...dead, pid: 1, host: 'elsewhere' });
    expect(() => takeLock(lockIn(folder), options)).toThrow(/on elsewhere.*delete/s);
    expect(readFileSync(lockIn(folder), 'utf8')).toContain('elsewhere');
  });

  it.each([
    ['nothing', ''],
    ['zeros', '\0\0\0\0'],
    ['half an owner', '{"token":"t","ho'],
    ['something else', '[1, 2]'],
    ['null', 'null'],
    ['wrong types', '{"token":1,"host":"x","pid":"y"}'],
  ])('that holds %s, as a power cut leaves it, is taken over with a warning', (_, content) => {
    const folder = temp();
    writeFileSync(lockIn(folder), content);
    const said: string[] = [];
    takeLock(lockIn(folder), { ...options, warn: (sentence) => said.push(sentence) }).release();
    expect(said.join()).toMatch(/names no run/);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('removes what killed runs left of their attempts', () => {
    const folder = temp();
    writeFileSync(`${lockIn(folder)}.0123456789ab.tmp`, '');
    writeFileSync(`${lockIn(folder)}.keep`, '');
    takeLock(lockIn(folder), options).release();
    expect(readdirSync(folder)).toEqual(['lock.keep']);
  });

  it('survives its owner being killed', () => {
    const folder = temp();
    const source = `const { takeLock } = await import(${JSON.stringify(new URL('../lib/lock.js', import.meta.url).href)});
      takeLock(${JSON.stringify(lockIn(folder))}, { what: 'x' }); process.kill(process.pid, 'SIGKILL');`;
    spawnSync(process.execPath, ['--input-type=module', '-e', source]);
    expect(existsSync(lockIn(folder))).toBe(true);
    takeLock(lockIn(folder), options).release();
  });
});
