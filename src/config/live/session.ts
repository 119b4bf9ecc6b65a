import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { InputError, messageOf } from '../../errors.ts';
import { type Lock, waitForLock } from '../../lock.ts';
import { makeFolder } from '../../make-folder.ts';
import { actor, type ConfigContext } from '../options.ts';
import type { Service } from '../service/service.ts';
import { type LiveContext, type Recovery, recover } from './change.ts';
import { type LiveConfig, locateConfig } from './files.ts';

/** A run that has the live config to itself. */
export interface LiveSession {
  live: LiveConfig;
  projectRoot: string;
  context: LiveContext;
  recovery: Recovery;
  /** Whether another run was at work and has been asked to stop. */
  preempted: boolean;
}

export interface SessionOptions {
  action: 'promote' | 'rollback';
  config: string;
  projectRoot: string;
  dryRun: boolean;
  service: Service;
}

/** How long a rollback waits for the run that it has asked to stop, ms: time to restart and prove health. */
const PREEMPT_MS = 60_000;

/**
 * Locks the live config, finishes or reverts what a killed run has left, and runs `work`. A dry run locks nothing and
 * mends nothing. A rollback that finds another run at work asks it to stop, and gets its turn once that has rolled back.
 */
export async function withLiveConfig<T>(
  options: SessionOptions,
  context: ConfigContext,
  work: (session: LiveSession) => Promise<T>,
): Promise<T> {
  const { log, signal, now = () => new Date(), env = process.env, fault = () => {} } = context;
  const { action, projectRoot, service } = options;
  const live = await locateConfig(options.config, projectRoot);
  const idle: Recovery = { outcome: 'none', steps: [], failures: [] };
  const liveContext: LiveContext = { log, projectRoot, now, fault, interrupted: async () => undefined };
  if (options.dryRun) return work({ live, projectRoot, context: liveContext, recovery: idle, preempted: false });

  const stopFile = path.join(live.state, 'stop');
  let preempted = false;
  makeStateFolder(live.state);
  const lock: Lock = await waitForLock(path.join(live.state, 'lock'), {
    what: 'this config',
    action,
    now: now(),
    warn: (sentence) => log.warning(sentence),
    onWait: async (owner, waitedMs) => {
      if (action !== 'rollback' || waitedMs > PREEMPT_MS) return false;
      if (!preempted) {
        log.warning(`A ${owner.action ?? 'run'} is at work; asking it to stop and roll back first.`);
        await writeFile(stopFile, JSON.stringify({ token: owner.token, by: actor(env).who }));
      }
      preempted = true;
      return true;
    },
  });
  try {
    await rm(stopFile, { force: true });
    await fault('locked');
    const interrupted = async (): Promise<string | undefined> => {
      if (signal?.aborted) return 'the run was cancelled';
      return action === 'promote' ? stopRequest(stopFile, lock.token) : undefined;
    };
    const recovery = await recover(live, service, { ...liveContext, interrupted: async () => undefined });
    if (recovery.failures.length > 0 && recovery.steps.some(({ ok }) => !ok) && action === 'promote') {
      throw new InputError(`An earlier run was cut off. ${recovery.failures.join(' ')}`);
    }
    return await work({ live, projectRoot, context: { ...liveContext, interrupted }, recovery, preempted });
  } finally {
    lock.release();
  }
}

async function stopRequest(file: string, token: string): Promise<string | undefined> {
  try {
    const request = JSON.parse(await readFile(file, 'utf8')) as { token?: string; by?: string };
    return request.token === token ? `a rollback was asked for by ${request.by}` : undefined;
  } catch {
    return undefined; // No request, or one that is just being written: the next look will see it.
  }
}

function makeStateFolder(folder: string): void {
  try {
    makeFolder(folder);
  } catch (cause) {
    throw new InputError(`'${folder}' cannot be made (${messageOf(cause)}): run as the owner of the config's folder.`, {
      cause,
    });
  }
}
