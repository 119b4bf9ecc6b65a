import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { HistoryEntry, KeyChange } from '../../src/config/states/history.ts';
import { editsTo, foldStates, liveState, reconcile, type States } from '../../src/config/states/states.ts';
import type { YamlScalar } from '../../src/config/yaml/scalar.ts';

const LIST = { config: 'sarai.yaml', key: 'audio.model_path' };
const OTHER = { config: 'sarai.yaml', key: 'vision.model_path' };
const PATH = LIST.key;

/** What is done to a simulated config; the simulation records what promote and rollback would. */
type Deed =
  | { do: 'promote'; model: number; set: [string, number][]; reverted: boolean }
  | { do: 'rollback'; down: number }
  | { do: 'hand model'; model: number }
  | { do: 'hand key'; key: string; value: number };

const key = fc.constantFrom('audio.mb', 'audio.beam', 'server.port');
const deed: fc.Arbitrary<Deed> = fc.oneof(
  fc.record({
    do: fc.constant('promote' as const),
    model: fc.nat(4),
    set: fc.array(fc.tuple(key, fc.nat(9)), { maxLength: 3 }),
    reverted: fc.boolean(),
  }),
  fc.record({ do: fc.constant('rollback' as const), down: fc.integer({ min: 1, max: 3 }) }),
  fc.record({ do: fc.constant('hand model' as const), model: fc.nat(4) }),
  fc.record({ do: fc.constant('hand key' as const), key, value: fc.nat(9) }),
);
const deeds = fc.array(deed, { maxLength: 25 });

interface Simulation {
  entries: HistoryEntry[];
  config: Map<string, YamlScalar>;
  /** By state id: the keys that promotions had set by then, as they were when the state was left. */
  left: Map<string, Map<string, YamlScalar>>;
}

const modelOf = (path: YamlScalar | undefined) => ({ path: String(path), files: [] });
const base = (id: string, entry: Partial<HistoryEntry>): HistoryEntry => ({
  schema: 1,
  id,
  at: '2026-01-01T00:00:00.000Z',
  action: 'promote',
  who: 'lucia',
  host: 'agi1',
  config: '/opt/sarai/config/sarai.yaml',
  configSha256: { before: 'b', after: 'a' },
  keys: [],
  receipts: [],
  list: LIST,
  ...entry,
});

/** Does the deeds to a config, recording entries as the commands do; each entry is decided from the fold alone. */
function simulate(all: readonly Deed[], legacy = false): Simulation {
  const config = new Map<string, YamlScalar>([
    [PATH, 'm0'],
    ['audio.mb', 0],
    ['audio.beam', 0],
    ['server.port', 80],
  ]);
  const entries: HistoryEntry[] = [];
  const left: Simulation['left'] = new Map();
  let count = 0;
  const add = (entry: Partial<HistoryEntry>) => {
    const whole = base(`e${count++}`, entry);
    if (legacy) {
      delete whole.list;
      delete whole.left;
      delete whole.target;
    }
    entries.push(whole);
  };
  const fold = () => foldStates(entries, LIST);
  const values = (keys: Iterable<string>) =>
    [...keys].flatMap((each) => (config.has(each) ? [{ key: each, value: config.get(each)! }] : [{ key: each }]));
  const tracked = (more: Iterable<string> = []) => new Set([PATH, 'audio.mb', ...fold().keys, ...more]);
  /** The states as a command sees them: with what was changed by hand. */
  const observe = () =>
    reconcile(fold(), modelOf(config.get(PATH)), values(tracked()), { id: 'hand', at: 'now', who: 'hand' });
  for (const each of all) {
    if (each.do === 'hand model') config.set(PATH, `m${each.model}`);
    else if (each.do === 'hand key') config.set(each.key, each.value);
    else if (each.do === 'promote') {
      const wanted = new Map<string, YamlScalar>([[PATH, `m${each.model}`], ...each.set]);
      const keys: KeyChange[] = [...wanted]
        .filter(([name, to]) => config.get(name) !== to)
        .map(([name, to]) => ({ key: name, from: config.get(name)!, to }));
      const previous = modelOf(config.get(PATH));
      if (each.reverted) {
        add({ action: 'revert', keys: [], model: previous, left: values(tracked()) });
        continue;
      }
      if (`m${each.model}` === previous.path) continue;
      const keep = tracked(wanted.keys());
      add({ action: 'promote', keys, model: modelOf(`m${each.model}`), previous, left: values(keep) });
      left.set(fold().stack.at(-2)!.id, new Map([...config].filter(([name]) => keep.has(name))));
      for (const { key: name, to } of keys) config.set(name, to!);
    } else {
      const states = observe();
      const target = states.stack.at(-1 - each.down);
      if (!target) continue;
      // The live state's keys are what the config holds, edits by hand included.
      const edits = editsTo(states, target);
      const keys = edits
        .filter(({ key: name, value }) => config.get(name) !== value)
        .map(({ key: name, value }): KeyChange => ({ key: name, from: config.get(name)!, to: value! }));
      const previous = modelOf(config.get(PATH));
      add({ action: 'rollback', target: target.id, keys, model: target.model!, previous, left: values(tracked()) });
      for (const { key: name, value } of edits) config.set(name, value!);
      for (const [name, value] of left.get(target.id) ?? []) expect([name, config.get(name)]).toEqual([name, value]);
    }
  }
  return { entries, config, left };
}

const ids = ({ stack }: States) => stack.map(({ id }) => id);

describe('states, over random sequences of what people do', () => {
  it('a rollback brings every key that promotions set back to what it was when the state was left', () => {
    fc.assert(
      fc.property(deeds, (all) => void simulate(all)),
      { numRuns: 500 },
    );
  });

  it('no id is in the list twice, and none that was dropped ever comes back', () => {
    fc.assert(
      fc.property(deeds, (all) => {
        const { entries } = simulate(all);
        const gone = new Set<string>();
        entries.forEach((_, index) => {
          const states = foldStates(entries.slice(0, index + 1), LIST);
          expect(new Set(ids(states)).size).toBe(states.stack.length);
          for (const id of states.dropped.keys()) gone.add(id);
          expect(ids(states).filter((id) => gone.has(id))).toEqual([]);
        });
      }),
    );
  });

  it('an event keeps what lies below its result: promotions add one, rollbacks cut, reverts do neither', () => {
    fc.assert(
      fc.property(deeds, (all) => {
        const { entries } = simulate(all);
        entries.forEach((entry, index) => {
          const states = foldStates(entries.slice(0, index), LIST);
          const model = entry.action === 'revert' ? entry.model : entry.previous;
          const event = { id: `before-${entry.id}`, at: '', who: '' };
          const before = ids(reconcile(states, model, [], event));
          const after = ids(foldStates(entries.slice(0, index + 1), LIST));
          if (entry.action === 'promote') expect(after).toEqual([...before, entry.id]);
          else if (entry.action === 'revert') expect(after).toEqual(before);
          else expect(after).toEqual(before.slice(0, before.indexOf(entry.target!) + 1));
        });
      }),
    );
  });

  it('neither clocks, nor repeated lines, nor another list make a difference', () => {
    fc.assert(
      fc.property(deeds, deeds, fc.infiniteStream(fc.nat()), (mine, theirs, random) => {
        const own = simulate(mine).entries;
        const others = simulate(theirs).entries.map((entry) => ({ ...entry, id: `o${entry.id}`, list: OTHER }));
        const mixed: HistoryEntry[] = [];
        for (const entry of own) {
          if (random.next().value % 2) mixed.push(...others.splice(0, 1));
          mixed.push({ ...entry, at: new Date(random.next().value).toISOString() });
          if (random.next().value % 3 === 0) mixed.push(mixed[random.next().value % mixed.length]!);
        }
        expect(ids(foldStates(mixed, LIST))).toEqual(ids(foldStates(own, LIST)));
      }),
    );
  });

  it('a proof changes nothing but the proof', () => {
    fc.assert(
      fc.property(deeds, (all) => {
        const { entries } = simulate(all);
        const states = foldStates(entries, LIST);
        const live = liveState(states);
        fc.pre(live !== undefined);
        const proof = base('p', { action: 'proof', target: live!.id, model: live!.model!, proved: true });
        const after = foldStates([...entries, proof], LIST);
        expect(ids(after)).toEqual(ids(states));
        expect(after.newest).toBe(states.newest);
        expect(liveState(after)?.proved).toBe(true);
      }),
    );
  });

  it('entries of 0.1.0 fold too: the live state names the model that the config names', () => {
    fc.assert(
      fc.property(
        fc.array(
          deed.filter((each) => !each.do.startsWith('hand')),
          { maxLength: 25 },
        ),
        (all) => {
          const { entries, config } = simulate(all, true);
          const states = foldStates(entries, LIST);
          fc.pre(entries.some(({ action }) => action === 'promote'));
          expect(liveState(states)?.model?.path).toBe(config.get(PATH));
        },
      ),
    );
  });
});
