import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const lib = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..', 'lib');

/**
 * Node.js arguments that run `script` as a module. In it, `lib('model/index.js')` is a compiled module's address for
 * `import()`, `args` are the given strings and `peakBytes()` is the process's peak resident memory (Linux).
 */
export function scriptArguments(script: string, args: string[] = []): string[] {
  const prelude = `
    const lib = (name) => ${JSON.stringify(pathToFileURL(`${lib}/`).href)} + name;
    const args = process.argv.slice(1);
    const peakBytes = () => Number(/VmHWM:\\s*(\\d+) kB/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;`;
  const source = `import fs from 'node:fs';${prelude}\n${script}`;
  return ['--input-type=module', '-e', source, '--', ...args];
}

/** Runs a script in a process of its own and returns what it printed, as JSON. */
export function runScript<T>(script: string, args: string[] = []): T {
  const result = spawnSync(process.execPath, scriptArguments(script, args), { encoding: 'utf8', timeout: 500_000 });
  return jsonOf(result);
}

export function jsonOf<T>({ status, stdout, stderr, signal }: SpawnSyncReturns<string>): T {
  if (status !== 0) throw new Error(`the script ended with ${signal ?? status}: ${stderr}`);
  return JSON.parse(stdout) as T;
}
