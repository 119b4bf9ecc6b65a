import { isSameModel, type ModelIdentity, sketchModel } from '../evidence/models.ts';
import type { LiveConfig } from '../live/files.ts';
import { readKeys } from '../yaml/edit.ts';
import type { YamlScalar } from '../yaml/scalar.ts';
import type { HistoryEntry, KeyValue } from './history.ts';
import type { ModelKeys } from './keys.ts';
import { foldStates, liveState, reconcile, type State, type StateList, type States, UNRECORDED } from './states.ts';

/** The config as it is, held against what the history says of it. */
export interface Observed extends ModelKeys {
  list: StateList;
  history: readonly HistoryEntry[];
  /** With what was changed by hand since, which the next entry tells of. */
  states: States;
  /** The state that the config is in; absent where no promotion was ever made and none was found. */
  state: State;
  /** The model that the config names, as its files are now; without files where they are gone. */
  model?: ModelIdentity;
  modelPath?: string;
  memoryMb?: number;
  /** Whether other bytes lie under the live path than when it became live; only where `promoted` names that path. */
  swapped: boolean;
}

export interface Observation {
  live: LiveConfig;
  bytes: Buffer;
  keys: ModelKeys;
  history: readonly HistoryEntry[];
  projectRoot: string;
  now: () => Date;
  /** The model that is about to be promoted: its bytes under the live path are no change by hand. */
  promoted?: ModelIdentity;
}

/**
 * What is live: an earlier state's path and bytes are a return to it by hand, another model was found, otherwise it is
 * the state that the history says.
 */
export async function observe(observation: Observation): Promise<Observed> {
  const { live, bytes, keys, history, projectRoot, now, promoted } = observation;
  const list = { config: live.listed, key: keys.pathKey };
  const known = foldStates(history, list);
  const values = readKeys(bytes, [keys.pathKey, keys.memoryKey], live.file);
  const modelPath = textOf(values.get(keys.pathKey));
  const memoryMb = values.get(keys.memoryKey);
  const before = liveState(known)?.model;
  const swapped =
    promoted !== undefined &&
    promoted.path === modelPath &&
    before?.path === modelPath &&
    !isSameModel(before, promoted);
  const model = swapped ? before : modelPath && (await modelNow(modelPath, promoted, projectRoot));
  const held = heldKeys(bytes, [keys.pathKey, keys.memoryKey, ...known.keys], live.file);
  const states = reconcile(known, model || undefined, held, { id: UNRECORDED, at: now().toISOString(), who: 'hand' });
  return {
    ...keys,
    list,
    history,
    states,
    state: liveState(states)!,
    ...(model ? { model } : {}),
    ...(modelPath === undefined ? {} : { modelPath }),
    ...(typeof memoryMb === 'number' ? { memoryMb } : {}),
    swapped,
  };
}

/** What keys hold in a config, absent ones included. */
export function heldKeys(bytes: Buffer, keys: Iterable<string>, name: string): KeyValue[] {
  const all = [...new Set(keys)];
  const held = readKeys(bytes, all, name);
  return all.map((key) => (held.has(key) ? { key, value: held.get(key)! } : { key }));
}

async function modelNow(
  modelPath: string,
  promoted: ModelIdentity | undefined,
  projectRoot: string,
): Promise<ModelIdentity> {
  if (promoted?.path === modelPath) return promoted;
  return sketchModel(modelPath, projectRoot).catch(() => ({ path: modelPath, files: [] }));
}

function textOf(value: YamlScalar | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
