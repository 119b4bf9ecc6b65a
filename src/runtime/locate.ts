import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { InputError } from '../errors.ts';
import { type Log, silentLog } from '../report/log.ts';
import type { RuntimeLocation } from './types.ts';

/** A cache between runs, such as @actions/cache. Both throw when the service is broken, which costs a download only. */
export interface CacheService {
  /** Brings `folder` back; false where nothing is stored under `key`. */
  restore(folder: string, key: string): Promise<boolean>;
  save(folder: string, key: string): Promise<void>;
}

export interface ResolveOptions {
  /** Folder of onnxruntime-node, or one with it under node_modules. Nothing else is looked at then. */
  ortPath?: string;
  /** Mirror of the npm registry; default: npm's own configuration. */
  registryUrl?: string;
  /** Folder whose node_modules come first; default the working directory. */
  cwd?: string;
  cache?: CacheService;
  env?: NodeJS.ProcessEnv;
  log?: Log;
  signal?: AbortSignal;
}

/** Finds onnxruntime-node. */
export async function resolveRuntime(options: ResolveOptions = {}): Promise<RuntimeLocation> {
  const log = options.log ?? silentLog;
  const here = path.dirname(fileURLToPath(import.meta.url));
  for (const base of [options.cwd ?? process.cwd(), here]) {
    try {
      const file = createRequire(path.join(base, 'noop.js')).resolve('onnxruntime-node/package.json');
      const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string };
      if (existsSync(path.join(path.dirname(file), 'bin')))
        return { directory: path.dirname(file), version, source: 'node_modules' };
    } catch (error) {
      log.debug(String(error));
    }
  }
  throw new InputError('onnxruntime-node was not found.');
}
