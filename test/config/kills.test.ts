import { spawn } from 'node:child_process';
import { afterEach, describe, expect, it } from 'vitest';
import { promote, rollback, showHistory } from '../../src/config/index.ts';
import { seeded } from '../support/random.ts';
import { FP32, INT8, makeSite, remember, type Site } from './support/site.ts';

// A few in every run of the tests; CI and whoever wants to know set more (scripts/ci/40-kills.sh).
const KILLS = Number(process.env.KILLS ?? 4);
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

let site: Site;
afterEach(() => site?.close());

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

/** From `start` on: kill it, look, let the next run (the same or the other) settle it, look again. */
async function loop(verb: 'promote' | 'rollback', kills: number): Promise<void> {
  const { next: random } = seeded(verb === 'promote' ? 1 : 2);
  const base = { config: 'config/sarai.yaml', projectRoot: site.root, ...site.service };
  const promotion = { ...base, model: INT8, configMemoryMb: 1200 };
  const up = () => promote(promotion, remember());
  const back = () => rollback(base, remember());
  const old = await site.text();
  expect((await up()).failures).toEqual([]);
  const promoted = await site.text();
  const [start, toStart] = verb === 'promote' ? [old, back] : [promoted, up];
  let killedInTime = 0;
  for (let i = 0; i < kills; i++) {
    if ((await site.text()) !== start) expect((await toStart()).failures).toEqual([]);
    expect(await site.text()).toBe(start);
    const point = POINTS[(i * 3) % POINTS.length]!;
    const later = random() < 0.4 ? 0 : random() ** 2 * 100;
    if (await killed(verb, verb === 'promote' ? promotion : base, point, later)) killedInTime++;
    const where = `${verb} ${i}, killed ${later.toFixed(1)} ms after ${point}`;
    expect([old, promoted], where).toContain(await site.text());

    const next = random() < 0.5 ? up : back;
    expect((await next()).failures, where).toEqual([]);
    const [text, model] = next === up ? [promoted, INT8] : [old, FP32];
    expect(await site.text(), where).toBe(text);
    const { states } = await showHistory(base, remember());
    expect([states[0]?.model, states[0]?.proved], where).toEqual([model, true]);
    expect((await site.health())?.models.audio_omni.model_path, where).toBe(model);
    const left = (await site.leftovers()).filter((name) => /lock|journal|draft|tmp/.test(name));
    expect(left, where).toEqual([]);
  }
  expect(killedInTime).toBeGreaterThan(kills / 3);
}

describe('kill -9 at any moment loses nothing, and the next run ends in a proved state', () => {
  it.each(['promote', 'rollback'] as const)(
    `${KILLS} times during %s`,
    { timeout: 60_000 + KILLS * 30_000 },
    async (verb) => {
      site = await makeSite(undefined, 'small');
      await site.receipts();
      await site.serve();
      await loop(verb, KILLS);
    },
  );
});
