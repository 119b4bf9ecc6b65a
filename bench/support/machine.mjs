import { readdirSync, rmSync, statfsSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** What the figures were made on, as a flat record for people. */
export async function describeMachine(root, python) {
  const { environment } = await import(path.join(root, 'lib', 'runtime', 'index.js'));
  const { cpu, cores, isa, node, memoryBytes, os: system } = environment();
  return {
    cpu,
    cores,
    isa: isa.join(' '),
    memory: `${(memoryBytes / 2 ** 30).toFixed(0)} GiB`,
    system,
    node,
    'load before': os.loadavg()[0].toFixed(2),
    python: python ? `onnxruntime ${python.version}` : 'none',
  };
}

/** Bytes free where `directory` lies. */
export function freeBytes(directory) {
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize;
}

/** Removes what begins with `prefix` in a folder. */
export function removeAll(directory, prefix) {
  for (const entry of readdirSync(directory)) {
    if (entry.startsWith(prefix)) rmSync(path.join(directory, entry), { recursive: true });
  }
}
