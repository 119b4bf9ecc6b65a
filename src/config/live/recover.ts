import type { ModelIdentity } from '../evidence/models.ts';
import type { Service, Step } from '../service/service.ts';
import type { HistoryEntry } from '../states/history.ts';
import { appendHistory, readHistory } from '../states/history-file.ts';
import { type LiveContext, putBack, recordRevert, revertChange } from './change.ts';
import type { LiveConfig } from './files.ts';
import { readConfig, sha256 } from './files.ts';
import { type Journal, readJournal, removeDrafts, removeJournal } from './journal.ts';

/**
 * What a run that was cut off had left, and what became of it: `none` nothing; `recorded` a promotion that was proved;
 * `dropped` nothing had been written yet; `undone` an unproved promotion; `written` a rollback, whose service was not
 * asked to the end yet.
 */
export interface Recovery {
  outcome: 'none' | 'recorded' | 'dropped' | 'undone' | 'written';
  entry?: HistoryEntry;
  steps: Step[];
  /** Why the service is not healthy, for `undone`. */
  failures: string[];
}

/**
 * Settles what a killed run, or one that gave way, has left; to be called with the lock held, before anything else.
 * Everything is decided by the journal, the config's bytes and the history's ids.
 * @param way how a promotion is undone: by a promotion with restart and health; by a rollback without, because the
 * rollback restarts and asks itself.
 */
export async function recover(
  live: LiveConfig,
  service: Service,
  context: LiveContext,
  { way, waitMs }: { way: 'promote' | 'rollback'; waitMs: (model: ModelIdentity | undefined) => Promise<number> },
): Promise<Recovery> {
  const journal = await readJournal(live);
  await removeDrafts(live);
  if (journal === undefined) return { outcome: 'none', steps: [], failures: [] };
  const { entry } = journal;
  const { log } = context;
  const settled = { entry, steps: [], failures: [] };
  const what = `The ${entry.action} ${entry.id}`;

  if (entry.action !== 'rollback' && journal.state === 'proved') {
    await recordOnce(live, entry, context);
    await removeJournal(live);
    log.warning(`${what} was cut off once healthy; it is recorded now.`);
    return { outcome: 'recorded', ...settled };
  }
  if (await isUntouched(live, journal)) {
    await removeJournal(live);
    log.info(`${what} was cut off before it changed anything.`);
    return { outcome: 'dropped', ...settled };
  }
  if (entry.action === 'rollback') {
    await recordOnce(live, entry, context);
    log.warning(`${what} was cut off before health was proved; it stands, and is finished now.`);
    return { outcome: 'written', ...settled };
  }
  const reason = 'The run was cut off before health was proved.';
  log.warning(`${what} was cut off before health was proved; the previous config comes back.`);
  if (way === 'promote') {
    const reverted = await revertChange(
      live,
      journal,
      service,
      context,
      reason,
      entry.previous,
      await waitMs(entry.previous),
    );
    return { outcome: 'undone', entry, steps: reverted.steps, failures: reverted.ok ? [] : reverted.failures };
  }
  const started = performance.now();
  await putBack(live, journal);
  await context.fault('reverted');
  await recordRevert(live, journal, reason, context, {});
  const write: Step = { phase: 'revert', name: 'write', ok: true, ms: performance.now() - started, detail: live.file };
  return { outcome: 'undone', entry, steps: [write], failures: [] };
}

/** Whether the config was never written, so that the service cannot have seen anything new. */
async function isUntouched(live: LiveConfig, { state, before, after, back }: Journal): Promise<boolean> {
  if (state !== 'prepared' || before === after || sha256(await readConfig(live.file)) !== before) return false;
  if (back === undefined || back.bytes === undefined) return true;
  // A backup that is gone has been renamed back: the service may have been restarted before that.
  return readConfig(back.backup).then(
    () => true,
    () => false,
  );
}

async function recordOnce(live: LiveConfig, entry: HistoryEntry, { log }: LiveContext): Promise<void> {
  const history = await readHistory(live.history, log);
  if (!history.some(({ id, action }) => id === entry.id && action === entry.action))
    await appendHistory(live.history, entry);
}
