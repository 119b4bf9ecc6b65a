// One target: mutates its seeds for some seconds, or repeats one case. Usage: child.mjs <target> <seed> <seconds> [case]
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { mutate, mutateJson, randomOf } from './mutate.mjs';
import { TARGETS } from './targets.mjs';

/** What one case may take beyond what was there before it, MiB, and ms. */
const MEMORY_MIB = 192;
const TIME_MS = 20_000;

const [name, seed, seconds, only] = process.argv.slice(2);
const target = TARGETS[name];
// Files in memory where there are such: a disk takes longer than most parsers.
const folder = mkdtempSync(path.join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), `fuzz-${name}-`));
try {
  const seeds = await target.seeds(folder);
  // A target whose seeds are refused tries nothing behind the first check.
  for (const whole of seeds) await target.run(whole, folder);
  const until = performance.now() + 1000 * Number(seconds);
  const counts = { accepted: 0, refused: 0 };
  let index = only === undefined ? 0 : Number(only);
  do {
    if (index % 64 === 0) process.send?.(String(index));
    const problem = await tryCase(seeds, index, counts);
    if (problem !== undefined) {
      const input = path.join(tmpdir(), `fuzz-${name}-${seed}-${index}`);
      writeFileSync(input, caseOf(seeds, index));
      console.log(`${name}: ${problem}\n  again: node test/fuzz/run.mjs ${name} ${seed} ${index}\n  input: ${input}`);
      process.exitCode = 1;
      break;
    }
    index++;
  } while (only === undefined && performance.now() < until);
  if (process.exitCode !== 1) {
    console.log(`${name}: ${index} cases, ${counts.accepted} accepted, ${counts.refused} refused in a sentence`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
  process.disconnect?.();
}

function caseOf(seeds, index) {
  const random = randomOf(Number(seed) * 1_000_003 + index);
  const from = seeds[random(seeds.length)];
  const structured = target.json === true && random(3) > 0;
  return structured ? mutateJson(from, random) : mutate(from, seeds, random);
}

/** What is wrong, if anything. */
async function tryCase(seeds, index, counts) {
  const bytes = caseOf(seeds, index);
  const started = performance.now();
  const before = resetPeak();
  let outcome = 'accepted';
  try {
    await target.run(bytes, folder);
  } catch (error) {
    if (error?.name !== 'InputError') return error?.stack ?? String(error);
    outcome = 'refused';
  }
  counts[outcome]++;
  const ms = performance.now() - started;
  if (ms > TIME_MS) return `${Math.round(ms)} ms for ${bytes.length} bytes`;
  const grown = (peak() - before) / 2 ** 20;
  if (grown > MEMORY_MIB) return `${Math.round(grown)} MiB for ${bytes.length} bytes`;
  return undefined;
}

/** Peak resident memory begins anew (Linux; elsewhere what is resident has to do). Bytes resident now. */
function resetPeak() {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    // Not Linux, or not ours to write.
  }
  return process.memoryUsage.rss();
}

function peak() {
  try {
    return Number(/VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;
  } catch {
    return process.memoryUsage.rss();
  }
}
