import { spawn } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { isGone, thisProcess } from '../../src/process-identity.ts';
import { withScratch } from '../../src/runtime/scratch.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const root = fileURLToPath(new URL('../..', import.meta.url));
const onLinux = process.platform === 'linux';

/** A process that makes a scratch folder in `base`, says so and waits; and its end by SIGKILL. */
async function holder(base: string, script = '') {
  const program = `
    import { withScratch } from ${JSON.stringify(path.join(root, 'lib/runtime/scratch.js'))};
    import { writeFileSync } from 'node:fs';
    await withScratch(${JSON.stringify(base)}, 'work', async (folder) => {
      writeFileSync(folder + '/large.bin', Buffer.alloc(4096));
      console.log(folder);
      ${script}
      await new Promise((resolve) => setTimeout(resolve, 60_000));
    });`;
  const file = path.join(temp(), 'holder.mjs');
  writeFileSync(file, program);
  const child = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const folder = await new Promise<string>((resolve) => child.stdout.once('data', (text) => resolve(`${text}`.trim())));
  const kill = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  return { folder, kill, ended };
}

test('what a killed process left is removed by the next one, what a living one holds is not', async () => {
  const base = temp();
  const [dead, alive] = [await holder(base), await holder(base)];
  await dead.kill();
  expect(readdirSync(base)).toHaveLength(2);
  await withScratch(base, 'work', async (folder) => {
    expect(existsSync(dead.folder)).toBe(false);
    expect(existsSync(alive.folder)).toBe(true);
    expect(existsSync(folder)).toBe(true);
  });
  expect(readdirSync(base)).toEqual([path.basename(alive.folder)]);
  await alive.kill();
  await withScratch(base, 'other', async () => undefined);
  expect(existsSync(alive.folder)).toBe(true);
});

test('an exit in the midst of it removes the folder', async () => {
  const base = temp();
  const { ended } = await holder(base, 'process.exit(0);');
  await ended;
  expect(readdirSync(base)).toEqual([]);
});

test('a folder goes with an error that comes out of it', async () => {
  const base = temp();
  await expect(withScratch(base, 'work', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(readdirSync(base)).toEqual([]);
});

test.skipIf(!onLinux)(
  'a pid that was used again is another process; other containers and names are let be',
  async () => {
    const base = temp();
    const { folder, kill } = await holder(base);
    await kill();
    const [, place, pid, started, end] = /^work-(\w+)-(\d+)-([\w.]+)-(\w+)$/.exec(path.basename(folder))!;
    const reused = `work-${place}-${process.pid}-${started}-${end}`;
    const elsewhere = `work-00000000-${pid}-${started}-${end}`;
    const foreign = [elsewhere, `work-${pid}`, 'work-notes', `works-${place}-${pid}-${started}-${end}`];
    for (const name of [reused, ...foreign]) mkdirSync(path.join(base, name));
    const target = temp();
    writeFileSync(path.join(target, 'precious'), '');
    const link = `work-${place}-${pid}-${started}-aaaaaa`;
    symlinkSync(target, path.join(base, link));
    await withScratch(base, 'work', async () => undefined);
    expect(readdirSync(base).sort()).toEqual([...foreign, link].sort());
    expect(readdirSync(target)).toEqual(['precious']);
  },
);

test('a base that takes no folder is one sentence', async () => {
  const base = path.join(temp(), 'absent');
  const error = await withScratch(base, 'work', async () => undefined).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(InputError);
  expect((error as InputError).message).toMatch(/^The temporary folder .*absent cannot be written .*RUNNER_TEMP/);
});

test.skipIf(!onLinux || process.getuid?.() === 0)('what cannot be removed stops nobody', async () => {
  const base = temp();
  const { folder, kill } = await holder(base);
  await kill();
  chmodSync(folder, 0o500);
  await withScratch(base, 'work', async () => undefined);
  expect(existsSync(folder)).toBe(true);
  chmodSync(folder, 0o700);
});

test.skipIf(process.getuid?.() !== 0)("another user's is let be", async () => {
  const base = temp();
  const { folder, kill } = await holder(base);
  await kill();
  chownSync(folder, 12345, 12345);
  await withScratch(base, 'work', async () => undefined);
  expect(existsSync(folder)).toBe(true);
});

test('only a process of this host and container can be known to be gone', async () => {
  const base = temp();
  const { folder, kill } = await holder(base);
  const pid = Number(/-(\d+)-[\w.]*-\w+$/.exec(path.basename(folder))![1]);
  expect(isGone({ host: hostname(), pid })).toBe(false);
  await kill();
  expect(isGone({ host: hostname(), pid })).toBe(true);
  expect(isGone({ host: 'elsewhere', pid })).toBe(false);
  expect(isGone(thisProcess())).toBe(false);
  if (onLinux) expect(isGone({ host: hostname(), space: 'pid:[1]', pid })).toBe(false);
});
