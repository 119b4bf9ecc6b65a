import path from 'node:path';
import { InputError, messageOf } from '../errors.ts';
import { deliverCommit } from './delivery/commit.ts';
import { repositoryOf } from './delivery/repository.ts';
import { type ModelIdentity, modelFile, modelPathOf, sketchModel } from './evidence/models.ts';
import { readConfig, replaceFile, sha256 } from './live/files.ts';
import { draftOf, removeJournal, writeJournal } from './live/journal.ts';
import { type ProofResult, proofOf, proveLive, whyUnproved } from './live/prove.ts';
import { type Recovery, recover } from './live/recover.ts';
import { type LiveSession, withLiveConfig } from './live/session.ts';
import { healthWaitMs } from './live/wait.ts';
import { actor, type ConfigContext, type LiveOptions, newId } from './options.ts';
import { type ChangeOutcome, NO_HEALTH, reportChange, type Unreported } from './outcome.ts';
import { openService, type Service, type Step } from './service/service.ts';
import { type HistoryEntry, keyChangeOf } from './states/history.ts';
import { appendHistory, readHistory } from './states/history-file.ts';
import { modelKeys } from './states/keys.ts';
import {
  describeState,
  listingText,
  listStates,
  promoteCommand,
  rollbackCommand,
  type StateListing,
  stateProblems,
} from './states/listing.ts';
import { heldKeys, type Observed, observe } from './states/observe.ts';
import { editsTo, type State } from './states/states.ts';
import { lineDiff } from './yaml/diff.ts';
import { type EditResult, editYaml, type KeyEdit, readKeys } from './yaml/edit.ts';

export interface RollbackOptions extends LiveOptions {
  /** State to return to, by its id or that of an entry; `previous` is one down. Not together with `model`. */
  to?: string | undefined;
  /** Model path: of a state, which is returned to, or of another model, which takes the live one's place. */
  model?: string | undefined;
  /** Memory limit, MB; needed with a `model` that no state holds. */
  configMemoryMb?: number | 'auto' | undefined;
  /** `commit` also pushes the edit once health is proved. */
  delivery?: 'file' | 'commit' | 'pull-request' | undefined;
  token?: string | undefined;
  branch?: string | undefined;
  /** Receipts, or folders of them, for how long a model takes to load; those beside the model count anyway. */
  receipts?: readonly string[] | undefined;
  /** Digest whole model files instead of their size and a sample of chunks. */
  fullVerify?: boolean | undefined;
}

/**
 * Returns to an earlier state: all keys that promotions set, as they stood when it was left, everything else as it is
 * now. Then restarts and asks for health. Once written it stands, whatever happens; what could not be proved is a
 * failure, and the next run asks again.
 *
 * Without `to` and `model` the live state is left only if the newest event put it there. After a rollback, a revert or
 * a return by hand nothing changes: the service is asked (and restarted where the state was never proved).
 */
export async function rollback(options: RollbackOptions, context: ConfigContext = {}): Promise<ChangeOutcome> {
  const projectRoot = path.resolve(options.projectRoot ?? '.');
  refuseOddInputs(options);
  const service = openService(options);
  const session = { action: 'rollback', config: options.config, projectRoot, dryRun: options.dryRun === true } as const;
  const done = await withLiveConfig(session, context, (live) => rollbackLive(live, options, service));
  return reportChange(done, options, 'rollback', context, projectRoot);
}

function refuseOddInputs(options: RollbackOptions): void {
  if (options.to && (options.model || options.configMemoryMb !== undefined)) {
    throw new InputError("'to' and explicit values ('model', 'config-memory-mb') are both given; give one of them.");
  }
  if (options.configMemoryMb === 'auto') {
    throw new InputError("'config-memory-mb' is 'auto', which a rollback cannot measure; give the number.");
  }
  if (options.delivery === 'pull-request') {
    throw new InputError(
      "'delivery' is 'pull-request', which touches nothing live; a rollback takes 'file' or 'commit'.",
    );
  }
}

/** A rollback under way: what is known, and what came of it so far. */
interface Run extends LiveSession {
  options: RollbackOptions;
  service: Service;
  recovery: Recovery;
  before: Buffer;
  observed: Observed;
  plan: Plan;
  result: EditResult;
  entry: HistoryEntry;
  /** The model that the config names in the end. */
  model: ModelIdentity | undefined;
  outcome: Unreported;
}

async function rollbackLive(session: LiveSession, options: RollbackOptions, service: Service): Promise<Unreported> {
  const run = await prepare(session, options, service);
  const { context, projectRoot, plan, outcome, recovery } = run;
  if (plan.said) context.log.info(plan.said);
  if (plan.leaves && plan.target) {
    outcome.failures.push(...(await stateProblems(plan.target, projectRoot, options.fullVerify)));
  }
  await context.fault('checked');
  if (options.dryRun) return outcome;
  if (!service.asks) outcome.warnings.push(NO_HEALTH);
  if (outcome.failures.length > 0) {
    // The target cannot be live. What is live now has to be, where a promotion has just been undone.
    if (recovery.outcome === 'undone') await askAboutLive(run);
    return { ...outcome, states: await sayStates(run) };
  }
  return plan.leaves || run.result.changed ? goBack(run) : standStill(run);
}

/** Settles what an earlier run has left, looks at the config and its history, and decides where to go. */
async function prepare(session: LiveSession, options: RollbackOptions, service: Service): Promise<Run> {
  const { live, projectRoot, context } = session;
  const { log, env, now } = context;
  const recovery: Recovery = options.dryRun
    ? { outcome: 'none', steps: [], failures: [] }
    : await recover(live, service, context, { way: 'rollback', waitMs: async () => 0 });
  const before = await readConfig(live.file);
  const keys = modelKeys(before, live.file, options, log);
  const history = await readHistory(live.history, log, live.earlierHistory);
  const observed = await observe({ live, bytes: before, keys, history, projectRoot, now });
  const plan = await planRollback(options, observed, projectRoot, () =>
    listStates(observed, { file: live.file, bytes: before }, options, projectRoot),
  );
  const result = editYaml(before, plan.edits, { name: live.file });
  const held = readKeys(result.bytes, [keys.pathKey, keys.memoryKey], live.file);
  const modelPath = held.get(keys.pathKey);
  const memoryMb = held.get(keys.memoryKey);
  const model = plan.leaves ? (plan.model ?? plan.target?.model) : observed.model;
  const at = now();
  const entry: HistoryEntry = {
    schema: 1,
    id: newId(at),
    at: at.toISOString(),
    action: 'rollback',
    ...actor(env),
    ...(options.reason ? { reason: options.reason } : {}),
    config: live.file,
    configSha256: { before: sha256(before), after: sha256(result.bytes) },
    keys: result.edits.flatMap(keyChangeOf),
    ...(model ? { model } : {}),
    ...(observed.model ? { previous: observed.model } : {}),
    receipts: [],
    ...(options.to ? { to: options.to } : {}),
    list: observed.list,
    left: heldKeys(before, [keys.pathKey, keys.memoryKey, ...observed.states.keys], live.file),
    ...(plan.target ? { target: plan.target.id } : { replaces: true }),
  };
  // What an unproved promotion had put live is undone by now: that is this run's doing too.
  const undone = recovery.outcome === 'undone' ? recovery.entry : undefined;
  const previousModelPath = undone?.model?.path ?? observed.modelPath;
  const outcome: Unreported = {
    failures: [],
    warnings: [],
    changed: undone !== undefined,
    ...(previousModelPath === undefined ? {} : { previousModelPath }),
    ...(observed.memoryMb === undefined ? {} : { previousMemoryMb: observed.memoryMb }),
    ...(typeof modelPath === 'string' ? { modelPath } : {}),
    ...(typeof memoryMb === 'number' ? { memoryMb } : {}),
    edits: result.edits,
    diff: lineDiff(before.toString('utf8'), result.bytes.toString('utf8')),
    steps: [...recovery.steps],
    identity: model ?? { path: typeof modelPath === 'string' ? modelPath : options.config, files: [] },
  };
  return { ...session, options, service, recovery, before, observed, plan, result, entry, model, outcome };
}

/** Nothing is to be undone: says what is live, and asks whether the service runs it. */
async function standStill(run: Run): Promise<Unreported> {
  const { recovery, observed, outcome, live, context } = run;
  const { state, states, modelPath } = observed;
  const why =
    recovery.outcome === 'undone'
      ? `The ${recovery.entry?.action} ${recovery.entry?.id} that was under way is undone.`
      : `Nothing is undone, because ${REASONS[states.newest]}.`;
  outcome.warnings.push(`${why} Live is ${modelPath ?? 'no model'}, since ${state.since} through ${state.who}.`);
  const healthy = await askAboutLive(run);
  if (!context.stop.aborted) await removeJournal(live);
  if (healthy) await deliver(run, currentEdits(run));
  return { ...outcome, states: await sayStates(run) };
}

/** Why pressing once more leaves things as they are. */
const REASONS: Record<Observed['states']['newest'], string> = {
  none: 'no promotion was ever made',
  promote: 'this is the state that was asked for',
  found: 'this is the state that was asked for',
  rollback: 'the last thing that happened was a rollback',
  revert: 'the last promotion was not proved and has been undone',
  return: 'somebody has returned to an earlier state by hand',
};

/** Writes the target's keys, restarts, asks. From the write on the rollback stands: nothing puts anything back. */
async function goBack(run: Run): Promise<Unreported> {
  const { live, context, before, result, entry, outcome } = run;
  const started = performance.now();
  context.lock.assertHeld();
  await writeJournal(live, { state: 'prepared', before: sha256(before), after: sha256(result.bytes), entry });
  await context.fault('journaled');
  if (result.changed) {
    try {
      await replaceFile(live.file, result.bytes, draftOf(live), () => context.fault('draft-written'));
    } catch (error) {
      if ((await readConfig(live.file)).equals(before)) await removeJournal(live);
      throw error;
    }
    context.log.info(`Written: ${live.file}`);
  }
  await context.fault('written');
  outcome.changed ||= result.changed;
  outcome.steps.push({ phase: 'change', name: 'write', ok: true, ms: performance.now() - started, detail: live.file });
  try {
    await appendHistory(live.history, entry);
    outcome.entry = entry;
    await context.fault('recorded');
  } catch (error) {
    outcome.warnings.push(`${messageOf(error)} The rollback stands, and the next run records it.`);
  }
  const healthy = await ask(run, { about: entry, restart: true, known: undefined });
  if (outcome.entry && !context.stop.aborted) await removeJournal(live);
  if (healthy) await deliver(run, run.plan.edits);
  return outcome;
}

/** Asks about what is live as it is, with a restart where that was never proved. */
function askAboutLive(run: Run): Promise<boolean> {
  const { recovery, observed, entry } = run;
  const { state } = observed;
  const restart = recovery.outcome === 'undone' || !state.proved;
  const about = { ...entry, target: state.id, ...(observed.model ? { model: observed.model } : {}) };
  return ask(run, { about, restart, known: recovery.outcome === 'undone' ? undefined : state.proved });
}

interface Question {
  /** The entry that put live what is asked about. */
  about: HistoryEntry;
  restart: boolean;
  /** What the history says already: the same answer is not recorded again. */
  known: boolean | undefined;
}

/** Restarts and asks; what could not be proved becomes a failure. Resolves with whether nothing speaks against it. */
async function ask(run: Run, { about, restart, known }: Question): Promise<boolean> {
  const { live, options, projectRoot, context, service, observed, outcome } = run;
  const proof = {
    live,
    model: about.model,
    promotedPath: undefined,
    waitMs: await healthWaitMs(options, about.model, observed.history, projectRoot),
    restart,
    watch: false,
    record: (facts: Partial<HistoryEntry>) => (facts.proved === known ? undefined : proofOf(about, facts, context)),
  };
  const asked = await proveLive(proof, service, context).catch((error: unknown): ProofResult => {
    const failed: Step = { phase: 'change', name: 'health', ok: false, ms: 0, detail: messageOf(error) };
    return { ok: false, steps: [failed], failed, warnings: [] };
  });
  outcome.steps.push(...asked.steps);
  outcome.warnings.push(...asked.warnings);
  if (asked.failed) outcome.failures.push(unproved(asked.failed, about.model?.path, run));
  return asked.ok;
}

/** What the one who is woken has to know: what the config says, what the service says, and what to do next. */
function unproved(failed: Step, modelPath: string | undefined, run: Run): string {
  const stands = run.outcome.entry ? 'The rollback is written and stays' : 'The config is as asked';
  const next = rollbackCommand(run.options, undefined);
  return `${stands} (${run.live.file} names ${modelPath ?? 'no model'}), but the service is not healthy on it: ${whyUnproved(failed)}. Run the same again, which restarts and asks again (${next}); '--to previous' goes one state further down, '--mode history' lists them.`;
}

/** Pushes the same edit to the repository. The live config comes first: what fails here is said at the end. */
async function deliver({ options, entry, outcome, context }: Run, edits: readonly KeyEdit[]): Promise<void> {
  if (options.delivery !== 'commit') return;
  const noted = { ...entry };
  const delivery = { edits, updateComment: false, receipts: [], entry: noted };
  outcome.failures.push(
    ...(await deliverCommit(repositoryOf(options, { env: context.env, signal: context.stop }), delivery, context)),
  );
  if (noted.commit !== undefined) outcome.commit = noted.commit;
}

/** The keys of the live state as the config holds them. */
function currentEdits({ entry }: Run): KeyEdit[] {
  return (entry.left ?? []).flatMap(({ key, value }) => (value === undefined ? [] : [{ key, value }]));
}

async function sayStates({ live, options, projectRoot, observed, context }: Run): Promise<StateListing> {
  const listing = await listStates(
    observed,
    { file: live.file, bytes: await readConfig(live.file) },
    options,
    projectRoot,
  );
  for (const line of listingText(listing)) context.log.info(line);
  return listing;
}

/** Where to go. */
interface Plan {
  edits: KeyEdit[];
  /** The state to be in; absent for a model that no state holds, which takes the live one's place. */
  target?: State;
  /** Whether the live state is left. */
  leaves: boolean;
  /** The model, where it is not the target's. */
  model?: ModelIdentity;
  said?: string;
}

async function planRollback(
  options: RollbackOptions,
  observed: Observed,
  projectRoot: string,
  list: () => Promise<StateListing>,
): Promise<Plan> {
  const { states, state: live } = observed;
  if (options.model !== undefined || options.configMemoryMb !== undefined) {
    return explicitPlan(options, observed, projectRoot);
  }
  const announced = options.to === undefined ? states.stack.find(({ id }) => id === live.back) : undefined;
  const below = announced ?? states.stack.at(-2);
  if (options.to !== undefined && options.to !== 'previous') {
    return returnTo(states, stateNamed(options, options.to, observed, await list()));
  }
  const leaves = options.to === 'previous' || states.newest === 'promote' || states.newest === 'found';
  if (!leaves) return { edits: [], target: live, leaves: false };
  if (below !== undefined) {
    return {
      ...returnTo(states, below),
      said: `Leaving ${live.model?.path ?? 'no model'}, live since ${live.since} through ${live.who}.`,
    };
  }
  const known = listingText(await list()).join(' ');
  throw new InputError(
    states.newest === 'found' && options.to === undefined
      ? `The history holds no promotion to undo: name the values, as in 'model: models/onnx/model.onnx' and 'config-memory-mb: 4400'. ${known}`
      : `There is no state below the live one. ${known}`,
  );
}

function returnTo(states: Observed['states'], target: State): Plan {
  const leaves = target.id !== states.stack.at(-1)?.id;
  return { edits: leaves ? editsTo(states, target) : [], target, leaves };
}

/** A state by its id, or by the id of an entry after which it was live. */
function stateNamed(options: RollbackOptions, to: string, observed: Observed, listing: StateListing): State {
  const { stack, dropped, landed } = observed.states;
  const id = landed.get(to) ?? to;
  const found = stack.find((state) => state.id === id);
  if (found) return found;
  const left = dropped.get(id);
  if (left) {
    const memory = left.keys.get(observed.memoryKey)?.value;
    const command = promoteCommand(options, left.model?.path ?? '', typeof memory === 'number' ? memory : undefined);
    throw new InputError(
      `'to' is '${to}' (${left.model?.path ?? 'no model'}), which a rollback has left: a rollback never goes forward. Promote it again: ${command}`,
    );
  }
  const known = listing.states.map((state) => `${state.id} (${describeState(state)}${state.live ? ', live' : ''})`);
  throw new InputError(`'to' is '${to}', which is no state of this config; there are ${known.join(', ')}.`);
}

/** `model` and `config-memory-mb`: a state's model takes its memory along, another one needs it. */
async function explicitPlan(options: RollbackOptions, observed: Observed, projectRoot: string): Promise<Plan> {
  const { states, state: live, pathKey, memoryKey } = observed;
  const memory: KeyEdit[] =
    typeof options.configMemoryMb === 'number' ? [{ key: memoryKey, value: options.configMemoryMb }] : [];
  if (options.model === undefined) return { edits: memory, target: live, leaves: false };
  const modelPath = modelPathOf(modelFile(options.model, projectRoot), projectRoot);
  const state = states.stack.findLast(({ model }) => model?.path === modelPath);
  if (state) {
    const plan = returnTo(states, state);
    return { ...plan, edits: [...plan.edits.filter(({ key }) => memory.length === 0 || key !== memoryKey), ...memory] };
  }
  if (memory.length === 0) {
    throw new InputError(
      `'model' is '${modelPath}', which no state holds, so its memory limit is unknown: give 'config-memory-mb' too.`,
    );
  }
  const model = await sketchModel(modelPath, projectRoot);
  return { edits: [{ key: pathKey, value: modelPath }, ...memory], leaves: true, model };
}
