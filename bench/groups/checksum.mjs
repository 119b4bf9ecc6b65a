import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { measured, run } from '../support/child.mjs';
import { freeBytes } from '../support/machine.mjs';
import { gigabytes, mebibytes, median, seconds } from '../support/statistics.mjs';

const RSS_LIMIT = 128 * 2 ** 20;
const OPENSSL = ['dgst', '-sha256'];

export const group = {
  title: 'Checksum: against openssl dgst, one file',
  async run({ directory, sizeBytes, pairs, log }) {
    const what = `${gigabytes(sizeBytes)} file`;
    if (freeBytes(directory) < sizeBytes + 1e9) return [{ what, figure: 'skipped', note: 'not enough disk' }];
    const openssl = await run('openssl', ['version']).catch(() => undefined);
    if (openssl === undefined) return [{ what, figure: 'skipped', note: 'no openssl here' }];
    const file = path.join(directory, 'checksum.bin');
    const manifest = path.join(directory, 'SHA256SUMS');
    writeFile(file, sizeBytes);
    try {
      return await rows({ file, manifest, sizeBytes, pairs, log, openssl });
    } finally {
      rmSync(file);
    }
  },
};

/** Wall times of whole processes, in alternating turns after one that does not count. */
async function rows({ file, manifest, sizeBytes, pairs, log, openssl }) {
  const threads = Math.min(os.availableParallelism(), 6);
  const times = { openssl: [], together: [], create: [], verify: [] };
  let peak = 0;
  for (let pair = -1; pair < pairs; pair++) {
    log(pair < 0 ? '  warming up' : `  pair ${pair + 1} of ${pairs}`);
    const once = {
      openssl: await timed(() => run('openssl', [...OPENSSL, file])),
      // What this machine can do on all cores at most: as many openssl as verify has threads.
      together: await timed(() =>
        Promise.all(Array.from({ length: threads }, () => run('openssl', [...OPENSSL, file]))),
      ),
    };
    for (const mode of ['create', 'verify']) {
      const { ms, peakBytes } = await measured('checksum', [mode, file, manifest]);
      once[mode] = ms;
      peak = Math.max(peak, peakBytes ?? Number.NaN);
    }
    if (pair >= 0) for (const [name, ms] of Object.entries(once)) times[name].push(ms);
  }
  const ratios = (name) => median(times[name].map((ms, pair) => ms / times.openssl[pair]));
  const speed = (ms) => `${(sizeBytes / 1e6 / ms).toFixed(2)} GB/s`;
  const created = ratios('create');
  const verified = 1 / ratios('verify');
  const scaling = (threads * median(times.openssl)) / median(times.together);
  return [
    {
      what: `openssl dgst -sha256, ${gigabytes(sizeBytes)}`,
      figure: `${seconds(median(times.openssl))}, ${speed(median(times.openssl))}`,
      note: openssl.trim(),
      values: { ms: times.openssl },
    },
    {
      what: `${threads} × openssl dgst at once`,
      figure: `${scaling.toFixed(2)} × the throughput of one`,
      note: 'what more threads are worth on this machine',
      values: { ms: times.together },
    },
    {
      what: 'create: SHA-256 of the file, and of its chunks',
      figure: `${seconds(median(times.create))} = ${created.toFixed(2)} × openssl`,
      limit: '≤ 1.10 × openssl',
      met: created <= 1.1,
      values: { ms: times.create },
    },
    {
      what: `verify by chunk, ${threads} threads`,
      figure: `${seconds(median(times.verify))}, ${speed(median(times.verify))} = ${verified.toFixed(2)} × openssl`,
      limit: `≥ 0.85 × ${threads} × openssl`,
      met: verified >= 0.85 * threads,
      values: { ms: times.verify },
    },
    {
      what: 'peak RSS (VmHWM) of both',
      figure: mebibytes(Number.isNaN(peak) ? undefined : peak),
      limit: '≤ 128 MiB',
      ...(Number.isNaN(peak) ? {} : { met: peak <= RSS_LIMIT }),
      values: { peak },
    },
  ];
}

async function timed(work) {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** Bytes that no two chunks have alike. */
function writeFile(file, size) {
  const block = Buffer.alloc(16 * 2 ** 20);
  for (let at = 0; at < block.length; at += 4) block.writeUInt32LE(Math.imul(at + 1, 2654435761) >>> 0, at);
  const descriptor = openSync(file, 'w');
  try {
    for (let at = 0; at < size; at += block.length) {
      block.writeDoubleLE(at);
      writeSync(descriptor, block, 0, Math.min(block.length, size - at), at);
    }
  } finally {
    closeSync(descriptor);
  }
}
