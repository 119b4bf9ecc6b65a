import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { median } from '../support/statistics.mjs';

const TURNS = 15;

export const group = {
  title: 'Start: from the process to its first line',
  async run({ root, log }) {
    log('  starting processes');
    const dist = (name) => [path.join(root, 'dist', name)];
    return [
      await row('command line, first line', dist('cli.js').concat('quantize'), 50),
      await row('action, first line', dist('quantize.js'), 150),
    ];
  },
};

/** Median over pairs of (time to the first byte printed − wall of `node -e 0`), in alternating turns. */
async function row(what, args, limitMs) {
  const values = { first: [], bare: [] };
  for (let turn = 0; turn < TURNS; turn++) {
    values.bare.push(await timed(['-e', '0'], 'close'));
    values.first.push(await timed(args, 'data'));
  }
  const extra = median(values.first.map((first, turn) => first - values.bare[turn]));
  return {
    what,
    figure: `${extra < 0 ? '−' : '+'}${Math.abs(extra).toFixed(0)} ms`,
    limit: `≤ node -e 0 + ${limitMs} ms`,
    met: extra <= limitMs,
    note: `${median(values.first).toFixed(0)} ms against ${median(values.bare).toFixed(0)} ms, ${TURNS} pairs`,
    values,
  };
}

/** Milliseconds until the child prints (`data`) or has ended (`close`). */
async function timed(args, until) {
  const started = performance.now();
  // Without inputs an action ends by itself in a sentence; its exit code is of no interest here.
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const closed = once(child, 'close');
  const printed = Promise.race([child.stdout, child.stderr].map((stream) => once(stream, 'data')));
  if (until === 'data') await printed;
  const ms = performance.now() - started;
  await closed;
  return until === 'close' ? performance.now() - started : ms;
}
