import path from 'node:path';
import { InputError, messageOf } from '../errors.ts';
import { type Delivery, deliverCommit } from './delivery/commit.ts';
import { proposeEdit } from './delivery/pull-request.ts';
import { readRepositoryFile, repositoryOf } from './delivery/repository.ts';
import { identifyModel, type ModelIdentity, modelFile, modelPathOf, sketchModel } from './evidence/models.ts';
import {
  type FiledReceipt,
  gateReceipts,
  measuredMemoryMb,
  memoryLimitMb,
  mention,
  readReceipts,
  receiptsFor,
} from './evidence/receipts.ts';
import { applyChange } from './live/change.ts';
import { readConfig, sha256 } from './live/files.ts';
import { withLiveConfig } from './live/session.ts';
import {
  actor,
  type ConfigContext,
  DEFAULT_MEMORY_KEY,
  DEFAULT_MODEL_PATH_KEY,
  type LiveOptions,
  newId,
} from './options.ts';
import { type ChangeOutcome, NO_HEALTH, reportChange, type Unreported } from './outcome.ts';
import { openService } from './service/service.ts';
import type { HistoryEntry, KeyChange } from './states/history.ts';
import type { ValueFacts } from './yaml/comment.ts';
import { lineDiff } from './yaml/diff.ts';
import { type AppliedEdit, type EditResult, editYaml, type KeyEdit, readKey } from './yaml/edit.ts';
import { readScalar } from './yaml/scalar.ts';

export interface PromoteOptions extends LiveOptions {
  /** The model to put into the config; a relative path starts at `projectRoot`. */
  model: string;
  /** Memory limit to write, MB; `auto` is the resident memory in the receipts plus headroom, rounded up to 50. */
  configMemoryMb?: number | 'auto' | undefined;
  /** What `auto` adds, % (default 10). */
  headroomPercent?: number | undefined;
  /** Further edits, `key=value` each. */
  set?: readonly string[] | undefined;
  /** Replace trailing comments that name the old value. */
  updateComment?: boolean | undefined;
  /** Receipts, or folders of them; those beside the model unless given. */
  receipts?: readonly string[] | undefined;
  /** Promote without passing receipts. Loud, and recorded. */
  force?: boolean | undefined;
  delivery?: 'file' | 'commit' | 'pull-request' | undefined;
  token?: string | undefined;
  branch?: string | undefined;
}

/**
 * Puts a proved model into the live config: check → back up → write → restart → health → watch → record, and back again
 * by itself where the service does not hold. Promoting the same thing twice changes nothing.
 * @throws InputError for a user's mistake; a failing gate, restart or health is a result with `failures`.
 */
export async function promote(options: PromoteOptions, context: ConfigContext): Promise<ChangeOutcome> {
  const projectRoot = path.resolve(options.projectRoot ?? '.');
  const modelPath = modelPathOf(modelFile(options.model, projectRoot), projectRoot);
  const delivery = options.delivery ?? 'file';
  if (delivery === 'pull-request') return propose(options, context, projectRoot, modelPath);

  const service = openService(options);
  const session = {
    action: 'promote',
    config: options.config,
    projectRoot,
    dryRun: options.dryRun === true,
    service,
  } as const;
  const repository = delivery === 'commit' ? await repositoryOf(options, context) : undefined;
  return withLiveConfig(session, context, async ({ live, context: liveContext }) => {
    const before = await readConfig(live.file);
    const plan = await planPromotion(options, context, projectRoot, modelPath, before, live.file);
    const { identity, result, failures, warnings, entry } = plan;
    await liveContext.fault('checked');
    const outcome = {
      ...plan.facts,
      failures,
      warnings,
      changed: result.changed,
      edits: result.edits,
      diff: plan.diff,
      steps: [],
    };
    const report = (part: Unreported) => reportChange(part, options, context, projectRoot);
    if (failures.length > 0) return report({ ...outcome, changed: false, identity });
    if (options.dryRun) return report({ ...outcome, identity });

    const commit = async (): Promise<string[]> => {
      return repository ? deliverCommit(repository, deliveryOf(plan, options), context) : [];
    };
    if (!result.changed) {
      context.log.info(`${live.file} names ${modelPath} already; nothing changes.`);
      const undelivered = await commit();
      return report({ ...outcome, failures: undelivered, identity, ...(entry.commit ? { entry } : {}) });
    }
    if (!service.asks) warnings.push(NO_HEALTH);
    const change = { live, before, after: result.bytes, entry };
    const applied = await applyChange(change, service, liveContext, commit);
    return report({
      ...outcome,
      identity,
      changed: applied.ok,
      steps: applied.steps,
      failures: applied.failures,
      ...(applied.ok ? { entry } : {}),
    });
  });
}

async function propose(
  options: PromoteOptions,
  context: ConfigContext,
  projectRoot: string,
  modelPath: string,
): Promise<ChangeOutcome> {
  const repository = await repositoryOf(options, context);
  const before = await readRepositoryFile(repository);
  const plan = await planPromotion(options, context, projectRoot, modelPath, before, repository.file);
  const { identity, result, failures, warnings } = plan;
  const outcome = { ...plan.facts, failures, warnings, edits: result.edits, diff: plan.diff, steps: [], identity };
  const report = (part: Unreported) => reportChange(part, options, context, projectRoot);
  if (failures.length > 0) return report({ ...outcome, changed: false });
  if (options.dryRun || !result.changed) {
    if (!result.changed) context.log.info(`${repository.file} names ${modelPath} already; nothing to propose.`);
    return report({ ...outcome, changed: result.changed });
  }
  const proposed = await proposeEdit(repository, deliveryOf(plan, options), options, context);
  return report({ ...outcome, changed: true, commit: proposed.commit, pullRequest: proposed.url });
}

function deliveryOf({ edits, receipts, entry }: Plan, options: PromoteOptions): Delivery {
  return { edits, receipts, entry, updateComment: options.updateComment === true };
}

interface Plan {
  identity: ModelIdentity & { root: string };
  receipts: FiledReceipt[];
  edits: KeyEdit[];
  result: EditResult;
  diff: string;
  failures: string[];
  warnings: string[];
  facts: Pick<ChangeOutcome, 'previousModelPath' | 'previousMemoryMb' | 'modelPath' | 'memoryMb'>;
  entry: HistoryEntry;
}

/** Everything that is known before anything is touched: the edit, the gates, the history entry. */
async function planPromotion(
  options: PromoteOptions,
  { log, now = () => new Date(), env = process.env }: ConfigContext,
  projectRoot: string,
  modelPath: string,
  before: Buffer,
  name: string,
): Promise<Plan> {
  const pathKey = options.modelPathKey ?? DEFAULT_MODEL_PATH_KEY;
  const memoryKey = options.memoryKey ?? DEFAULT_MEMORY_KEY;
  const failures: string[] = [];
  const warnings: string[] = [];

  log.info(`Digesting ${modelPath}`);
  const identity = await identifyModel(modelPath, projectRoot);
  const places = options.receipts?.length ? options.receipts : [path.dirname(modelFile(modelPath, projectRoot))];
  const receipts = await readReceipts(places, projectRoot, log);
  const forced: string[] = [];
  const gate = (problems: string[]) => {
    for (const problem of problems) {
      if (options.force) log.warning(`FORCED: ${problem}`);
    }
    (options.force ? forced : failures).push(...problems);
  };
  gate(gateReceipts(modelPath, identity.root, receipts));

  const previousModelPath = textAt(before, pathKey, name);
  const previousMemoryMb = readKey(before, memoryKey, name)?.value;
  const ready = await readiness(previousModelPath, modelPath, projectRoot);
  gate(ready.problems);

  const memoryMb = chosenMemory(options, identity.root, receipts);
  const edits = keyEdits(options, { pathKey, memoryKey, modelPath, memoryMb, identity });
  const result = editYaml(before, edits, { name, updateComment: options.updateComment === true });
  warnings.push(...result.edits.flatMap((edit) => staleWarning(edit, options.updateComment === true)));
  if (forced.length > 0) warnings.push(`FORCED over ${forced.length} failing check(s), which the history records.`);

  const used = [...receiptsFor(identity.root, receipts).values()].filter(
    ({ receipt }) => receipt.action !== 'promote-config',
  );
  const entry: HistoryEntry = {
    schema: 1,
    id: newId(now()),
    at: now().toISOString(),
    action: 'promote',
    ...actor(env),
    ...(options.reason ? { reason: options.reason } : {}),
    config: name,
    configSha256: { before: sha256(before), after: sha256(result.bytes) },
    keys: result.edits.flatMap(keyChange),
    model: identity,
    ...(ready.previous ? { previous: ready.previous } : {}),
    receipts: used.map(mention),
    ...(forced.length > 0 ? { forced } : {}),
  };
  return {
    identity,
    receipts: used,
    edits,
    result,
    diff: lineDiff(before.toString('utf8'), result.bytes.toString('utf8')),
    failures,
    warnings,
    facts: {
      ...(previousModelPath === undefined ? {} : { previousModelPath }),
      ...(typeof previousMemoryMb === 'number' ? { previousMemoryMb } : {}),
      modelPath,
      ...(memoryMb === undefined ? {} : { memoryMb }),
    },
    entry,
  };
}

/** The way back must be open before anybody goes: are the files of the previous model still there? */
async function readiness(
  previous: string | undefined,
  modelPath: string,
  projectRoot: string,
): Promise<{ problems: string[]; previous?: ModelIdentity }> {
  if (previous === undefined || previous === modelPath) return { problems: [] };
  try {
    return { problems: [], previous: await sketchModel(previous, projectRoot) };
  } catch (error) {
    return {
      problems: [
        `No rollback would be possible: the model in the config now, ${previous}, is not whole (${messageOf(error)}). Bring its files back, or use 'force' to go without a way back.`,
      ],
    };
  }
}

function chosenMemory(options: PromoteOptions, root: string, receipts: readonly FiledReceipt[]): number | undefined {
  if (options.configMemoryMb !== 'auto') return options.configMemoryMb;
  const measured = measuredMemoryMb(root, receipts);
  if (measured === undefined) {
    throw new InputError(
      "'config-memory-mb' is 'auto', but no validate receipt has measured these bytes: run validate on this file, or give a number.",
    );
  }
  return memoryLimitMb(measured, options.headroomPercent ?? 10);
}

interface Wanted {
  pathKey: string;
  memoryKey: string;
  modelPath: string;
  memoryMb: number | undefined;
  identity: ModelIdentity;
}

function keyEdits(options: PromoteOptions, wanted: Wanted): KeyEdit[] {
  const precision = precisionOf(wanted.modelPath);
  const facts = (sizeBytes: number): ValueFacts => ({ sizeBytes, ...(precision ? { precision } : {}) });
  const modelBytes = wanted.identity.files.reduce((sum, { size }) => sum + size, 0);
  return [
    { key: wanted.pathKey, value: wanted.modelPath, facts: facts(modelBytes) },
    ...(wanted.memoryMb === undefined
      ? []
      : [{ key: wanted.memoryKey, value: wanted.memoryMb, facts: facts(wanted.memoryMb * 1e6) }]),
    ...(options.set ?? []).map((line) => {
      const split = line.indexOf('=');
      if (split <= 0) throw new InputError(`'set' has the line '${line}'; write key=value.`);
      return { key: line.slice(0, split).trim(), value: readScalar(line.slice(split + 1).trim()) };
    }),
  ];
}

/** How the weights are stored, as far as the file's name tells. */
function precisionOf(modelPath: string): string | undefined {
  return /(?:^|[^a-z0-9])(u?int[48]|fp16|fp32|bf16)(?=[^a-z0-9]|$)/i.exec(path.basename(modelPath))?.[1]?.toUpperCase();
}

export function keyChange(edit: AppliedEdit): KeyChange[] {
  if (edit.kind === 'unchanged') return [];
  const comment = edit.staleComment;
  return [
    {
      key: edit.path,
      ...(edit.before === undefined ? {} : { from: edit.before }),
      ...(edit.after === undefined ? {} : { to: edit.after }),
      ...(comment?.replaced ? { commentFrom: comment.text, commentTo: comment.replacement ?? '' } : {}),
    },
  ];
}

function staleWarning({ staleComment, path: key }: AppliedEdit, asked: boolean): string[] {
  if (!staleComment || staleComment.replaced) return [];
  const advice = asked
    ? 'what it should say is not certain, so mend it by hand'
    : staleComment.replacement === undefined
      ? 'mend it by hand'
      : `'update-comment' would make it '${staleComment.replacement}'`;
  return [
    `The comment behind ${key} on line ${staleComment.line} still names the old value: '${staleComment.text}'; ${advice}.`,
  ];
}

function textAt(bytes: Buffer, key: string, name: string): string | undefined {
  const value = readKey(bytes, key, name)?.value;
  return typeof value === 'string' && value !== '' ? value : undefined;
}
