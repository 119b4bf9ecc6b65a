import { spawn } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { promote, readKey, rollback, showHistory } from '../../src/config/index.ts';
import { seeded } from '../support/random.ts';
import { FP32, INT8, makeSite, remember, type Site } from './support/site.ts';

// A few in every run of the tests; CI and whoever wants to know set more (scripts/ci/40-kills.sh).
const KILLS = Number(process.env.KILLS ?? 15);
const FIXTURE_KILLS = Number(process.env.FIXTURE_KILLS ?? 3);
const POINTS = [
  'locked',
  'checked',
  'backed-up',
  'journaled',
  'draft-written',
  'written',
  'restarted',
  'healthy',
  'proved',
  'recorded',
];
const RUN = new URL('./support/run.mjs', import.meta.url).pathname;
const KEY = 'models.audio_omni.model_path';

let site: Site;
let stop: () => void = () => undefined;
afterEach(async () => {
  stop();
  await site?.close();
});

/** A service that is up at once: it reads the config anew when a file is touched, and says what it has read. */
async function quickService(): Promise<Site['service']> {
  const touched = path.join(site.root, 'touched');
  await writeFile(touched, '');
  let seen = 0;
  let loaded = '';
  const server = createServer((_, response) => {
    const { mtimeMs } = statSync(touched);
    if (mtimeMs !== seen) loaded = String(readKey(readFileSync(site.config), KEY)?.value);
    seen = mtimeMs;
    response.end(JSON.stringify({ model: loaded }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stop = () => server.close();
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  return {
    restartCommand: `touch "${touched}"`,
    healthUrl: `http://127.0.0.1:${port}/health`,
    healthJsonPath: 'model',
    healthTimeout: 20,
  };
}

/** Runs promote or rollback and kills it at a moment or a little later. Resolves with whether it was still there. */
function killed(verb: string, options: object, point: string, laterMs: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [RUN, verb, JSON.stringify(options), 'tell'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (text.includes(`at ${point}\n`)) setTimeout(() => child.kill('SIGKILL'), laterMs);
    });
    child.on('error', reject);
    child.on('close', (_, signal) => resolve(signal === 'SIGKILL'));
  });
}

async function loop(verb: 'promote' | 'rollback', kills: number, service: Site['service']): Promise<void> {
  const { next: random } = seeded(verb === 'promote' ? 1 : 2);
  const base = { config: 'config/sarai.yaml', projectRoot: site.root, ...service };
  const promotion = { ...base, model: INT8, configMemoryMb: 1200 };
  const up = () => promote(promotion, remember());
  const back = () => rollback(base, remember());
  const old = await site.text();
  await up();
  const promoted = await site.text();
  await back();
  let still = 0;
  for (let i = 0; i < kills; i++) {
    if (verb === 'rollback') expect((await up()).failures).toEqual([]);
    const point = POINTS[i % POINTS.length]!;
    const later = random() < 0.4 ? 0 : random() * 25;
    const options = verb === 'promote' ? promotion : base;
    if (await killed(verb, options, point, later)) still++;
    const where = `${verb} ${i}, killed ${later.toFixed(1)} ms after ${point}`;
    expect([old, promoted], where).toContain(await site.text());

    const next = random() < 0.5 ? up : back;
    const result = await next();
    expect(result.failures, where).toEqual([]);
    const text = await site.text();
    expect([old, promoted], where).toContain(text);
    if (next === up) expect(text, where).toBe(promoted);
    else if (verb === 'rollback') expect(text, where).toBe(old);
    const { states } = await showHistory(base, remember());
    const model = text === old ? FP32 : INT8;
    expect([states[0]?.model, states[0]?.proved], where).toEqual([model, true]);
    const answer = await fetch(String(service.healthUrl)).then((response) => response.json());
    expect(JSON.stringify(answer), where).toContain(`"${model}"`);
    const left = (await site.leftovers()).filter((name) => /lock|journal|draft|tmp/.test(name));
    expect(left, where).toEqual([]);
    if (text === promoted) await back();
    expect(await site.text(), where).toBe(old);
  }
  expect(still).toBeGreaterThan(kills / 3);
}

describe('kill -9 at any moment loses nothing, and the next run ends in a proved state', () => {
  for (const verb of ['promote', 'rollback'] as const) {
    it(`${KILLS} times during ${verb}`, { timeout: 60_000 + KILLS * 15_000 }, async () => {
      site = await makeSite();
      await site.receipts();
      await loop(verb, KILLS, await quickService());
    });

    it(`${FIXTURE_KILLS} times during ${verb}, with a service that loads its model`, {
      timeout: 60_000 + FIXTURE_KILLS * 60_000,
    }, async () => {
      site = await makeSite();
      await site.receipts();
      await site.serve();
      await loop(verb, FIXTURE_KILLS, site.service);
    });
  }
});
