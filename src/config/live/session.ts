import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { InputError, messageOf } from '../../errors.ts';
import { type Lock, type LockOwner, waitForLock } from '../../lock.ts';
import { makeFolder } from '../../make-folder.ts';
import { isGone, isHere } from '../../process-identity.ts';
import { silentLog } from '../../receipt/index.ts';
import { actor, type ConfigContext } from '../options.ts';
import type { LiveContext } from './change.ts';
import { type LiveConfig, locateConfig } from './files.ts';

/** A run that has the live config to itself. */
export interface LiveSession {
  live: LiveConfig;
  projectRoot: string;
  context: LiveContext;
}

export interface SessionOptions {
  action: 'promote' | 'rollback';
  config: string;
  projectRoot: string;
  dryRun: boolean;
}

/** How long a promotion that was asked to give way may take, ms; then it is killed, where that is allowed. */
const GIVE_WAY_MS = 15_000;
/** How often a promotion looks whether it is asked to give way, ms. */
const LOOK_MS = 100;
const SAY_MS = 15_000;

/**
 * Locks the live config and runs `work`. A dry run locks nothing. A rollback asks a promotion that is at work to give
 * way, and kills it if it does not; for another rollback it waits. The lock is free again before this returns.
 */
export async function withLiveConfig<T>(
  options: SessionOptions,
  context: ConfigContext,
  work: (session: LiveSession) => Promise<T>,
): Promise<T> {
  const { log = silentLog, signal, now = () => new Date(), env = process.env, fault = () => {} } = context;
  const { action, projectRoot } = options;
  const live = await locateConfig(options.config, projectRoot);
  const giveWay = new AbortController();
  const stop = new AbortController();
  const cancel = () => stop.abort(new Error('the run was cancelled'));
  signal?.addEventListener('abort', cancel, { once: true });
  if (signal?.aborted) cancel();
  const liveContext: LiveContext = {
    log,
    projectRoot,
    env,
    now,
    fault,
    stop: stop.signal,
    giveWay: giveWay.signal,
    gaveWay: () => giveWay.signal.aborted,
    lock: { assertHeld: () => undefined },
    restartLog: path.join(live.state, `restart-${path.basename(live.file)}.log`),
  };
  if (options.dryRun) return work({ live, projectRoot, context: liveContext });

  makeStateFolder(live.state);
  const stopFile = path.join(live.state, 'stop');
  const lock: Lock = await waitForLock(path.join(live.state, 'lock'), {
    what: 'this config',
    action,
    now: now(),
    warn: (sentence) => log.warning(sentence),
    onWait: action === 'rollback' ? waiting(stopFile, liveContext) : () => false,
  }).catch((cause: unknown) => {
    if (cause instanceof InputError) throw cause;
    throw new InputError(
      `The lock in '${live.state}' cannot be written (${messageOf(cause)}): free some space, or run as the config's owner.`,
      { cause },
    );
  });
  const looking = setInterval(() => {
    const by = action === 'promote' ? stopRequest(stopFile, lock.token) : undefined;
    if (by === undefined || giveWay.signal.aborted) return;
    const reason = new Error(`a rollback was asked for by ${by}`);
    giveWay.abort(reason);
    stop.abort(reason);
  }, LOOK_MS);
  try {
    rmSync(stopFile, { force: true });
    await fault('locked');
    return await work({ live, projectRoot, context: { ...liveContext, lock } });
  } finally {
    clearInterval(looking);
    signal?.removeEventListener('abort', cancel);
    lock.release();
  }
}

/** How a rollback waits for the run that holds the lock. */
function waiting(stopFile: string, { log, env, stop }: LiveContext) {
  let asked: string | undefined;
  let askedAt = 0;
  let killed = false;
  let saidAt = 0;
  return (owner: LockOwner, waitedMs: number): boolean => {
    if (stop.aborted) return false;
    if (owner.action === 'rollback') {
      if (saidAt === 0 || waitedMs - saidAt >= SAY_MS) {
        log.info(
          `Another rollback is at work since ${owner.since ?? 'a moment'}; it is never cut short, so this one waits for it.`,
        );
        saidAt = Math.max(waitedMs, 1);
      }
      return true;
    }
    if (asked !== owner.token) {
      log.warning(
        `A ${owner.action ?? 'run'} (process ${owner.pid} on ${owner.host}) is at work; asking it to give way.`,
      );
      writeFileSync(stopFile, JSON.stringify({ token: owner.token, by: actor(env).who }));
      asked = owner.token;
      askedAt = waitedMs;
    }
    const patience = waitedMs - askedAt;
    if (patience < GIVE_WAY_MS) return true;
    if (killed) return patience < GIVE_WAY_MS + 5_000;
    killed = true;
    return kill(owner, log);
  };
}

/** Kills a run that did not give way. Its journal says what it was at. False where it is out of reach. */
function kill(owner: LockOwner, log: LiveContext['log']): boolean {
  if (!isHere(owner) || isGone(owner)) return isGone(owner);
  try {
    process.kill(owner.pid, 'SIGKILL');
    log.warning(
      `The ${owner.action ?? 'run'} did not give way in ${GIVE_WAY_MS / 1000} s; process ${owner.pid} was killed.`,
    );
    return true;
  } catch (error) {
    log.error(`Process ${owner.pid} does not give way and cannot be killed (${messageOf(error)}): end it by hand.`);
    return false;
  }
}

/** Who asked the holder of `token` to give way. */
function stopRequest(file: string, token: string): string | undefined {
  try {
    const request = JSON.parse(readFileSync(file, 'utf8')) as { token?: unknown; by?: unknown } | null;
    return request?.token === token ? String(request.by) : undefined;
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
