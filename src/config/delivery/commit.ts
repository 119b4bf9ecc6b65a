import { InputError, messageOf } from '../../errors.ts';
import type { Log } from '../../receipt/index.ts';
import type { FiledReceipt } from '../evidence/receipts.ts';
import type { HistoryEntry } from '../states/history.ts';
import { editYaml, type KeyEdit } from '../yaml/edit.ts';
import { GitStopped } from './git.ts';
import {
  commitFiles,
  fetchBase,
  pushCommit,
  type Repository,
  readRepositoryFile,
  receiptPathIn,
  stoppedBy,
} from './repository.ts';

export interface Delivery {
  edits: readonly KeyEdit[];
  updateComment: boolean;
  receipts: readonly FiledReceipt[];
  entry: HistoryEntry;
}

const TRIES = 5;

/**
 * `commitEdit` once the live config holds: notes the commit in the history entry. Never throws: what it could not do
 * comes back as sentences.
 * @param stop ends the talk with the server: a rollback that is asked for does not wait for a push
 */
export async function deliverCommit(
  repository: Repository | Promise<Repository>,
  delivery: Delivery,
  { log, stop }: { log: Log; stop: AbortSignal },
): Promise<string[]> {
  try {
    const commit = await commitEdit(stoppedBy(stop, await repository), delivery, log);
    if (commit !== undefined) delivery.entry.commit = commit;
    return [];
  } catch (error) {
    log.debug(error instanceof Error ? String(error.stack) : String(error));
    return [
      error instanceof GitStopped
        ? `The live config is in place and healthy, but whether the repository has it is not known: ${error.message}. Run the same again, which only pushes.`
        : `The live config is in place and healthy, but the repository does not have it: ${messageOf(error)}`,
    ];
  }
}

/**
 * Commits and pushes the edit that the live config got: the same keys on the branch's own text, with the receipts
 * beside it. Where the branch has moved the edit is made anew on its new tip; nothing is ever forced.
 * @returns the commit, or undefined where the branch holds all of it already.
 */
async function commitEdit(repository: Repository, delivery: Delivery, log: Log): Promise<string | undefined> {
  const { base, file } = repository;
  for (let attempt = 1; attempt <= TRIES; attempt++) {
    const tip = await fetchBase(repository);
    const source = await readRepositoryFile(repository, tip);
    const { bytes } = editYaml(source, delivery.edits, { name: file, updateComment: delivery.updateComment });
    const files = [{ path: file, bytes }, ...receiptCopies(repository, delivery.receipts)];
    const commit = await commitFiles(repository, tip, [tip], files, commitMessage(delivery.entry));
    if (commit === undefined) return undefined;
    if (await pushCommit(repository, commit, base)) {
      log.info(`Pushed ${commit.slice(0, 10)} to ${base}.`);
      return commit;
    }
    log.info(`'${base}' has moved; trying again on its new tip (${attempt} of ${TRIES}).`);
  }
  throw new InputError(`'${base}' moved ${TRIES} times while pushing; run again when it is quieter.`);
}

export function receiptCopies(repository: Repository, receipts: readonly FiledReceipt[]) {
  return receipts.map(({ file, bytes }) => ({ path: receiptPathIn(repository, file), bytes }));
}

export function commitMessage(entry: HistoryEntry): string {
  const verb = entry.action === 'promote' ? 'Promote' : 'Roll back to';
  const lines = [
    `${verb} ${entry.model?.path ?? 'the previous config'}`,
    '',
    ...entry.keys.map(({ key, from, to }) => `${key}: ${from ?? '(absent)'} -> ${to ?? '(absent)'}`),
    ...(entry.reason ? ['', entry.reason] : []),
    '',
    `Entry ${entry.id} of the model history, by ${entry.who}.`,
    ...(entry.run ? [entry.run] : []),
  ];
  return `${lines.join('\n')}\n`;
}
