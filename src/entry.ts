import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** Every worker, child process and part loaded only when needed: its name in `dist/` and its module in `src/` and `lib/`. */
export const ENTRIES = {
  'quantize-worker': 'quantize/stream/worker',
  'checksum-worker': 'checksum/worker',
  'session-process': 'runtime/session-process',
  'runner-services': 'runner-services',
  'html-report': 'report/html-report',
} as const;

export type EntryName = keyof typeof ENTRIES;

/**
 * The JavaScript file of a worker or child process, as an absolute path.
 * In `dist/` it lies beside the bundle, in `lib/` and `src/` where its module is; a run from `src/` (the tests) uses
 * `lib/`, because Node 20 runs no TypeScript. What is mostly other people's code comes with the package as a bundle only,
 * so that those packages need not be installed. Bundlers that see `new Worker(new URL(…))` break it, hence this table.
 */
export function entryPath(name: EntryName): string {
  const here = fileURLToPath(import.meta.url);
  const directory = path.dirname(here);
  if (path.basename(here) === 'entry.ts') return path.join(directory, '..', 'lib', `${ENTRIES[name]}.js`);
  if (path.basename(here) !== 'entry.js') return path.join(directory, `${name}.js`);
  const module = path.join(directory, `${ENTRIES[name]}.js`);
  return existsSync(module) ? module : path.join(directory, '..', 'dist', `${name}.js`);
}

/** The clients of a runner's services and of GitHub, loaded at the first use. */
export function loadRunnerServices(): Promise<typeof import('./runner-services.ts')> {
  return loadEntry('runner-services');
}

/** Imports an entry's module. Bundlers must not follow it: they would put it into the bundle that it was kept out of. */
export function loadEntry<Module>(name: EntryName): Promise<Module> {
  return import(/* webpackIgnore: true */ pathToFileURL(entryPath(name)).href);
}
