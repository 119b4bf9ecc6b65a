/**
 * A host that others use too: loops that are each busy for 20 to 500 ms and idle for 20 to 800 ms, at random. Steady load
 * slows everything down alike; bursts make times vary.
 *
 * As a program it burns until its stdin ends: `node bench/support/bursts.mjs [loops] [seed]`. `withBursts` runs work beside it.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

const LOOPS = 6;
const BUSY_MS = [20, 500];
const IDLE_MS = [20, 800];

/** Resolves with what `work` does, done beside bursts that end with it. */
export async function withBursts(work, { loops = LOOPS, seed = 1 } = {}) {
  const program = spawn(process.execPath, [fileURLToPath(import.meta.url), String(loops), String(seed)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const closed = once(program, 'close');
  try {
    await once(program.stdout, 'data');
    return await work();
  } finally {
    program.stdin.end();
    await closed;
  }
}

function burn(seed) {
  const pause = new Int32Array(new SharedArrayBuffer(4));
  let state = seed >>> 0;
  const random = ([least, most]) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return least + (state / 2 ** 32) * (most - least);
  };
  for (let value = 1; ; ) {
    for (const until = performance.now() + random(BUSY_MS); performance.now() < until; ) {
      for (let i = 0; i < 10_000; i++) value = Math.imul(value, 48271) + i;
    }
    Atomics.wait(pause, 0, 0, random(IDLE_MS));
  }
}

if (!isMainThread && workerData?.burstSeed !== undefined) {
  burn(workerData.burstSeed);
} else if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [loops = LOOPS, seed = 1] = process.argv.slice(2).map(Number);
  for (let loop = 0; loop < loops; loop++) {
    new Worker(new URL(import.meta.url), { workerData: { burstSeed: 7919 * seed + 104_729 * loop } });
  }
  process.stdin.once('end', () => process.exit(0)).resume();
  process.stdout.write('burning\n');
}
