import path from 'node:path';
import { InputError } from '../errors.ts';
import { deliverCommit } from './delivery/commit.ts';
import { repositoryOf } from './delivery/repository.ts';
import { type ModelIdentity, modelFile, modelPathOf, sketchModel, verifyModel } from './evidence/models.ts';
import { applyChange, undoEdits } from './live/change.ts';
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
import { keyChange } from './promote.ts';
import { openService } from './service/service.ts';
import { type HistoryEntry, type KeyChange, readHistory } from './states/history.ts';
import { lineDiff } from './yaml/diff.ts';
import { editYaml, type KeyEdit, readKey } from './yaml/edit.ts';

export interface RollbackOptions extends LiveOptions {
  /** History entry to return to: the config as that entry left it. Not together with `model`. */
  to?: string | undefined;
  /** Explicit model path. Unless this or `to` is given, what stood before the last promotion comes back. */
  model?: string | undefined;
  /** Explicit memory limit, MB. */
  configMemoryMb?: number | 'auto' | undefined;
  /** `commit` also pushes the edit once health is proved. */
  delivery?: 'file' | 'commit' | 'pull-request' | undefined;
  token?: string | undefined;
  branch?: string | undefined;
  /** Digest whole model files instead of their size and a sample of chunks. */
  fullVerify?: boolean | undefined;
}

/**
 * Returns the config's keys to earlier values, keeping everything else that was edited since; restarts and proves
 * health. The model's files must be there and be what the history, or the manifest beside them, says.
 */
export async function rollback(options: RollbackOptions, context: ConfigContext): Promise<ChangeOutcome> {
  const projectRoot = path.resolve(options.projectRoot ?? '.');
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
  const repository = options.delivery === 'commit' ? await repositoryOf(options, context) : undefined;
  const { log, now = () => new Date(), env = process.env } = context;
  const startedAt = now().toISOString();
  const service = openService(options);
  const session = { action: 'rollback', config: options.config, projectRoot, dryRun: options.dryRun === true } as const;
  return withLiveConfig(
    { ...session, service },
    context,
    async ({ live, context: liveContext, preempted, recovery }) => {
      const history = (await readHistory(live.history, log)).filter((entry) => sameConfig(entry, live.file));
      const before = await readConfig(live.file);
      const pathKey = options.modelPathKey ?? DEFAULT_MODEL_PATH_KEY;
      const memoryKey = options.memoryKey ?? DEFAULT_MEMORY_KEY;
      const previousModelPath = textAt(before, pathKey, live.file);
      const previousMemoryMb = readKey(before, memoryKey, live.file)?.value;

      const undone = preempted || recovery.outcome === 'reverted' ? justReverted(history, startedAt) : undefined;
      const explicit = options.to !== undefined || options.model !== undefined || options.configMemoryMb !== undefined;
      const plan =
        undone && !explicit
          ? {
              edits: [],
              to: undone.id,
              said: `The ${undone.id} that was under way has been undone; the config is back.`,
            }
          : planRollback(options, history, { pathKey, memoryKey, projectRoot, history: live.history });
      if (plan.said) log.info(plan.said);

      const result = editYaml(before, plan.edits, { name: live.file });
      const modelPath = textAt(result.bytes, pathKey, live.file);
      const memoryMb = readKey(result.bytes, memoryKey, live.file)?.value;
      const failures: string[] = [];
      const warnings: string[] = [];
      const identity = modelPath === undefined ? undefined : await knownIdentity(modelPath, history, projectRoot);
      if (identity && modelPath !== previousModelPath) {
        failures.push(...(await verifyModel(identity, projectRoot, options.fullVerify === true)));
      }
      await liveContext.fault('checked');

      const { model: previous } = latestNaming(history, previousModelPath) ?? {};
      const entry: HistoryEntry = {
        schema: 1,
        id: newId(now()),
        at: now().toISOString(),
        action: 'rollback',
        ...actor(env),
        ...(options.reason ? { reason: options.reason } : {}),
        config: live.file,
        configSha256: { before: sha256(before), after: sha256(result.bytes) },
        keys: result.edits.flatMap(keyChange),
        ...(identity ? { model: identity } : {}),
        ...(previous ? { previous } : previousModelPath ? { previous: { path: previousModelPath, files: [] } } : {}),
        receipts: [],
        ...(plan.to ? { to: plan.to } : {}),
      };
      const outcome = {
        failures,
        warnings,
        changed: result.changed,
        ...(previousModelPath === undefined ? {} : { previousModelPath }),
        ...(typeof previousMemoryMb === 'number' ? { previousMemoryMb } : {}),
        ...(modelPath === undefined ? {} : { modelPath }),
        ...(typeof memoryMb === 'number' ? { memoryMb } : {}),
        edits: result.edits,
        diff: lineDiff(before.toString('utf8'), result.bytes.toString('utf8')),
        steps: recovery.steps,
        identity: identity ?? { path: modelPath ?? options.config, files: [] },
      };
      const report = (part: Unreported) => reportChange(part, options, context, projectRoot);
      if (failures.length > 0) return report({ ...outcome, changed: false });
      if (options.dryRun) return report(outcome);
      const commit = async (): Promise<string[]> => {
        if (!repository || plan.edits.length === 0) return [];
        return deliverCommit(repository, { edits: plan.edits, updateComment: false, receipts: [], entry }, context);
      };
      if (!result.changed) {
        log.info(`${live.file} holds these values already; nothing changes.`);
        if (recovery.steps.length > 0 || !service.asks) {
          return report({ ...outcome, failures: recovery.steps.some(({ ok }) => !ok) ? recovery.failures : [] });
        }
        // The config may be right and the service yet run something else: nothing is proved before it says so.
        const health = await service.health('change', { modelPath, promotedPath: modelPath }, liveContext);
        const unhealthy = `The config is as asked, but the service is not healthy on it: ${health.detail}. Restart the service by hand and look at its log.`;
        return report({ ...outcome, steps: [health], failures: health.ok ? [] : [unhealthy] });
      }
      if (!service.asks) warnings.push(NO_HEALTH);
      const applied = await applyChange({ live, before, after: result.bytes, entry }, service, liveContext, commit);
      return report({
        ...outcome,
        changed: applied.ok,
        steps: [...recovery.steps, ...applied.steps],
        failures: applied.failures,
        ...(applied.ok ? { entry } : {}),
      });
    },
  );
}

interface RollbackPlan {
  edits: KeyEdit[];
  /** The entry that the config returns to, or whose change is undone. */
  to?: string;
  said?: string;
}

interface Places {
  pathKey: string;
  memoryKey: string;
  projectRoot: string;
  history: string;
}

function planRollback(options: RollbackOptions, history: HistoryEntry[], places: Places): RollbackPlan {
  if (options.model !== undefined || options.configMemoryMb !== undefined) {
    return {
      edits: [
        ...(options.model === undefined
          ? []
          : [
              {
                key: places.pathKey,
                value: modelPathOf(modelFile(options.model, places.projectRoot), places.projectRoot),
              },
            ]),
        ...(typeof options.configMemoryMb === 'number'
          ? [{ key: places.memoryKey, value: options.configMemoryMb }]
          : []),
      ],
    };
  }
  if (options.to !== undefined) {
    const index = history.findIndex(({ id }) => id === options.to);
    if (index < 0) {
      const known = history.slice(-5).map(({ id, action, at }) => `${id} (${action}, ${at})`);
      throw new InputError(
        `'to' is '${options.to}', which is not in ${places.history}; the last entries are ${known.join(', ') || 'none'}.`,
      );
    }
    return { edits: stateAfter(history, index), to: options.to };
  }
  const last = history.findLast(({ action }) => action === 'promote');
  if (last === undefined) {
    throw new InputError(
      `${places.history} holds no promotion to undo: name the values, as in 'model: models/onnx/model.onnx' and 'config-memory-mb: 4400'.`,
    );
  }
  return {
    edits: undoEdits(last.keys),
    to: last.id,
    said: `Undoing the promotion ${last.id} of ${last.at} by ${last.who}.`,
  };
}

/** The edits that bring back the keys as they were after entry `index`. */
function stateAfter(history: HistoryEntry[], index: number): KeyEdit[] {
  // Later changes undone, the oldest of them last to speak; then the entry's own values where nobody touched them since.
  const later = history.slice(index + 1).flatMap(({ keys }) => undoEdits(keys));
  const own = (history[index]?.keys ?? []).map(redo);
  return merge(later, own);
}

function redo({ key, to, commentFrom, commentTo }: KeyChange): KeyEdit {
  return {
    key,
    value: to,
    ...(commentFrom === undefined || commentTo === undefined ? {} : { comment: { from: commentFrom, to: commentTo } }),
  };
}

/** One edit per key: the first that speaks of it. */
function merge(first: KeyEdit[], second: KeyEdit[]): KeyEdit[] {
  const edits = new Map<string, KeyEdit>();
  for (const edit of [...first, ...second]) if (!edits.has(edit.key)) edits.set(edit.key, edit);
  return [...edits.values()];
}

/** A promotion that has been reverted since `startedAt`, because this rollback asked for it or cleaned up after it. */
function justReverted(history: HistoryEntry[], startedAt: string): HistoryEntry | undefined {
  const last = history.at(-1);
  return last?.action === 'revert' && last.at >= startedAt ? last : undefined;
}

/** What a model should be: as the history last knew it, otherwise as the manifest beside it or the files say. */
async function knownIdentity(modelPath: string, history: HistoryEntry[], projectRoot: string): Promise<ModelIdentity> {
  const known = history
    .flatMap(({ previous, model }) => [previous, model])
    .findLast((identity) => identity?.path === modelPath && identity.files.length > 0);
  if (known) return known;
  return sketchModel(modelPath, projectRoot);
}

function latestNaming(history: HistoryEntry[], modelPath: string | undefined): HistoryEntry | undefined {
  return history.findLast(({ model }) => model !== undefined && model.path === modelPath);
}

function sameConfig(entry: HistoryEntry, file: string): boolean {
  return path.basename(entry.config) === path.basename(file);
}

function textAt(bytes: Buffer, key: string, name: string): string | undefined {
  const value = readKey(bytes, key, name)?.value;
  return typeof value === 'string' && value !== '' ? value : undefined;
}
