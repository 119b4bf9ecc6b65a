import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type PromoteOptions, promote, type RollbackOptions, rollback } from '../../src/config/index.ts';
import { healthWaitMs } from '../../src/config/live/wait.ts';
import { InputError } from '../../src/errors.ts';
import { createReceipt, receiptPath, writeReceipt } from '../../src/receipt/index.ts';
import { FP32, INT8, makeSite, remember, runVerb, type Site } from './support/site.ts';

/** Whether a disk of a few MiB can be had here. */
const canMount = (() => {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false;
  const folder = mkdtempSync(path.join(os.tmpdir(), 'mount-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', folder]).status === 0;
  if (mounted) spawnSync('umount', [folder]);
  rmSync(folder, { recursive: true });
  return mounted;
})();

let site: Site;
const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) server.close();
  await site?.close();
});

const node = process.execPath;
const base = () => ({ config: 'config/sarai.yaml', projectRoot: site.root });
const up = (more: Partial<PromoteOptions> = {}, context = remember()) =>
  promote({ ...base(), model: INT8, configMemoryMb: 1200, ...more }, context);
const back = (more: Partial<RollbackOptions> = {}, context = remember()) => rollback({ ...base(), ...more }, context);

/** A server that answers every connection with these bytes, `endless` for ever. */
async function answering(head: string, body: Uint8Array | string = '', endless = false): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => {
      socket.write(`HTTP/1.1 ${head}\r\n\r\n`);
      const more = () => {
        while (endless && socket.writable && socket.write(body));
        if (endless) socket.once('drain', more);
        else socket.end(body);
      };
      more();
    });
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}/health`;
}

describe('a health answer can do no harm', () => {
  const zipped = gzipSync('{"ok":true}');
  const hostile: [string, string, Uint8Array | string, boolean, RegExp][] = [
    [
      'gzip with junk behind it',
      '200 OK\r\ncontent-encoding: gzip',
      Buffer.concat([zipped, Buffer.from('junk')]),
      false,
      /encoded as 'gzip'/,
    ],
    ['a gzip cut short', '200 OK\r\ncontent-encoding: gzip', zipped.subarray(0, 12), false, /encoded as 'gzip'/],
    ['a bomb', '200 OK\r\ncontent-encoding: gzip', gzipSync(Buffer.alloc(2 ** 24)), false, /encoded as 'gzip'/],
    [
      'a body without an end',
      '200 OK\r\ncontent-type: application/json',
      Buffer.alloc(65_536, 97),
      true,
      /more than 1 MiB/,
    ],
    [
      'a redirect',
      '302 Found\r\nlocation: http://127.0.0.1:9/secret',
      'body',
      false,
      /a redirect, which is not followed/,
    ],
    ['no HTTP', 'x'.repeat(20), '', false, /no answer/],
    ['less than it promised', '200 OK\r\ncontent-length: 100', 'x', false, /broke off/],
    ['chunks that are none', '200 OK\r\ntransfer-encoding: chunked', 'zz\r\nxx', false, /no answer|broke off/],
    [
      'words that are no words',
      '500 Oh\r\ncontent-type: text/plain',
      '\n::error::x\u001b[31m',
      false,
      /HTTP 500: ::error::x \[31m/,
    ],
  ];
  it.each(hostile)('%s: the old config comes back, in a sentence', async (_, head, body, endless, reason) => {
    site = await makeSite();
    await site.receipts();
    const before = await site.text();
    const result = await up({ healthUrl: await answering(head, body, endless), healthTimeout: 0.5 });
    expect(result.verdict).toBe('fail');
    expect(result.failures[0]).toMatch(reason);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not come through.
    expect(result.failures.join()).not.toMatch(/\u001b|secret/);
    expect(await site.text()).toBe(before);
    expect((await site.history()).map(({ action }) => action)).toEqual(['revert']);
  });

  it('lists in lists without end at the path are no model', async () => {
    site = await makeSite();
    await site.receipts();
    const before = await site.text();
    const body = `{"model":${'['.repeat(200_000)}${']'.repeat(200_000)}}`;
    const healthUrl = await answering(`200 OK\r\ncontent-length: ${body.length}`, body);
    const result = await up({ healthUrl, healthJsonPath: 'model', healthTimeout: 0.5 });
    expect(result.failures[0]).toMatch(/'model' is 'a list' where/);
    expect(await site.text()).toBe(before);
  });

  it('nor in a process of its own: it ends with exit 1 and a sentence', async () => {
    site = await makeSite();
    await site.receipts();
    const before = await site.text();
    for (const [, head, body, endless] of hostile.slice(0, 4)) {
      const service = { healthUrl: await answering(head, body, endless), healthTimeout: 0.5 };
      const end = await runVerb('promote', { ...base(), model: INT8, configMemoryMb: 1200, ...service });
      expect(end.code, end.output).toBe(1);
      expect(end.output).toMatch(/previous config is back/);
      expect(await site.text()).toBe(before);
    }
  });
});

describe('every promotion is proved', () => {
  it('what is live already is restarted and asked; down, it fails and stays', async () => {
    site = await makeSite();
    await site.receipts();
    await site.serve();
    expect((await up(site.service)).failures).toEqual([]);
    const first = await site.health();
    const again = await up(site.service);
    expect(again).toMatchObject({ changed: false, verdict: 'pass' });
    expect(again.steps.map(({ name, ok }) => [name, ok])).toEqual([
      ['restart', true],
      ['health', true],
    ]);
    expect((await site.health())?.pid).not.toBe(first?.pid);
    expect((await site.history()).map(({ action }) => action)).toEqual(['promote', 'proof']);
    // Down with the same config: today exit 0.
    const down = await up({ ...site.service, restartCommand: `"${node}" -e "process.exit(4)"` });
    expect(down.failures[0]).toMatch(/exit 4.*there is nothing to return to/s);
    expect((await back(site.service)).changed).toBe(true);
    expect((await site.health())?.models.audio_omni.model_path).toBe(FP32);
  });

  it('other bytes under the live path: unproved they lead to the newest earlier state that is whole', async () => {
    site = await makeSite();
    await site.receipts();
    await site.serve();
    await up(site.service);
    await writeFile(path.join(site.root, INT8), Buffer.concat([await readFile(path.join(site.root, FP32))]));
    await site.receipts();
    const context = remember();
    let asked = 0;
    const { info } = context.log;
    context.log.info = (message) => {
      info(message);
      if (message.startsWith('health:') && asked++ === 0) void site.fail();
    };
    const result = await up({ ...site.service, watchSeconds: 30 }, context);
    expect(context.lines.join('\n')).toMatch(
      /Should the service not hold, the way back is models\/onnx\/agi_audio_core\.onnx/,
    );
    expect(result.verdict).toBe('fail');
    expect(result.failures.join()).toMatch(/HTTP 500.*previous config is back and the service is healthy on it/s);
    expect(await site.text()).toContain(`model_path: ${FP32}`);
    expect(await site.text()).toContain('max_memory_mb: 4400');
    expect((await site.health())?.models.audio_omni.model_path).toBe(FP32);
    expect((await back(site.service)).changed).toBe(false);
  });

  it('other bytes and no way back: only by force', async () => {
    site = await makeSite();
    await site.receipts();
    await up();
    await copyFile(path.join(site.root, FP32), path.join(site.root, INT8));
    await site.receipts();
    await rm(path.join(site.root, FP32));
    expect((await up()).failures.join()).toMatch(/no earlier state has whole files/);
    expect((await up({ force: true })).failures).toEqual([]);
    expect((await site.history()).at(-1)).toMatchObject({ action: 'promote', forced: [expect.any(String)] });
  });

  it('bytes that are swapped while it restarts are not what was checked', async () => {
    site = await makeSite();
    await site.receipts();
    const before = await site.text();
    const swap = `const fs = require("fs"); const at = fs.openSync(${JSON.stringify(path.join(site.root, INT8))}, "r+"); fs.writeSync(at, "swapped", 600000)`;
    const result = await up({ restartCommand: `"${node}" -e '${swap}'` });
    expect(result.failures[0]).toMatch(/have changed since they were checked/);
    expect(await site.text()).toBe(before);
  });

  it('one miss in the last second of the watch is none; the sentence says what was missed', async () => {
    site = await makeSite();
    await site.receipts();
    const counter = path.join(site.root, 'count');
    const script = path.join(site.root, 'health.mjs');
    await writeFile(
      script,
      `import { appendFileSync, statSync } from 'node:fs'; appendFileSync(${JSON.stringify(counter)}, 'x');
       const size = statSync(${JSON.stringify(counter)}).size; console.error('ask ' + size);
       process.exit(process.argv[2].split(',').includes(String(size)) ? 1 : 0);`,
    );
    const watched = (misses: string) => ({
      healthCommand: `"${node}" "${script}" ${misses}`,
      healthTimeout: 60,
      // So short that it has one answer, however slow that is, unless what it misses keeps it going.
      watchSeconds: 1,
    });
    const one = await up(watched('2'));
    expect(one.failures).toEqual([]);
    expect(one.steps.at(-1)?.detail).toMatch(/1 missed/);
    await back();
    await rm(counter);
    const three = await up(watched('2,3,4'));
    expect(three.failures[0]).toMatch(/The watch with the new config failed: exit 1\nask 4 \(3 times in a row/);
  });
});

describe('commands', () => {
  it('leave what they started alive, whatever it prints, and tell it no secrets', async () => {
    site = await makeSite();
    await site.receipts();
    const alive = path.join(site.root, 'alive');
    const daemon = path.join(site.root, 'daemon.mjs');
    await writeFile(
      daemon,
      `import { writeFileSync } from 'node:fs'; let n = 0; process.stdout.on('error', () => process.exit(9));
       writeFileSync(${JSON.stringify(path.join(site.root, 'env'))}, JSON.stringify(process.env));
       setInterval(() => { process.stdout.write('still here\\n'.repeat(1000)); writeFileSync(${JSON.stringify(alive)}, String(process.pid + ' ' + ++n)); if (n > 400) process.exit(); }, 25);`,
    );
    const restart = `"${node}" -e 'require("child_process").spawn(process.execPath, [${JSON.stringify(daemon)}], { stdio: "inherit", detached: true }).unref()'`;
    const options = { ...base(), model: INT8, configMemoryMb: 1200, restartCommand: restart };
    const secrets = {
      INPUT_TOKEN: 's3cret',
      ACTIONS_RUNTIME_TOKEN: 's3cret',
      GITHUB_TOKEN: 's3cret',
      GITHUB_ENV: 's3cret',
      RUNNER_TRACKING_ID: 's3cret',
    };
    const run = new URL('./support/run.mjs', import.meta.url).pathname;
    const child = spawn(node, [run, 'promote', JSON.stringify(options)], {
      env: { ...process.env, ...secrets, SARAI: 'mine' },
      stdio: 'ignore',
    });
    const [code] = await once(child, 'exit');
    expect(code).toBe(0);
    const count = async () => Number((await readFile(alive, 'utf8').catch(() => '')).split(' ')[1] ?? 0);
    for (let i = 0; i < 200 && (await count()) < 40; i++) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await count()).toBeGreaterThanOrEqual(40);
    process.kill(Number((await readFile(alive, 'utf8')).split(' ')[0]), 'SIGKILL');
    const env = await readFile(path.join(site.root, 'env'), 'utf8');
    expect(env).not.toContain('s3cret');
    expect(JSON.parse(env).SARAI).toBe('mine');
  });
});

describe('how long health is waited for', () => {
  const model = { path: INT8, root: 'a'.repeat(64), files: [] };
  const entry = (healthMs: number) => ({ model, healthMs }) as never;

  it('is what the user says, else three times what is known and 30 s, at least 60', async () => {
    site = await makeSite();
    const wait = (history: never[], options = {}) => healthWaitMs(options, model, history, site.root);
    expect(await wait([], { healthTimeout: 5 })).toBe(5000);
    expect(await wait([])).toBe(210_000);
    expect(await wait([entry(1000)])).toBe(60_000);
    expect(await wait([entry(1000), entry(75_000), entry(2000)])).toBe(255_000);
    expect(await wait([entry(1e7)])).toBe(900_000);
    const receipt = (action: 'validate' | 'compare', modelRoot: string, results: object, inputs = {}) =>
      writeReceipt(
        createReceipt({
          now: new Date(),
          action,
          inputs,
          modelRoot,
          files: [],
          environment: { os: 'test', arch: 'x64', cpu: 'test', cores: 2, isa: [], node: process.version },
          results,
          verdict: 'pass',
        }),
        receiptPath(path.join(site.root, INT8), action),
      );
    await receipt('compare', 'f'.repeat(64), { reference: { root: model.root, loadMs: 40_000 } });
    expect(await wait([])).toBe(150_000);
    await receipt('validate', model.root, { loadMs: 30_000 });
    expect(await wait([])).toBe(120_000);
  });
});

describe('a rollback keeps its target', () => {
  it('that comes up late: the first press fails loudly, and the next one finishes it', async () => {
    site = await makeSite();
    await site.receipts();
    await site.serve();
    await up(site.service);
    const slow = { ...site.service, restartCommand: `${site.service.restartCommand} 4000`, healthTimeout: 0.5 };
    const first = await back(slow);
    expect(first).toMatchObject({ changed: true, verdict: 'fail' });
    expect(first.failures[0]).toMatch(
      /The rollback is written and stays \(.*agi_audio_core\.onnx\).*it has not said what it runs\. Run the same again/,
    );
    expect(await site.text()).toContain(`model_path: ${FP32}`);
    const second = await back(site.service);
    expect(second).toMatchObject({ changed: false, verdict: 'pass' });
    expect(second.steps.map(({ name, ok }) => [name, ok])).toEqual([
      ['restart', true],
      ['health', true],
    ]);
    expect((await site.health())?.models.audio_omni.model_path).toBe(FP32);
    const third = await back(site.service);
    expect(third.steps.map(({ name }) => name)).toEqual(['health']);
    expect((await site.history()).map(({ action }) => action)).toEqual(['promote', 'rollback', 'proof', 'proof']);
  });

  it('that is cancelled, or pressed twice at once', async () => {
    site = await makeSite();
    await site.receipts();
    await site.serve();
    await up(site.service);
    const slow = { ...site.service, restartCommand: `${site.service.restartCommand} 3000`, healthTimeout: 60 };
    const controller = new AbortController();
    const pressed = back(slow, { ...remember(), signal: controller.signal } as never);
    while (!(await site.text()).includes(`model_path: ${FP32}`))
      await new Promise((resolve) => setTimeout(resolve, 20));
    setTimeout(() => controller.abort(), 300);
    const cancelled = await pressed;
    expect(cancelled.failures[0]).toMatch(/the run was cancelled/);
    expect(await site.text()).toContain(`model_path: ${FP32}`);
    const both = await Promise.all([
      runVerb('rollback', { ...base(), ...slow }),
      runVerb('rollback', { ...base(), ...slow }),
    ]);
    expect(
      both.map(({ code }) => code),
      both.map(({ output }) => output).join('\n'),
    ).toEqual([0, 0]);
    expect((await site.health())?.models.audio_omni.model_path).toBe(FP32);
  });
});

describe('a promotion gives way', () => {
  const state = () => path.join(site.root, 'config/.model-promotion');

  it('while its restart hangs: the rollback has the lock within seconds, and writes once', async () => {
    site = await makeSite();
    await site.receipts();
    await site.serve();
    const before = await site.text();
    const marker = path.join(site.root, 'hanging');
    const hang = `"${node}" -e 'require("fs").writeFileSync(${JSON.stringify(marker)}, String(process.pid)); setTimeout(() => {}, 100000)'`;
    const promotion = runVerb('promote', {
      ...base(),
      model: INT8,
      configMemoryMb: 1200,
      ...site.service,
      restartCommand: hang,
    });
    while (!existsSync(marker) || (await readFile(marker, 'utf8')) === '')
      await new Promise((resolve) => setTimeout(resolve, 50));
    const result = await back(site.service);
    expect(result.failures).toEqual([]);
    expect(result.changed).toBe(true);
    expect(result.steps.map(({ phase, name }) => `${phase} ${name}`)).toEqual([
      'revert write',
      'change restart',
      'change health',
    ]);
    expect(await site.text()).toBe(before);
    const end = await promotion;
    expect(end.code).toBe(1);
    expect(end.output).toMatch(/The promotion gave way: a rollback was asked for by/);
    const pid = Number(await readFile(marker, 'utf8'));
    expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
    expect((await site.health())?.models.audio_omni.model_path).toBe(FP32);
    expect((await site.history()).map(({ action }) => action)).toEqual(['revert', 'proof']);
    expect(existsSync(path.join(state(), 'journal-sarai.yaml.json'))).toBe(false);
  });

  it('one that does not let go is killed by its lock', async () => {
    site = await makeSite();
    await site.receipts();
    await mkdir(state(), { recursive: true });
    const lock = new URL('../../lib/lock.js', import.meta.url).href;
    const holder = spawn(
      node,
      [
        '--input-type=module',
        '-e',
        `const { takeLock } = await import('${lock}'); takeLock(${JSON.stringify(path.join(state(), 'lock'))}, { what: 'x', action: 'promote' }); console.log('held'); for (;;);`,
      ],
      { stdio: ['ignore', 'pipe', 'ignore'] },
    );
    await once(holder.stdout!, 'data');
    const gone = once(holder, 'exit');
    const context = remember();
    const started = performance.now();
    await expect(back({}, context)).rejects.toThrow(/no promotion to undo/);
    expect(performance.now() - started).toBeGreaterThan(14_000);
    expect((await gone)[1]).toBe('SIGKILL');
    expect(context.lines.join('\n')).toMatch(/asking it to give way[\s\S]*did not give way in 15 s/);
  });
});

describe.skipIf(!canMount)(
  `a full disk${canMount ? '' : ' (skipped: a small disk can only be mounted as root on Linux)'}`,
  () => {
    let disk: string;
    const tmpdir = process.env.TMPDIR;
    beforeEach(async () => {
      disk = await mkdtemp(path.join(os.tmpdir(), 'disk-'));
      spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'none', disk]);
      process.env.TMPDIR = disk;
      site = await makeSite();
      await site.receipts();
    });
    afterEach(async () => {
      if (tmpdir === undefined) delete process.env.TMPDIR;
      else process.env.TMPDIR = tmpdir;
      spawnSync('umount', ['--lazy', disk]);
      await rm(disk, { recursive: true, force: true });
    });
    /** Takes every byte that is left, and fails. */
    const fill = () => {
      const filler = JSON.stringify(path.join(disk, 'filler'));
      return `"${node}" -e 'const fs = require("fs"); for (const size of [1 << 20, 4096, 1]) try { for (;;) fs.appendFileSync(${filler}, Buffer.alloc(size)); } catch {} process.exit(1)'`;
    };

    it('does not stop the automatic return, and the next run records it', async () => {
      const before = await site.text();
      const result = await up({ restartCommand: fill() });
      expect(result.failures.join('\n')).toMatch(/exit 1[\s\S]*The next run records it|previous config is back/);
      expect(await site.text()).toBe(before);
      await rm(path.join(disk, 'filler'));
      expect((await back()).failures).toEqual([]);
      expect(await site.text()).toBe(before);
      expect((await site.history()).map(({ action }) => action)).toEqual(['revert']);
    });

    it('before the write is one sentence, and nothing is changed', async () => {
      const before = await site.text();
      spawnSync('sh', ['-c', fill()]);
      const refused = up();
      await expect(refused).rejects.toThrow(/cannot be (written|made|replaced).*free some space|takes no lock/);
      await expect(refused).rejects.toThrow(InputError);
      expect(await site.text()).toBe(before);
      await rm(path.join(disk, 'filler'));
      expect((await up()).failures).toEqual([]);
    });
  },
);
