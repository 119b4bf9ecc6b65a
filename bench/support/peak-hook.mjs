/** Loaded before a measured program: notes the process's peak memory as its last act. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

const file = process.env.BENCH_PEAK_FILE;
if (isMainThread && file) {
  delete process.env.BENCH_PEAK_FILE;
  const status = '/proc/self/status';
  process.on('exit', () => writeFileSync(file, existsSync(status) ? readFileSync(status, 'utf8') : ''));
}
