// Runs every fuzz target in a process of its own, two at a time, for FUZZ_SECONDS (60) in all. A case that ends in anything
// but success or one sentence, takes more than its memory or its time, or ends the process is told with what repeats it:
// node test/fuzz/run.mjs <target> <seed> <case>
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { TARGETS } from './targets.mjs';

const LANES = 2;
const child = fileURLToPath(new URL('./child.mjs', import.meta.url));
const names = Object.keys(TARGETS);
const [target, seed = process.env.FUZZ_SEED ?? '1', only] = process.argv.slice(2);

if (target !== undefined) {
  process.exitCode = await run(target, [seed, '0', ...(only === undefined ? [] : [only])]);
} else {
  const seconds = (LANES * Number(process.env.FUZZ_SECONDS ?? 60)) / names.length;
  const waiting = [...names];
  let failed = 0;
  const lane = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      if ((await run(name, [seed, String(seconds)])) !== 0) failed++;
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  console.log(`fuzz: ${names.length - failed} of ${names.length} targets held (seed ${seed})`);
  process.exitCode = failed === 0 ? 0 : 1;
}

/** Resolves with the exit code; a process that a signal or the heap's end took is a failure that names its last case. */
function run(name, args) {
  return new Promise((resolve) => {
    const options = ['--max-old-space-size=512', child, name, ...args];
    const started = spawn(process.execPath, options, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    let last = '0';
    // A case that never ends keeps its process from telling the time.
    let watch = setTimeout(() => started.kill('SIGKILL'), 60_000);
    started.on('message', (message) => {
      last = message;
      clearTimeout(watch);
      watch = setTimeout(() => started.kill('SIGKILL'), 60_000);
    });
    started.on('close', (code, signal) => {
      clearTimeout(watch);
      if (code === null || code > 1) {
        console.log(
          `${name}: the process ended with ${signal ?? code} in or after case ${last}: ${name} ${args[0]} ${last}`,
        );
      }
      resolve(code ?? 1);
    });
  });
}
