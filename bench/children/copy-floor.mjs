/**
 * The copy floor: reads all of a file in blocks of 256 KiB, writes a share of it (default: a quarter) in blocks of 512 KiB,
 * fsyncs. As a plain program would: one process, one thread. Arguments: source, target, share.
 */
import { closeSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';

const READ = 256 * 1024;
const WRITE = 512 * 1024;
const [source, target, share = 0.25] = process.argv.slice(2);
const buffer = Buffer.allocUnsafeSlow(READ);
const output = Buffer.allocUnsafeSlow(WRITE);
const from = openSync(source, 'r');
const to = openSync(target, 'wx');
let filled = 0;
for (let at = 0, count = -1; count !== 0; at += count) {
  count = readSync(from, buffer, 0, READ, at);
  const kept = Math.floor(count * share);
  if (filled + kept > WRITE || count === 0) {
    writeSync(to, output, 0, filled);
    filled = 0;
  }
  filled += buffer.copy(output, filled, 0, kept);
}
fsyncSync(to);
closeSync(to);
closeSync(from);
