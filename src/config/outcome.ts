import path from 'node:path';
import { messageOf } from '../errors.ts';
import { rootOf } from '../model/index.ts';
import {
  createReceipt,
  inputsOf,
  pathInReceipt,
  type Receipt,
  receiptPath,
  silentLog,
  type Verdict,
  writeReceipt,
} from '../receipt/index.ts';
import { environment } from '../runtime/index.ts';
import type { ModelIdentity } from './evidence/models.ts';
import { modelFile } from './evidence/models.ts';
import type { ConfigContext, LiveOptions } from './options.ts';
import type { Step } from './service/service.ts';
import type { HistoryEntry } from './states/history.ts';
import type { StateListing } from './states/listing.ts';
import type { AppliedEdit } from './yaml/edit.ts';

/** What came of a promotion or a rollback. */
export interface ChangeOutcome {
  verdict: Verdict;
  /** One sentence each: what failed, and what to do. */
  failures: string[];
  warnings: string[];
  /** Whether the config (the live one; with `pull-request` the proposed one) is different now. Never in a dry run. */
  changed: boolean;
  previousModelPath?: string;
  /** MB. */
  previousMemoryMb?: number;
  modelPath?: string;
  memoryMb?: number;
  edits: AppliedEdit[];
  /** The changed lines, `-` before and `+` after. */
  diff: string;
  /** What was done to the service, on the way there and, where it failed, back. */
  steps: Step[];
  /** The history entry, where one was written. */
  entry?: HistoryEntry;
  /** What is live and where it can go, where a rollback had nothing to undo or nowhere to go. */
  states?: StateListing;
  commit?: string;
  /** Address of the pull request. */
  pullRequest?: string;
  receipt: Receipt;
  /** Path of the receipt; absent in a dry run. */
  report?: string;
}

export const NO_HEALTH =
  "No 'health-command' or 'health-url' is given, so nothing proves that the service runs what the config says.";

/** An outcome before its receipt. */
export interface Unreported extends Omit<ChangeOutcome, 'verdict' | 'receipt' | 'report'> {
  /** The model that the receipt is about. */
  identity: ModelIdentity;
}

/**
 * Root of a model of which only a sample was digested: the root over nothing. A receipt must name a root, and this one
 * is no model's.
 */
export const UNKNOWN_ROOT = rootOf([]);

/** Writes the receipt of a promotion or rollback (not in a dry run) and says warnings and the changed lines. */
export async function reportChange(
  { identity, ...outcome }: Unreported,
  options: LiveOptions & { token?: string | undefined },
  mode: 'promote' | 'rollback',
  context: ConfigContext,
  projectRoot: string,
): Promise<ChangeOutcome> {
  const { log = silentLog, now = () => new Date() } = context;
  for (const warning of outcome.warnings) log.warning(warning);
  if (options.dryRun) log.info(outcome.diff === '' ? 'Dry run: nothing would change.' : 'Dry run: this would change.');
  if (outcome.changed || options.dryRun) for (const line of outcome.diff.split('\n')) log.info(line);
  const verdict: Verdict = outcome.failures.length === 0 ? 'pass' : 'fail';
  const model = modelFile(identity.path, projectRoot);
  const file = receiptPath(model, 'promote-config', options.report);
  const entry = outcome.entry;
  const commit = outcome.commit ?? entry?.commit;
  const result = { ...outcome, ...(commit === undefined ? {} : { commit }) };
  const receipt = createReceipt<Record<string, unknown>>({
    now: now(),
    action: 'promote-config',
    inputs: inputsOf({ mode, ...options, token: undefined }),
    modelRoot: identity.root ?? UNKNOWN_ROOT,
    files: identity.files.map((state) => ({
      path: pathInReceipt(path.join(path.dirname(model), state.path), file),
      role: 'read',
      size: state.size,
      root: rootOf(Object.values(state.chunks)),
    })),
    environment: environment(),
    results: {
      changed: result.changed,
      config: options.config,
      ...(result.previousModelPath === undefined ? {} : { previousModelPath: result.previousModelPath }),
      ...(result.previousMemoryMb === undefined ? {} : { previousMemoryMb: result.previousMemoryMb }),
      ...(result.modelPath === undefined ? {} : { modelPath: result.modelPath }),
      ...(result.memoryMb === undefined ? {} : { memoryMb: result.memoryMb }),
      diff: result.diff,
      edits: result.edits,
      steps: result.steps,
      failures: result.failures,
      warnings: result.warnings,
      ...(entry ? { history: entry } : {}),
      ...(result.states ? { states: result.states } : {}),
      ...(commit === undefined ? {} : { commit }),
      ...(result.pullRequest === undefined ? {} : { pullRequest: result.pullRequest }),
    },
    verdict,
  });
  if (options.dryRun) return { ...result, verdict, receipt };
  try {
    await writeReceipt(receipt, file);
  } catch (error) {
    // What has happened has happened: the history tells of it, and the job's summary too.
    const warning = messageOf(error);
    log.warning(warning);
    return { ...result, warnings: [...result.warnings, warning], verdict, receipt };
  }
  return { ...result, verdict, receipt, report: file };
}
