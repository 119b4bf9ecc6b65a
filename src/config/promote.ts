import path from 'node:path';
import { InputError, messageOf } from '../errors.ts';
import { type Log, silentLog } from '../receipt/index.ts';
import { type Delivery, deliverCommit } from './delivery/commit.ts';
import { proposeEdit } from './delivery/pull-request.ts';
import { type Repository, readRepositoryFile, repositoryOf } from './delivery/repository.ts';
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
import { applyChange, type Change, type LiveContext, sentenceOf, unlessStopped } from './live/change.ts';
import { type LiveConfig, readConfig, sha256 } from './live/files.ts';
import { removeJournal } from './live/journal.ts';
import { proofOf, proveLive, whyUnproved } from './live/prove.ts';
import { recover } from './live/recover.ts';
import { type LiveSession, withLiveConfig } from './live/session.ts';
import { healthWaitMs } from './live/wait.ts';
import { actor, type ConfigContext, type LiveOptions, newId } from './options.ts';
import { type ChangeOutcome, NO_HEALTH, reportChange, type Unreported } from './outcome.ts';
import { openService, reasonOf, type Service } from './service/service.ts';
import { type HistoryEntry, keyChangeOf } from './states/history.ts';
import { readHistory } from './states/history-file.ts';
import { type ModelKeys, modelKeys } from './states/keys.ts';
import { rollbackCommand, stateProblems } from './states/listing.ts';
import { heldKeys, type Observed, observe } from './states/observe.ts';
import { editsTo } from './states/states.ts';
import type { ValueFacts } from './yaml/comment.ts';
import { lineDiff } from './yaml/diff.ts';
import { type AppliedEdit, type EditResult, editYaml, type KeyEdit, readKeys } from './yaml/edit.ts';
import { readScalar, type YamlScalar } from './yaml/scalar.ts';

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
  /** Let receipts pass whose verdict is inconclusive. Loud, and recorded. */
  allowInconclusive?: boolean | undefined;
  /** Promote without passing receipts. Loud, and recorded. */
  force?: boolean | undefined;
  delivery?: 'file' | 'commit' | 'pull-request' | undefined;
  token?: string | undefined;
  branch?: string | undefined;
}

/**
 * Puts a proved model into the live config: check → back up → write → restart → health → watch → record, and back again
 * by itself where the service does not hold. Promoting what is live already restarts and proves it.
 * @throws InputError for a user's mistake; a failing gate, restart or health is a result with `failures`.
 */
export async function promote(options: PromoteOptions, context: ConfigContext = {}): Promise<ChangeOutcome> {
  const projectRoot = path.resolve(options.projectRoot ?? '.');
  const modelPath = modelPathOf(modelFile(options.model, projectRoot), projectRoot);
  const delivery = options.delivery ?? 'file';
  if (delivery === 'pull-request') return propose(options, context, projectRoot, modelPath);

  const service = openService(options);
  const session = { action: 'promote', config: options.config, projectRoot, dryRun: options.dryRun === true } as const;
  const repository = delivery === 'commit' ? await repositoryOf(options, context) : undefined;
  // The lock is free again before the receipt is written: a rollback may be waiting.
  const done = await withLiveConfig(session, context, (live) =>
    promoteLive(live, options, modelPath, service, repository),
  );
  return reportChange(done, options, 'promote', context, projectRoot);
}

/** What is known of a promotion before there is anything to promote. */
export interface Outlook {
  /** Path of the live config. */
  file: string;
  /** The keys that it would write, with what they hold; undefined where they would be put in. */
  keys: { key: string; value: YamlScalar | undefined }[];
  /** Why it would be refused, a sentence each. */
  problems: string[];
}

/**
 * Looks ahead at a promotion of a model that need not exist yet. Reads only.
 * @throws InputError for a config or options that promotion would refuse
 */
export async function foreseePromotion(options: PromoteOptions, log: Log = silentLog): Promise<Outlook> {
  const projectRoot = path.resolve(options.projectRoot ?? '.');
  const modelPath = modelPathOf(modelFile(options.model, projectRoot), projectRoot);
  const file = path.resolve(projectRoot, options.config);
  const before = await readConfig(file);
  const keys = modelKeys(before, file, options, log);
  // What `auto` will measure takes the same place as any number.
  const memoryMb = options.configMemoryMb === 'auto' ? 1 : options.configMemoryMb;
  const edits = keyEdits(options, { ...keys, modelPath, memoryMb, identity: { path: modelPath, files: [] } });
  editYaml(before, edits, { name: file });
  const held = readKeys(before, [keys.memoryKey, ...edits.map(({ key }) => key)], file);
  const current = held.get(keys.pathKey);
  const judged = typeof current === 'string' && current !== '' && current !== modelPath && !options.force;
  return {
    file,
    keys: [...new Set([keys.pathKey, keys.memoryKey])].map((key) => ({ key, value: held.get(key) })),
    problems: judged ? (await missing(current, projectRoot)).map((problem) => noWayBack(current, problem)) : [],
  };
}

async function promoteLive(
  { live, projectRoot, context }: LiveSession,
  options: PromoteOptions,
  modelPath: string,
  service: Service,
  repository: Repository | undefined,
): Promise<Unreported> {
  const { log } = context;
  if (!options.dryRun) await settle(live, options, projectRoot, service, context);
  const before = await readConfig(live.file);
  const keys = modelKeys(before, live.file, options, log);
  log.info(`Digesting ${modelPath}`);
  const identity = await unlessStopped(identifyModel(modelPath, projectRoot), context.stop);
  if (identity === undefined) throw stopped(context);
  const history = await readHistory(live.history, log, live.earlierHistory);
  const { env, now } = context;
  const observed = await observe({ live, bytes: before, keys, history, projectRoot, now, promoted: identity });
  const plan = await planPromotion({
    options,
    projectRoot,
    modelPath,
    identity,
    before,
    name: live.file,
    keys,
    log,
    env,
    now,
  });
  const { failures, warnings, forced, result, entry } = plan;
  const way = await wayBack(observed, before, modelPath, projectRoot, live.file);
  if (way.said) log.info(way.said);
  gate(way.problems, options, { log, failures, forced });
  sayForced(entry, forced, warnings);
  await context.fault('checked');

  const outcome = { ...plan.facts, failures, warnings, edits: result.edits, diff: plan.diff, steps: [], identity };
  if (failures.length > 0 || options.dryRun) return { ...outcome, changed: false };
  if (context.stop.aborted) throw stopped(context);
  if (!service.asks) warnings.push(NO_HEALTH);

  const deliver = async (promoted: HistoryEntry): Promise<string[]> =>
    repository ? deliverCommit(repository, deliveryOf(plan, options, promoted), context) : [];
  const wait = (model: ModelIdentity | undefined) => healthWaitMs(options, model, history, projectRoot);
  const isLive = observed.modelPath === modelPath && !observed.swapped;
  Object.assign(entry, {
    list: observed.list,
    left: heldKeys(
      before,
      [keys.pathKey, keys.memoryKey, ...observed.states.keys, ...result.edits.map((edit) => edit.path)],
      live.file,
    ),
    ...(observed.model ? { previous: observed.model } : {}),
    ...(isLive ? { action: 'proof', target: observed.state.id } : {}),
    ...(way.back ? { back: way.back.target } : {}),
  });

  if (isLive && !result.changed) {
    log.info(`${live.file} names ${modelPath} already; nothing changes, and the service is restarted and asked.`);
    const proved = await proveLive(
      {
        live,
        model: identity,
        promotedPath: modelPath,
        waitMs: await wait(identity),
        restart: true,
        watch: true,
        record: (facts) => Object.assign(entry, facts),
      },
      service,
      context,
    );
    warnings.push(...proved.warnings);
    const unhealthy = proved.failed
      ? [
          `${sentenceOf(proved.failed)} ${live.file} names ${modelPath} as before, so there is nothing to return to: see to the service, or roll back.`,
        ]
      : await deliver(entry);
    return { ...outcome, changed: false, steps: proved.steps, failures: unhealthy, ...(proved.entry ? { entry } : {}) };
  }

  const applied = await applyChange(
    {
      live,
      before,
      after: result.bytes,
      entry,
      checked: identity,
      waitMs: await wait(identity),
      backWaitMs: await wait(way.back?.model ?? observed.model),
      ...(way.back ? { back: way.back } : {}),
    },
    service,
    context,
    deliver,
  );
  return {
    ...outcome,
    changed: applied.ok && result.changed,
    steps: applied.steps,
    failures: applied.failures,
    ...(applied.ok ? { entry } : {}),
  };
}

/** Settles what an earlier run has left. Nothing is promoted onto a service that is not healthy after that. */
async function settle(
  live: LiveConfig,
  options: PromoteOptions,
  projectRoot: string,
  service: Service,
  context: LiveContext,
): Promise<void> {
  const waitMs = async (model: ModelIdentity | undefined) =>
    healthWaitMs(options, model, await readHistory(live.history, context.log), projectRoot);
  const recovery = await recover(live, service, context, { way: 'promote', waitMs });
  if (recovery.failures.length > 0) throw new InputError(`An earlier run was cut off. ${recovery.failures.join(' ')}`);
  const { outcome, entry } = recovery;
  if (outcome !== 'written' || entry === undefined) return;
  const proved = await proveLive(
    {
      live,
      model: entry.model,
      promotedPath: undefined,
      waitMs: await waitMs(entry.model),
      restart: true,
      watch: false,
      record: (facts) => proofOf(entry, facts, context),
    },
    service,
    context,
  );
  if (context.stop.aborted) throw stopped(context);
  await removeJournal(live);
  if (proved.failed) {
    throw new InputError(
      `An earlier rollback was cut off and is finished now (${live.file} names ${entry.model?.path ?? 'no model'}), but the service is not healthy on it: ${whyUnproved(proved.failed)}. Nothing was promoted. The rollback, run again, restarts and asks once more (${rollbackCommand(options, undefined)}); promote when it is healthy.`,
    );
  }
}

/** A promotion that ends before it has written anything. */
function stopped({ stop, gaveWay }: LiveContext): Error {
  const reason = reasonOf(stop);
  return new InputError(
    gaveWay()
      ? `The promotion gave way: ${reason}; nothing was changed. Promote again when that is done.`
      : `The promotion was stopped (${reason}); nothing was changed.`,
  );
}

interface Way {
  problems: string[];
  /** Where it leads, where that is not to the config's bytes as they are. */
  back?: NonNullable<Change['back']>;
  said?: string;
}

/** The way back must be open before anybody goes. */
async function wayBack(
  observed: Observed,
  before: Buffer,
  modelPath: string,
  projectRoot: string,
  name: string,
): Promise<Way> {
  const { states, model, modelPath: current, swapped } = observed;
  if (!swapped) {
    if (current === undefined || current === modelPath || model === undefined) return { problems: [] };
    if (model.files.length > 0) return { problems: [] };
    const [problem = 'its files cannot be read'] = await missing(current, projectRoot);
    return { problems: [noWayBack(current, problem)] };
  }
  for (const state of states.stack.toReversed()) {
    if (state.model === undefined || state.model.path === modelPath) continue;
    if ((await stateProblems(state, projectRoot)).length > 0) continue;
    const edits = editsTo(states, state);
    return {
      problems: [],
      back: { bytes: editYaml(before, edits, { name }).bytes, edits, target: state.id, model: state.model },
      said: `Other bytes lie under ${modelPath} than when it became live. Should the service not hold, the way back is ${state.model.path} (${state.id}).`,
    };
  }
  return {
    problems: [
      `No rollback would be possible: other bytes lie under ${modelPath} than when it became live, and no earlier state has whole files. Promote the new model under a name of its own, or use 'force' to go without a way back.`,
    ],
  };
}

/** What keeps a model from being read; empty where nothing does. */
async function missing(modelPath: string, projectRoot: string): Promise<string[]> {
  return sketchModel(modelPath, projectRoot).then(
    () => [],
    (error: unknown) => [messageOf(error)],
  );
}

function noWayBack(current: string, problem: string): string {
  return `No rollback would be possible: the model in the config now, ${current}, is not whole (${problem}). Bring its files back, or use 'force' to go without a way back.`;
}

/** Lets problems fail the promotion, or by `force` only records them. */
function gate(
  problems: readonly string[],
  options: PromoteOptions,
  { log, failures, forced }: { log: Log; failures: string[]; forced: string[] },
): void {
  for (const problem of problems) if (options.force) log.warning(`FORCED: ${problem}`);
  (options.force ? forced : failures).push(...problems);
}

async function propose(
  options: PromoteOptions,
  context: ConfigContext,
  projectRoot: string,
  modelPath: string,
): Promise<ChangeOutcome> {
  const repository = await repositoryOf(options, context);
  const { log = silentLog, now = () => new Date(), env = process.env } = context;
  const before = await readRepositoryFile(repository);
  const name = repository.file;
  const keys = modelKeys(before, name, options, log);
  log.info(`Digesting ${modelPath}`);
  const identity = await identifyModel(modelPath, projectRoot);
  const plan = await planPromotion({ options, projectRoot, modelPath, identity, before, name, keys, log, env, now });
  const { result, failures, warnings, entry } = plan;
  sayForced(entry, plan.forced, warnings);
  const outcome = { ...plan.facts, failures, warnings, edits: result.edits, diff: plan.diff, steps: [], identity };
  const report = (part: Unreported) => reportChange(part, options, 'promote', context, projectRoot);
  if (failures.length > 0) return report({ ...outcome, changed: false });
  if (options.dryRun || !result.changed) {
    if (!result.changed) log.info(`${repository.file} names ${modelPath} already; nothing to propose.`);
    return report({ ...outcome, changed: false });
  }
  const proposed = await proposeEdit(repository, deliveryOf(plan, options, entry), options, context);
  return report({ ...outcome, changed: true, commit: proposed.commit, pullRequest: proposed.url });
}

/** What was forced is recorded and said. */
function sayForced(entry: HistoryEntry, forced: string[], warnings: string[]): void {
  if (forced.length === 0) return;
  entry.forced = forced;
  warnings.push(`FORCED over ${forced.length} failing check(s), which the history records.`);
}

function deliveryOf({ edits, receipts }: Plan, options: PromoteOptions, entry: HistoryEntry): Delivery {
  return { edits, receipts, entry, updateComment: options.updateComment === true };
}

interface Plan {
  receipts: FiledReceipt[];
  edits: KeyEdit[];
  result: EditResult;
  diff: string;
  failures: string[];
  warnings: string[];
  /** What `force` overrode. */
  forced: string[];
  facts: Pick<ChangeOutcome, 'previousModelPath' | 'previousMemoryMb' | 'modelPath' | 'memoryMb'>;
  entry: HistoryEntry;
}

interface Planning {
  options: PromoteOptions;
  projectRoot: string;
  modelPath: string;
  identity: ModelIdentity & { root: string };
  before: Buffer;
  /** Of the config, for messages and the history. */
  name: string;
  keys: ModelKeys;
  log: Log;
  env: NodeJS.ProcessEnv;
  now: () => Date;
}

/** Everything that is known before anything is touched: the edit, the gates, the history entry. */
async function planPromotion(planning: Planning): Promise<Plan> {
  const { options, projectRoot, modelPath, identity, before, name, keys, log, env, now } = planning;
  const failures: string[] = [];
  const warnings: string[] = [];
  const forced: string[] = [];
  const places = options.receipts?.length ? options.receipts : [path.dirname(modelFile(modelPath, projectRoot))];
  const receipts = await readReceipts(places, projectRoot, log);
  const { problems, inconclusive } = gateReceipts(
    modelPath,
    identity.root,
    receipts,
    options.allowInconclusive === true,
  );
  gate(problems, options, { log, failures, forced });
  for (const sentence of inconclusive) warnings.push(`ALLOWED although inconclusive: ${sentence}`);

  const held = readKeys(before, [keys.pathKey, keys.memoryKey], name);
  const previousModelPath = held.get(keys.pathKey);
  const previousMemoryMb = held.get(keys.memoryKey);
  const memoryMb = chosenMemory(options, identity.root, receipts);
  const edits = keyEdits(options, { ...keys, modelPath, memoryMb, identity });
  const result = editYaml(before, edits, { name, updateComment: options.updateComment === true });
  warnings.push(...result.edits.flatMap((edit) => staleWarning(edit, options.updateComment === true)));

  const used = [...receiptsFor(identity.root, receipts).values()].filter(
    ({ receipt }) => receipt.action !== 'promote-config',
  );
  const at = now();
  const entry: HistoryEntry = {
    schema: 1,
    id: newId(at),
    at: at.toISOString(),
    action: 'promote',
    ...actor(env),
    ...(options.reason ? { reason: options.reason } : {}),
    config: name,
    configSha256: { before: sha256(before), after: sha256(result.bytes) },
    keys: result.edits.flatMap(keyChangeOf),
    model: identity,
    ...(typeof previousModelPath === 'string' && previousModelPath !== ''
      ? { previous: { path: previousModelPath, files: [] } }
      : {}),
    receipts: used.map(mention),
    ...(inconclusive.length > 0 ? { inconclusive } : {}),
  };
  return {
    receipts: used,
    edits,
    result,
    diff: lineDiff(before.toString('utf8'), result.bytes.toString('utf8')),
    failures,
    warnings,
    forced,
    facts: {
      ...(typeof previousModelPath === 'string' && previousModelPath !== '' ? { previousModelPath } : {}),
      ...(typeof previousMemoryMb === 'number' ? { previousMemoryMb } : {}),
      modelPath,
      ...(memoryMb === undefined ? {} : { memoryMb }),
    },
    entry,
  };
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
