import { open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { InputError, messageOf } from '../../errors.ts';
import { makeFolder } from '../../make-folder.ts';
import type { Log } from '../../receipt/index.ts';
import type { Service, ServiceContext, Step } from '../service/service.ts';
import { appendHistory, type HistoryEntry, type KeyChange, readHistory } from '../states/history.ts';
import { editYaml, type KeyEdit } from '../yaml/edit.ts';
import { type LiveConfig, readConfig, replaceFile, sha256, syncFolder } from './files.ts';

/** Moments at which a test may end the process, to prove that the next run can cope. */
export type FaultPoint =
  | 'locked'
  | 'checked'
  | 'backed-up'
  | 'journaled'
  | 'draft-written'
  | 'written'
  | 'restarted'
  | 'healthy'
  | 'proved'
  | 'recorded'
  | 'reverting'
  | 'reverted';

export type Fault = (point: FaultPoint) => void | Promise<void>;

/** A change of the live config that has been checked and is about to happen. */
export interface Change {
  live: LiveConfig;
  before: Buffer;
  after: Buffer;
  entry: HistoryEntry;
}

export interface LiveContext extends ServiceContext {
  now: () => Date;
  fault: Fault;
}

export interface ChangeResult {
  ok: boolean;
  steps: Step[];
  /** Why it did not hold and how the way back went; or what `prove` could not do, although the change holds. */
  failures: string[];
}

/** What a journal on disk says of a change that is under way. */
interface Journal {
  schema: 1;
  /** `prepared`: the new bytes may be in place. `proved`: healthy, not recorded yet. `reverting`: on the way back. */
  state: 'prepared' | 'proved' | 'reverting';
  before: string;
  after: string;
  backup: string;
  entry: HistoryEntry;
}

const KEPT_BACKUPS = 10;

/**
 * Backs up, writes, restarts, asks for health, watches. Where any of it fails, the previous bytes come back, the
 * service is restarted and asked again. `prove` runs once all is healthy; it may add to the history entry, and what it
 * could not do comes back as failures, with the change in place.
 * The journal makes a killed run's state known to the next one (`recover`).
 */
export async function applyChange(
  change: Change,
  service: Service,
  context: LiveContext,
  prove: (entry: HistoryEntry) => Promise<string[]> = async () => [],
): Promise<ChangeResult> {
  const { live, before, after, entry } = change;
  const { fault, log } = context;
  const backup = await backUp(live, before, entry.id);
  await fault('backed-up');
  const journal: Journal = {
    schema: 1,
    state: 'prepared',
    before: sha256(before),
    after: sha256(after),
    backup,
    entry,
  };
  await writeJournal(live, journal);
  await fault('journaled');

  const steps: Step[] = [];
  const started = performance.now();
  try {
    await replaceFile(live.file, after, draftOf(live), () => fault('draft-written'));
  } catch (error) {
    await removeJournal(live);
    throw error;
  }
  steps.push({ phase: 'change', name: 'write', ok: true, ms: performance.now() - started, detail: live.file });
  log.info(`Written: ${live.file}`);
  await fault('written');

  const target = { modelPath: entry.model?.path, promotedPath: entry.model?.path };
  const failed = await runSteps(steps, log, [
    ...(service.restarts ? [() => service.restart('change', context)] : []),
    () => mark(fault, 'restarted'),
    ...(service.asks ? [() => service.health('change', target, context)] : []),
    () => mark(fault, 'healthy'),
    ...(service.asks ? [() => service.watch(target, context)] : []),
  ]);
  const stopped = failed ?? (await stopOf(context));
  if (stopped !== undefined) {
    log.error(`${sentenceOf(stopped)} Rolling back.`);
    const revert = await revertChange(live, journal, service, context, sentenceOf(stopped));
    return { ok: false, steps: [...steps, ...revert.steps], failures: [sentenceOf(stopped), ...revert.failures] };
  }

  await writeJournal(live, { ...journal, state: 'proved' });
  await fault('proved');
  const unproved = await prove(entry);
  await appendHistory(live.history, entry);
  await fault('recorded');
  await removeJournal(live);
  return { ok: true, steps, failures: unproved };
}

export interface Recovery {
  /** `none`: nothing was under way. */
  outcome: 'none' | 'finished' | 'dropped' | 'reverted';
  steps: Step[];
  /** Why the service is not healthy on the way back. */
  failures: string[];
}

/** Finishes or reverts what a killed run has left; to be called with the lock held, before anything else. */
export async function recover(live: LiveConfig, service: Service, context: LiveContext): Promise<Recovery> {
  const journal = await readJournal(live);
  if (journal === undefined) return { outcome: 'none', steps: [], failures: [] };
  const { entry } = journal;
  const { log } = context;
  if (journal.state === 'proved') {
    const history = await readHistory(live.history, log);
    if (!history.some(({ id }) => id === entry.id)) await appendHistory(live.history, entry);
    await removeJournal(live);
    log.warning(`The ${entry.action} ${entry.id} was cut off once healthy; it is recorded now.`);
    return { outcome: 'finished', steps: [], failures: [] };
  }
  const now = sha256(await readConfig(live.file));
  if (journal.state === 'prepared' && now === journal.before) {
    await removeJournal(live);
    log.info(`The ${entry.action} ${entry.id} was cut off before it changed anything.`);
    return { outcome: 'dropped', steps: [], failures: [] };
  }
  log.warning(`The ${entry.action} ${entry.id} was cut off before health was proved; the previous config comes back.`);
  const reverted = await revertChange(live, journal, service, context, 'The run was cut off before health was proved.');
  return { outcome: 'reverted', ...reverted };
}

/** Returns keys to what they were: the edits that undo changes, newest change first. */
export function undoEdits(keys: readonly KeyChange[]): KeyEdit[] {
  return keys.map(({ key, from, commentFrom, commentTo }) => ({
    key,
    value: from,
    ...(commentFrom === undefined || commentTo === undefined ? {} : { comment: { from: commentTo, to: commentFrom } }),
  }));
}

/** Puts the previous bytes back (or only the keys, where somebody edited the file since), restarts, asks for health. */
async function revertChange(
  live: LiveConfig,
  journal: Journal,
  service: Service,
  context: LiveContext,
  reason: string,
): Promise<{ steps: Step[]; failures: string[] }> {
  const { entry } = journal;
  await writeJournal(live, { ...journal, state: 'reverting' });
  await context.fault('reverting');
  const started = performance.now();
  const current = await readConfig(live.file);
  const previous = await readFile(journal.backup);
  const bytes = [journal.after, journal.before].includes(sha256(current))
    ? previous
    : editYaml(current, undoEdits(entry.keys), { name: live.file }).bytes;
  if (!bytes.equals(current)) await replaceFile(live.file, bytes, draftOf(live));
  const steps: Step[] = [
    { phase: 'revert', name: 'write', ok: true, ms: performance.now() - started, detail: live.file },
  ];
  await context.fault('reverted');

  // The way back is not interrupted: half a rollback is worse than a late one.
  const steady = { ...context, interrupted: async () => undefined };
  const back = { modelPath: entry.previous?.path, promotedPath: entry.model?.path };
  const failed = await runSteps(steps, context.log, [
    ...(service.restarts ? [() => service.restart('revert', steady)] : []),
    ...(service.asks ? [() => service.health('revert', back, steady)] : []),
  ]);
  const { model, previous: old, ...rest } = entry;
  await appendHistory(live.history, {
    ...rest,
    action: 'revert',
    at: context.now().toISOString(),
    configSha256: { before: journal.after, after: sha256(bytes) },
    keys: entry.keys.map(inverse),
    ...(old ? { model: old } : {}),
    ...(model ? { previous: model } : {}),
    failure: reason,
  });
  await removeJournal(live);
  if (failed === undefined) {
    const proof = service.asks ? ' and the service is healthy on it' : '';
    const said = `The previous config is back${proof}: ${live.file}.`;
    context.log.info(said);
    return { steps, failures: [said] };
  }
  const said = `The previous config is back (${live.file}), but the service is not healthy: ${sentenceOf(failed)} See to the service by hand.`;
  context.log.error(said);
  return { steps, failures: [said] };
}

async function runSteps(
  steps: Step[],
  log: Log,
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

async function mark(fault: Fault, point: FaultPoint): Promise<undefined> {
  await fault(point);
  return undefined;
}

async function stopOf(context: LiveContext): Promise<Step | undefined> {
  const reason = await context.interrupted();
  return reason === undefined ? undefined : { phase: 'change', name: 'watch', ok: false, ms: 0, detail: reason };
}

function sentenceOf({ phase, name, detail }: Step): string {
  const when = phase === 'change' ? 'with the new config' : 'with the previous config';
  return `The ${name} ${when} failed: ${detail}${/[.!?]$/.test(detail) ? '' : '.'}`;
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

/** The draft has one name, so that a killed run leaves nothing that adds up. */
function draftOf(live: LiveConfig): string {
  return path.join(live.state, `draft-${path.basename(live.file)}`);
}

async function backUp(live: LiveConfig, bytes: Buffer, id: string): Promise<string> {
  const folder = path.join(live.state, 'backups');
  const suffix = `-${path.basename(live.file)}`;
  const file = path.join(folder, `${id}${suffix}`);
  try {
    makeFolder(folder);
    const handle = await open(file, 'w', 0o600); // A config may hold secrets.
    try {
      await handle.writeFile(bytes);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await syncFolder(folder);
    const old = (await readdir(folder)).filter((name) => name.endsWith(suffix)).sort();
    for (const name of old.slice(0, -KEPT_BACKUPS)) await rm(path.join(folder, name), { force: true });
  } catch (cause) {
    throw new InputError(`The backup '${file}' cannot be written (${messageOf(cause)}); nothing was changed.`, {
      cause,
    });
  }
  return file;
}

function journalOf(live: LiveConfig): string {
  return path.join(live.state, `journal-${path.basename(live.file)}.json`);
}

async function writeJournal(live: LiveConfig, journal: Journal): Promise<void> {
  const file = journalOf(live);
  const draft = `${file}.draft`;
  await writeFile(draft, JSON.stringify(journal), { flush: true });
  await rename(draft, file);
  await syncFolder(live.state);
}

async function removeJournal(live: LiveConfig): Promise<void> {
  await rm(journalOf(live), { force: true });
  await rm(draftOf(live), { force: true });
  await syncFolder(live.state);
}

async function readJournal(live: LiveConfig): Promise<Journal | undefined> {
  try {
    return JSON.parse(await readFile(journalOf(live), 'utf8')) as Journal;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new InputError(
      `'${journalOf(live)}' cannot be read (${messageOf(cause)}): compare ${live.file} with the newest file in ${live.state}/backups, then delete it.`,
      { cause },
    );
  }
}
