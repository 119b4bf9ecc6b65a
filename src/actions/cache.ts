import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { loadRunnerServices } from '../entry.ts';
import { messageOf } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import { type DecisionStore, MAX_DECISIONS_BYTES } from '../quantize/index.ts';
import { readRegularFile } from '../read-file.ts';
import type { Log } from '../receipt/index.ts';

/** Folders kept between runs, by key. A broken or absent cache service is a warning and never a failure. */
export interface Cache {
  /** Where folders to keep are put together; the service finds one again only by the same path. */
  readonly folder: string;
  /** Brings `folder` back; false where nothing is stored under `key`, or the service is broken. */
  restore(folder: string, key: string): Promise<boolean>;
  save(folder: string, key: string): Promise<void>;
}

/** The cache service of the runner; undefined outside one. Its client is loaded at the first use. */
export function runnerCache(env: NodeJS.ProcessEnv, log: Log): Cache | undefined {
  if (!env.ACTIONS_RUNTIME_TOKEN || !(env.ACTIONS_RESULTS_URL || env.ACTIONS_CACHE_URL)) return undefined;
  const guarded = async <T>(what: string, otherwise: T, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      log.warning(`The cache service did not ${what} (${messageOf(error)}); going on without it.`);
      return otherwise;
    }
  };
  return {
    folder: path.join(env.RUNNER_TEMP || tmpdir(), 'onnx-quantize-actions'),
    restore: (folder, key) =>
      guarded('restore', false, async () => {
        const { restoreCache } = await loadRunnerServices();
        return (await restoreCache([folder], key)) !== undefined;
      }),
    save: (folder, key) =>
      guarded('save', undefined, async () => {
        const { saveCache } = await loadRunnerServices();
        await saveCache([folder], key);
      }),
  };
}

/** Decisions of quantizing in a runner's cache service: an entry is a folder of one file. */
export function decisionStore(cache: Cache, log: Log): DecisionStore {
  const entry = (key: string) => {
    const folder = path.join(cache.folder, key);
    return { folder, file: path.join(folder, 'decisions.json'), name: `onnx-quantize-decisions-${key}` };
  };
  return {
    async get(key) {
      const { folder, file, name } = entry(key);
      await rm(folder, { recursive: true, force: true });
      try {
        if (!(await cache.restore(folder, name))) return undefined;
        return await readRegularFile(file, 'The cached decisions', MAX_DECISIONS_BYTES);
      } catch (error) {
        log.warning(`${messageOf(error)} They are made anew.`);
        return undefined;
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
    async put(key, text) {
      const { folder, file, name } = entry(key);
      try {
        makeFolder(folder);
        await writeFile(file, text);
        await cache.save(folder, name);
      } catch (error) {
        log.warning(`The decisions were not cached (${messageOf(error)}); the next run makes them anew.`);
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
  };
}
