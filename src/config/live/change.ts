import { messageOf } from '../../errors.ts';
import type { Lock } from '../../lock.ts';
import { identifyModel, isSameModel, type ModelIdentity } from '../evidence/models.ts';
import type { Fault, FaultPoint } from '../options.ts';
import type { Service, ServiceContext, Step } from '../service/service.ts';
import { reasonOf } from '../service/service.ts';
import type { HistoryEntry, KeyChange } from '../states/history.ts';
import { appendHistory, readHistory } from '../states/history-file.ts';
import { editYaml, type KeyEdit } from '../yaml/edit.ts';
import { type LiveConfig, readConfig, replaceFile, rightsOf, sha256 } from './files.ts';
import {
  backUp,
  draftOf,
  type Journal,
  pruneBackups,
  readJournal,
  removeJournal,
  renameBack,
  undoEdits,
  writeJournal,
} from './journal.ts';

export interface LiveContext extends ServiceContext {
  /** For who acts, and in which workflow run. */
  env: NodeJS.ProcessEnv;
  now: () => Date;
  fault: Fault;
  lock: Pick<Lock, 'assertHeld'>;
  /** Why `stop` ended the waiting, and all else: a rollback that was asked for takes over from here. */
  gaveWay(): boolean;
  /** Aborted only to give way: what is on its way back goes on when a run is cancelled. */
  giveWay: AbortSignal;
}

/** A promotion that has been checked and is about to happen. */
export interface Change {
  live: LiveConfig;
  before: Buffer;
  after: Buffer;
  entry: HistoryEntry;
  /** The model as it was checked; its bytes are looked at again once the service is healthy. */
  checked: ModelIdentity & { root: string };
  /** Longest wait for health, ms: with the new config, and on the way back. */
  waitMs: number;
  backWaitMs: number;
  /** Where the way back leads, where that is not to `before`: another state, whose files are whole. */
  back?: { bytes: Buffer; edits: KeyEdit[]; target: string; model: ModelIdentity };
}

export interface ChangeResult {
  ok: boolean;
  steps: Step[];
  /** Why it did not hold and how the way back went; or what `deliver` could not do, although the change holds. */
  failures: string[];
}

/**
 * Backs up, writes, restarts, asks for health, watches. Where any of it fails or throws, the previous bytes come back,
 * the service is restarted and asked again. Asked to give way, it leaves its journal to the rollback that asked.
 * `deliver` runs once all is healthy; it may add to the history entry, and what it could not do comes back as failures,
 * with the change in place.
 */
export async function applyChange(
  change: Change,
  service: Service,
  context: LiveContext,
  deliver: (entry: HistoryEntry) => Promise<string[]> = async () => [],
): Promise<ChangeResult> {
  const { live, before, after, entry } = change;
  const { fault, log, lock } = context;
  const rights = await rightsOf(live.file);
  const backBytes = change.back?.bytes ?? before;
  const backup = await backUp(live, backBytes, rights, entry.id);
  await fault('backed-up');
  const journal: Journal = {
    state: 'prepared',
    before: sha256(before),
    after: sha256(after),
    entry,
    back: {
      bytes: backBytes,
      backup,
      mode: rights.mode,
      edits: change.back?.edits ?? undoEdits(entry.keys),
      ...(change.back ? { target: change.back.target } : {}),
    },
  };
  lock.assertHeld();
  await writeJournal(live, journal);
  await pruneBackups(live, await readHistory(live.history, log), backup);
  await fault('journaled');

  const steps: Step[] = [];
  let written = false;
  let recorded = false;
  try {
    const started = performance.now();
    if (!after.equals(before)) {
      await replaceFile(live.file, after, draftOf(live), () => fault('draft-written'));
      steps.push({ phase: 'change', name: 'write', ok: true, ms: performance.now() - started, detail: live.file });
      log.info(`Written: ${live.file}`);
    }
    written = true;
    await fault('written');
    const target = { modelPath: entry.model?.path, promotedPath: entry.model?.path };
    const failed = await runSteps(steps, context, [
      ...(service.restarts ? [() => service.restart('change', context)] : []),
      () => mark(fault, 'restarted'),
      ...(service.asks ? [() => service.health('change', target, change.waitMs, context)] : []),
      () => mark(fault, 'healthy'),
      ...(service.asks ? [() => service.watch(target, context)] : []),
      () => lookAgain(change, context),
      () => stopOf(context),
    ]);
    if (failed !== undefined) {
      if (context.gaveWay())
        return { ok: false, steps, failures: [gaveWaySentence(context, 'the rollback takes over from here')] };
      return await fail(change, journal, service, context, steps, sentenceOf(failed));
    }
    if (service.asks) {
      entry.proved = true;
      entry.healthMs = Math.round(steps.findLast(({ name }) => name === 'health')?.ms ?? 0);
    }
    await writeJournal(live, { ...journal, state: 'proved' });
    recorded = true; // From here on the next run records it, should this one not be able to.
    await fault('proved');
    const failures = await delivered(entry, context, deliver);
    try {
      await appendHistory(live.history, entry);
      await fault('recorded');
      await removeJournal(live);
    } catch (error) {
      failures.push(`The promotion holds, but is not recorded yet (${messageOf(error)}) The next run records it.`);
    }
    return { ok: true, steps, failures };
  } catch (error) {
    if (!written && (await readConfig(live.file)).equals(before)) {
      await removeJournal(live);
      throw error;
    }
    // The one place where whatever is thrown after the write ends: in the old config, or in the proved one.
    log.debug(error instanceof Error ? String(error.stack) : String(error));
    const why = `The promotion failed: ${messageOf(error)}`;
    if (recorded) return { ok: true, steps, failures: [why] };
    return await fail(change, journal, service, context, steps, why);
  }
}

async function delivered(
  entry: HistoryEntry,
  context: LiveContext,
  deliver: (entry: HistoryEntry) => Promise<string[]>,
): Promise<string[]> {
  if (context.gaveWay())
    return [gaveWaySentence(context, 'the promotion was proved and is recorded, and nothing was pushed')];
  return deliver(entry);
}

/** Undoes a promotion that failed; nothing that goes wrong on the way back is thrown. */
async function fail(
  change: Change,
  journal: Journal,
  service: Service,
  context: LiveContext,
  steps: Step[],
  why: string,
): Promise<ChangeResult> {
  context.log.error(`${why} Returning to the previous config.`);
  const back = change.back?.model ?? change.entry.previous;
  const reverted = await revertChange(change.live, journal, service, context, why, back, change.backWaitMs);
  return { ok: false, steps: [...steps, ...reverted.steps], failures: [why, ...reverted.failures] };
}

/**
 * Puts the previous bytes back, restarts, asks for health, records. What goes wrong comes back as failures; where the
 * bytes could not be put back, the journal stays and the next run does it.
 */
export async function revertChange(
  live: LiveConfig,
  journal: Journal,
  service: Service,
  context: LiveContext,
  reason: string,
  model: ModelIdentity | undefined,
  waitMs: number,
): Promise<{ ok: boolean; steps: Step[]; failures: string[] }> {
  const { log } = context;
  const steps: Step[] = [];
  const started = performance.now();
  // What has been written down does not have to be for the way back: on a full disk it goes without.
  await writeJournal(live, { ...journal, state: 'reverting' }).catch((error: unknown) => log.warning(messageOf(error)));
  await context.fault('reverting');
  try {
    await putBack(live, journal);
  } catch (error) {
    const backup = journal.back?.backup ?? live.state;
    const said = `The previous config could not be put back (${messageOf(error)}). Mend that and run this again, which returns to it; by hand: copy ${backup} over ${live.file} and restart the service.`;
    log.error(said);
    return { ok: false, steps, failures: [said] };
  }
  steps.push({ phase: 'revert', name: 'write', ok: true, ms: performance.now() - started, detail: live.file });
  await context.fault('reverted');

  // The way back goes on when the run is cancelled: half of it is worse than a late one. A rollback may take it over.
  const steady = { ...context, stop: context.giveWay };
  const target = { modelPath: model?.path, promotedPath: journal.entry.model?.path };
  const failed = await runSteps(steps, steady, [
    ...(service.restarts ? [() => service.restart('revert', steady)] : []),
    ...(service.asks ? [() => service.health('revert', target, waitMs, steady)] : []),
  ]).catch((error: unknown): Step => ({ phase: 'revert', name: 'health', ok: false, ms: 0, detail: messageOf(error) }));
  if (failed !== undefined && context.gaveWay()) {
    return {
      ok: false,
      steps,
      failures: [gaveWaySentence(context, 'the previous config is back, and the rollback restarts the service')],
    };
  }
  const failures: string[] = [];
  try {
    const proved = service.asks ? { proved: failed === undefined } : {};
    await recordRevert(live, journal, reason, context, proved);
  } catch (error) {
    failures.push(`${messageOf(error)} The next run records it.`);
  }
  if (failed === undefined) {
    const proof = service.asks ? ' and the service is healthy on it' : '';
    const said = `The previous config is back${proof}: ${live.file}.`;
    log.info(said);
    return { ok: true, steps, failures: [said, ...failures] };
  }
  const said = `The previous config is back (${live.file}), but the service is not healthy: ${sentenceOf(failed)} See to the service by hand.`;
  log.error(said);
  return { ok: false, steps, failures: [said, ...failures] };
}

/** The bytes of the way back, or only its keys where somebody has edited the file since. */
export async function putBack(live: LiveConfig, { before, after, back }: Journal): Promise<void> {
  if (back === undefined) return;
  const current = await readConfig(live.file);
  const now = sha256(current);
  if (now !== after && now !== before && now !== (back.bytes && sha256(back.bytes))) {
    const { bytes, changed } = editYaml(current, back.edits, { name: live.file });
    if (changed) await replaceFile(live.file, bytes, draftOf(live));
    return;
  }
  const bytes = back.bytes ?? (await readConfig(back.backup).catch(() => undefined));
  const wanted = bytes ?? editYaml(current, back.edits, { name: live.file }).bytes;
  if (current.equals(wanted) || (await renameBack(live, back))) return;
  await replaceFile(live.file, wanted, draftOf(live));
}

/** Records that a promotion was undone, once, and that nothing is under way any more. */
export async function recordRevert(
  live: LiveConfig,
  { entry, after, back }: Journal,
  reason: string,
  context: LiveContext,
  facts: Partial<HistoryEntry>,
): Promise<void> {
  const { model, previous, proved: _, healthMs: __, ...rest } = entry;
  const history = await readHistory(live.history, context.log);
  if (!history.some(({ id }) => id === entry.id)) {
    await appendHistory(live.history, {
      ...rest,
      action: 'revert',
      at: context.now().toISOString(),
      configSha256: { before: after, after: sha256(await readConfig(live.file)) },
      keys: entry.keys.map(inverse),
      ...(previous ? { model: previous } : {}),
      ...(model ? { previous: model } : {}),
      ...(back?.target === undefined ? {} : { target: back.target }),
      failure: reason,
      ...facts,
    });
  }
  if ((await readJournal(live))?.entry.id === entry.id) await removeJournal(live);
}

/** Runs steps until one fails, which is returned. */
export async function runSteps(
  steps: Step[],
  { log }: Pick<LiveContext, 'log'>,
  tasks: (() => Promise<Step | undefined>)[],
): Promise<Step | undefined> {
  for (const task of tasks) {
    const step = await task();
    if (step === undefined) continue;
    steps.push(step);
    if (!step.ok) return step;
    log.info(`${step.name}: ${firstLine(step.detail)}`);
  }
  return undefined;
}

export function sentenceOf({ phase, name, detail }: Step): string {
  const when = phase === 'change' ? 'with the new config' : 'with the previous config';
  return `The ${name} ${when} failed: ${detail}${/[.!?]$/.test(detail) ? '' : '.'}`;
}

function gaveWaySentence({ giveWay }: LiveContext, what: string): string {
  return `The promotion gave way: ${reasonOf(giveWay)}; ${what}.`;
}

/** Bytes may have been swapped between the check and the restart: what is live must be what was checked. */
async function lookAgain({ checked, entry }: Change, context: LiveContext): Promise<Step | undefined> {
  const started = performance.now();
  const found = await unlessStopped(identifyModel(checked.path, context.projectRoot), context.stop);
  if (found === undefined) return undefined;
  if (entry.model) entry.model = found;
  if (isSameModel(found, checked)) return undefined;
  const detail = `the files of ${checked.path} have changed since they were checked (root ${checked.root.slice(0, 12)}…, now ${found.root.slice(0, 12)}…)`;
  return { phase: 'change', name: 'health', ok: false, ms: performance.now() - started, detail };
}

/** What a piece of work comes to; undefined where the waiting ends first. */
export async function unlessStopped<T>(work: Promise<T>, stop: AbortSignal): Promise<T | undefined> {
  if (stop.aborted) return undefined;
  return new Promise((resolve, reject) => {
    const ended = () => resolve(undefined);
    stop.addEventListener('abort', ended);
    work.then(resolve, reject).finally(() => stop.removeEventListener('abort', ended));
  });
}

async function mark(fault: Fault, point: FaultPoint): Promise<undefined> {
  await fault(point);
  return undefined;
}

async function stopOf({ stop }: LiveContext): Promise<Step | undefined> {
  return stop.aborted ? { phase: 'change', name: 'watch', ok: false, ms: 0, detail: reasonOf(stop) } : undefined;
}

function firstLine(text: string): string {
  return text.split('\n')[0] ?? '';
}

function inverse({ key, from, to, commentFrom, commentTo }: KeyChange): KeyChange {
  return {
    key,
    ...(to === undefined ? {} : { from: to }),
    ...(from === undefined ? {} : { to: from }),
    ...(commentTo === undefined ? {} : { commentFrom: commentTo }),
    ...(commentFrom === undefined ? {} : { commentTo: commentFrom }),
  };
}
