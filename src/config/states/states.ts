import { isSameModel, type ModelIdentity } from '../evidence/models.ts';
import type { KeyEdit } from '../yaml/edit.ts';
import type { YamlScalar } from '../yaml/scalar.ts';
import type { HistoryEntry, KeyChange, KeyValue } from './history.ts';

/** What a key holds in a state. An absent `value` means that the key is not there. */
export interface HeldKey {
  value?: YamlScalar;
  /** Its trailing comment, where a promotion has replaced it before or since. */
  comment?: string;
}

/** A model that was live, with every key that promotions set, as they stood when it was left. */
export interface State {
  /** Of the entry that brought it. */
  id: string;
  /** How it became live the first time. */
  by: 'promote' | 'found' | 'rollback';
  /** When it became live the last time (ISO 8601) and through whom. */
  since: string;
  who: string;
  /** Absent where the config named no model. */
  model?: ModelIdentity;
  keys: ReadonlyMap<string, HeldKey>;
  /** Whether the service was healthy on it since it became live the last time. */
  proved: boolean;
  /** What `force` overrode. */
  forced: readonly string[];
  /** The state that a rollback leaves it for, where that is not the one below: announced before bytes were replaced. */
  back?: string;
}

/** What a history says of one config and model-path key. */
export interface States {
  /** From the first state to the live one. */
  stack: readonly State[];
  /** States that a rollback left, by id. Nothing returns to them but a promotion. */
  dropped: ReadonlyMap<string, State>;
  /** Which state was live after an entry, by the entry's id. */
  landed: ReadonlyMap<string, string>;
  /** The newest event that decided which state is live. */
  newest: 'none' | 'promote' | 'found' | 'rollback' | 'revert' | 'return';
  /** Every key that promotions set. */
  keys: ReadonlySet<string>;
}

/** The list of states that is meant: entries of another config or another key do not count. */
export interface StateList {
  /** Path of the config, links followed, from the folder of the history, with `/`. */
  config: string;
  /** Full dotted path of the model-path key. */
  key: string;
}

const NO_STATES: States = {
  stack: [],
  dropped: new Map(),
  landed: new Map(),
  newest: 'none',
  keys: new Set(),
};

/**
 * What a history amounts to: a fold over its entries by their position, never by a clock. An id that comes again
 * counts once. Entries of 0.1.0 say less and are understood by what they changed.
 */
export function foldStates(entries: readonly HistoryEntry[], list: StateList): States {
  const landed = new Map<string, string>();
  const seen = new Set<string>();
  let states = NO_STATES;
  for (const entry of entries) {
    if (seen.has(entry.id) || !isOfList(entry, list)) continue;
    seen.add(entry.id);
    states = nextStates(states, entry, list.key);
    const live = liveState(states);
    if (live) landed.set(entry.id, live.id);
  }
  return { ...states, landed };
}

/** The longest wait for health by a model's root (its path where the root is not known), ms, over a whole history. */
export function longestWaits(entries: readonly HistoryEntry[]): ReadonlyMap<string, number> {
  const longest = new Map<string, number>();
  for (const { model, healthMs } of entries) {
    const name = model && (model.root ?? model.path);
    if (name !== undefined && healthMs !== undefined) longest.set(name, Math.max(healthMs, longest.get(name) ?? 0));
  }
  return longest;
}

/** The state that is live. */
export function liveState({ stack }: States): State | undefined {
  return stack.at(-1);
}

/**
 * The edits that lead from the live state to a state below it: all its keys move together. A key that a later
 * promotion set first returns to what it was before that one.
 */
export function editsTo(states: States, target: State): KeyEdit[] {
  const from = states.stack.findIndex(({ id }) => id === target.id);
  const above = states.stack.slice(from);
  const live = above.at(-1);
  const keys = new Set(above.flatMap((state) => [...state.keys.keys()]));
  return [...keys].map((key) => {
    const held = above.find((state) => state.keys.has(key))?.keys.get(key);
    const now = live?.keys.get(key)?.comment;
    const then = held?.comment;
    const comment = now !== undefined && then !== undefined && now !== then ? { comment: { from: now, to: then } } : {};
    return { key, value: held?.value, ...comment };
  });
}

/** What a model in the config is to the states: the live one, an earlier one, or one that they do not know. */
function recognize(states: States, model: ModelIdentity | undefined): State | undefined {
  return states.stack.findLast((state) =>
    model === undefined || state.model === undefined ? model === state.model : isSameModel(state.model, model),
  );
}

/** Whether an entry belongs to a list. Those of 0.1.0 lay beside their config and name their key only by its change. */
function isOfList(entry: HistoryEntry, list: StateList): boolean {
  if (entry.list) return entry.list.config === list.config && entry.list.key === list.key;
  if (baseName(entry.config) !== baseName(list.config)) return false;
  const key = pathKeyOf(entry);
  return key === undefined || key === list.key;
}

/** The model-path key of an entry of 0.1.0; undefined where the path did not change. */
function pathKeyOf({ keys, model, previous }: HistoryEntry): string | undefined {
  return keys.find(
    ({ from, to }) => (model !== undefined && to === model.path) || (previous !== undefined && from === previous.path),
  )?.key;
}

/** Until an entry tells of it, a state that is live by hand is called so; that entry's `target` may still say it. */
export const UNRECORDED = 'live-by-hand';

function nextStates(states: States, entry: HistoryEntry, pathKey: string): States {
  const { keys, left, at, who } = entry;
  const known = new Set([...states.keys, ...[...keys, ...(left ?? [])].map(({ key }) => key)]);
  const before = reconcile({ ...states, keys: known }, modelBefore(entry, states, pathKey), leftBy(entry), {
    id: `before-${entry.id}`,
    at,
    who,
  });
  const target = entry.target === UNRECORDED ? liveState(before)?.id : entry.target;
  return step(before, target === undefined ? entry : { ...entry, target }, pathKey);
}

/** What keys held just before an entry; 0.1.0 said it of those that changed. */
function leftBy({ left, keys }: HistoryEntry): readonly KeyValue[] {
  return left ?? keys.map(({ key, from }) => held(key, from));
}

/** The model that the config named just before an entry; where 0.1.0 did not say it, the one that was live. */
function modelBefore(entry: HistoryEntry, states: States, pathKey: string): ModelIdentity | undefined {
  if (entry.action === 'revert' || entry.action === 'proof') return entry.model;
  if (entry.list) return entry.previous;
  return entry.previous ?? asModel(entry.keys, pathKey) ?? liveState(states)?.model ?? entry.model;
}

/** An event by which a state became live. */
interface Event {
  id: string;
  at: string;
  who: string;
}

/**
 * Holds the model that a config names against the live state: what was changed by hand since is a return to an earlier
 * state, by its path and bytes, or a model that was found.
 * @param keys the keys as they stand now, for a state that is found
 */
export function reconcile(
  states: States,
  model: ModelIdentity | undefined,
  keys: readonly KeyValue[],
  event: Event,
): States {
  const state = recognize(states, model);
  if (state === undefined) {
    const found = { ...event, by: 'found', model, keys: heldBy(states, keys), proved: false, forced: [] } as const;
    return { ...push(states, found), newest: 'found' };
  }
  return state === liveState(states) ? states : { ...dropAbove(states, state.id, event), newest: 'return' };
}

function step(states: States, entry: HistoryEntry, pathKey: string): States {
  const { action, target, proved } = entry;
  const live = liveState(states);
  switch (action) {
    case 'promote': {
      const left = changeLive(
        states,
        leftBy(entry).map(({ key, value }) => change(key, value)),
        entry.keys,
      );
      const keys = applied(liveState(left)?.keys ?? new Map(), entry.keys);
      return { ...push(left, newState(entry, 'promote', keys, proved !== false)), newest: 'promote' };
    }
    case 'rollback':
      return { ...returned(states, entry, pathKey), newest: 'rollback' };
    case 'revert': {
      const back = target === undefined ? states : dropAbove(states, target, entry);
      return { ...proveLive(back, proved === true), newest: 'revert' };
    }
    case 'proof':
      // About a state that is not live any more it says nothing.
      return target === undefined || target === live?.id
        ? proveLive(changeLive(states, entry.keys), proved !== false)
        : states;
  }
}

function returned(states: States, entry: HistoryEntry, pathKey: string): States {
  const proved = entry.list ? entry.proved === true : true; // 0.1.0 recorded a rollback once it was healthy.
  const model = entry.model ?? asModel(entry.keys.map(turned), pathKey);
  const target =
    entry.target ??
    (entry.list ? undefined : states.stack.findLast((state, index) => isOld(states, state, index, model))?.id);
  if (target !== undefined && states.stack.some(({ id }) => id === target)) {
    return proveLive(changeLive(dropAbove(states, target, entry), entry.keys), proved);
  }
  const live = liveState(states);
  const below = { ...states, stack: states.stack.slice(0, -1), dropped: drop(states.dropped, live ? [live] : []) };
  return push(
    below,
    newState(
      { ...entry, ...(model ? { model } : {}) },
      'rollback',
      applied(live?.keys ?? new Map(), entry.keys),
      proved,
    ),
  );
}

function newState(
  { id, at, who, model, forced, back }: HistoryEntry,
  by: State['by'],
  keys: ReadonlyMap<string, HeldKey>,
  proved: boolean,
): Pushed {
  return { id, at, who, by, model, keys, proved, forced: forced ?? [], ...(back === undefined ? {} : { back }) };
}

/** 0.1.0 said only which model came back: the newest state below that names it, or the live one. */
function isOld(states: States, state: State, index: number, model: ModelIdentity | undefined): boolean {
  if (state.model?.path !== model?.path) return false;
  const isLive = index === states.stack.length - 1;
  return !isLive || !states.stack.slice(0, -1).some((below) => below.model?.path === model?.path);
}

interface Pushed extends Event, Pick<State, 'by' | 'keys' | 'proved' | 'forced' | 'back'> {
  model: ModelIdentity | undefined;
}

function push(states: States, { at, model, ...rest }: Pushed): States {
  const state: State = { ...rest, since: at, ...(model ? { model } : {}) };
  return { ...states, stack: [...states.stack, state] };
}

/** What the live state holds, with what is known to stand there now. */
function heldBy(states: States, keys: readonly KeyValue[]): Map<string, HeldKey> {
  return applied(
    liveState(states)?.keys ?? new Map(),
    keys.map(({ key, value }) => change(key, value)),
  );
}

function dropAbove(states: States, target: string, { at, who }: Pick<Event, 'at' | 'who'>): States {
  const index = states.stack.findIndex(({ id }) => id === target);
  if (index < 0) return states;
  const state = states.stack[index]!;
  return {
    ...states,
    stack: [...states.stack.slice(0, index), { ...state, since: at, who, proved: false }],
    dropped: drop(states.dropped, states.stack.slice(index + 1)),
  };
}

function drop(dropped: ReadonlyMap<string, State>, states: readonly State[]): Map<string, State> {
  return new Map([...dropped, ...states.map((state): [string, State] => [state.id, state])]);
}

function changeLive(states: States, changes: readonly KeyChange[], comments: readonly KeyChange[] = []): States {
  const live = liveState(states);
  if (live === undefined) return states;
  const keys = applied(live.keys, changes);
  // As it is left: with the comment that the next promotion replaces.
  for (const { key, commentFrom } of comments) {
    if (commentFrom !== undefined) keys.set(key, { ...keys.get(key), comment: commentFrom });
  }
  return { ...states, stack: [...states.stack.slice(0, -1), { ...live, keys }] };
}

function proveLive(states: States, proved: boolean): States {
  const live = liveState(states);
  return live === undefined ? states : { ...states, stack: [...states.stack.slice(0, -1), { ...live, proved }] };
}

function applied(keys: ReadonlyMap<string, HeldKey>, changes: readonly KeyChange[]): Map<string, HeldKey> {
  const next = new Map(keys);
  for (const { key, to, commentTo } of changes) {
    const comment = commentTo ?? keys.get(key)?.comment;
    next.set(key, { ...withValue(to), ...(comment === undefined ? {} : { comment }) });
  }
  return next;
}

/** The model that the keys' old values name, of which no more is known. */
function asModel(keys: readonly KeyChange[], pathKey: string): ModelIdentity | undefined {
  const path = keys.find(({ key }) => key === pathKey)?.from;
  return typeof path === 'string' && path !== '' ? { path, files: [] } : undefined;
}

function turned({ key, to }: KeyChange): KeyChange {
  return { key, ...(to === undefined ? {} : { from: to }) };
}

function held(key: string, value: YamlScalar | undefined): KeyValue {
  return { key, ...withValue(value) };
}

function change(key: string, to: YamlScalar | undefined): KeyChange {
  return { key, ...(to === undefined ? {} : { to }) };
}

function withValue(value: YamlScalar | undefined): { value?: YamlScalar } {
  return value === undefined ? {} : { value };
}

function baseName(file: string): string {
  return file.split(/[\\/]/).at(-1) ?? file;
}
