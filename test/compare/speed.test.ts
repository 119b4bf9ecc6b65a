import { describe, expect, test } from 'vitest';
import { measureAgainstStored, measureSpeed, type SpeedOptions, type TimedStage } from '../../src/compare/speed.ts';
import type { Side } from '../../src/compare/stage.ts';
import { type MeasureOptions, type Samples, type Timings, timingStatistics } from '../../src/runtime/index.ts';
import { seeded } from '../support/random.ts';

/** ms for which a process's threads spin after its last inference, taking half the machine from the other. */
const SPIN_MS = 40;

interface Machine {
  referenceMs: number;
  modelMs: number;
  /** How much slower the machine is at a moment. */
  slowness?: (nowMs: number) => number;
  /** Time of each sample relative to the first. */
  weights?: readonly number[];
  together?: boolean;
}

/** Two models on a machine whose clock only runs while they do. */
function simulated({ referenceMs, modelMs, slowness = () => 1, weights = [1], together = true }: Machine) {
  const cost = { reference: referenceMs, model: modelMs };
  const lastEnd: Record<Side, number> = { reference: -1e9, model: -1e9 };
  const runs: Record<Side, number> = { reference: 0, model: 0 };
  const last: Partial<Record<Side, number>> = {};
  const blocks: { side: Side; runs: number; ms: number; counted: boolean }[] = [];
  let now = 0;
  const once = (side: Side, sample: number): number => {
    const other: Side = side === 'model' ? 'reference' : 'model';
    const disturbed = together && now - lastEnd[other] < SPIN_MS ? 2 : 1;
    const ms = cost[side] * weights[sample % weights.length]! * slowness(now) * disturbed;
    now += ms;
    lastEnd[side] = now;
    runs[side]++;
    return ms;
  };
  const stage: TimedStage = {
    together,
    runs: (side) => runs[side],
    lastMs: (side) => last[side],
    rest: async (side) => {
      now = Math.max(now, lastEnd[side] + SPIN_MS);
    },
    async measure(side, feeds, options: MeasureOptions): Promise<Timings> {
      if (!together) runs[side] = 0;
      const start = now;
      let sample = 0;
      for (let i = 0; i < options.warmup; i++) once(side, sample++);
      const counting = now;
      const times: number[] = [];
      const minMs = 1000 * (options.minSeconds ?? 0);
      do times.push(once(side, sample++));
      while (
        now - start < 1000 * options.maxSeconds &&
        (times.length < options.runs || (minMs > 0 && (now - counting < minMs || times.length % feeds.length !== 0)))
      );
      last[side] = times.at(-1)!;
      blocks.push({ side, runs: times.length, ms: now - counting, counted: options.runs < 1e6 });
      const endedBy = times.length < options.runs ? 'time' : 'runs';
      return { firstMs: times[0]!, warmup: options.warmup, runs: times, endedBy, ...timingStatistics(times) };
    },
  };
  return { stage, clock: () => now, blocks };
}

const samples = (length = 1): Samples => ({
  length,
  notes: [],
  name: String,
  get: async () => ({ x: { dtype: 'float32', dims: [1], data: new Uint8Array(4) } }),
});

const measure = (machine: Machine, options: Partial<SpeedOptions> = {}, count = machine.weights?.length ?? 1) => {
  const { stage, clock, blocks } = simulated(machine);
  const given = { maxSeconds: 120, limits: [], seed: 0, clock, progress: () => undefined, ...options };
  return measureSpeed(stage, samples(count), given).then((speed) => ({ speed, blocks, seconds: clock() / 1000 }));
};

describe('measureSpeed', () => {
  test('threads that spin after an inference do not bias the ratio', async () => {
    const { speed, blocks } = await measure({ referenceMs: 31, modelMs: 18.2 });
    expect(speed.speedup).toBeCloseTo(31 / 18.2, 9);
    expect(speed.interval!.low).toBeCloseTo(31 / 18.2, 9);
    expect(speed.pairs).toHaveLength(6);
    expect(speed.referenceP50Ms).toBeCloseTo(31, 9);
    const counted = blocks.filter(({ counted: each, runs }) => each && runs > 1);
    for (const { runs, ms } of counted) {
      expect(runs).toBeGreaterThanOrEqual(6);
      expect(ms).toBeGreaterThanOrEqual(300);
    }
  });

  test('a machine that gets slower all the time does neither', async () => {
    const { speed } = await measure({ referenceMs: 30, modelMs: 15, slowness: (now) => 1 + now / 20_000 });
    expect(speed.speedup).toBeGreaterThan(1.95);
    expect(speed.speedup).toBeLessThan(2.05);
    expect(speed.interval!.low).toBeLessThan(2);
    expect(speed.interval!.high).toBeGreaterThan(2);
  });

  test('both go through the same samples, whatever they weigh', async () => {
    const { speed } = await measure({ referenceMs: 40, modelMs: 10, weights: [1, 1, 1, 5, 9] });
    expect(speed.speedup).toBeCloseTo(4, 9);
  });

  test('beside bursts the interval holds the truth, and a limit that it leaves open takes more pairs', async () => {
    const random = seeded(5);
    const bursts = Array.from({ length: 4000 }, () => (random.next() < 0.5 ? 1 : 1 + 2 * random.next()));
    const slowness = (now: number) => bursts[Math.floor(now / 150) % bursts.length]!;
    const machine = { referenceMs: 34, modelMs: 20, slowness };
    const { speed } = await measure(machine, { limits: [0.2] });
    expect(speed.endedBy).toBe('pairs');
    expect(speed.interval!.low).toBeLessThan(1.7);
    expect(speed.interval!.high).toBeGreaterThan(1.7);
    const close = await measure(machine, { limits: [1.6] });
    expect(close.speed.pairs.length).toBeGreaterThan(speed.pairs.length);
  });

  test('a model too slow for whole blocks gets shorter ones, and pairs enough for an interval', async () => {
    const { speed, seconds } = await measure({ referenceMs: 8900, modelMs: 2600 }, { limits: [2] });
    expect(speed.pairs.length).toBeGreaterThanOrEqual(6);
    expect(speed.interval!.low).toBeGreaterThan(2);
    expect(seconds).toBeLessThan(150);
  });

  test('a model of microseconds: its runs are thinned, not its median', async () => {
    const { speed } = await measure({ referenceMs: 0.03, modelMs: 0.01 });
    expect(speed.speedup).toBeCloseTo(3, 6);
    expect(speed.modelMs.length).toBeLessThanOrEqual(10 * 50);
  });

  test('a burst that begins within a block cuts that block short, and leaves time for pairs enough', async () => {
    for (const weights of [[1], [1, 1, 1, 5, 9]]) {
      const machine = { referenceMs: 34, modelMs: 20, weights, slowness: (now: number) => (now < 250 ? 1 : 10) };
      const { speed, seconds } = await measure(machine, { maxSeconds: 10, limits: [0.2] });
      expect(speed.pairs.length).toBeGreaterThanOrEqual(6);
      expect(speed.speedup).toBeCloseTo(1.7, 9);
      expect(seconds).toBeLessThan(12);
    }
  });

  test('a burst that leaves time for one pair only: as far apart as its runs are', async () => {
    // Quick at first, so that whole blocks seem to fit; then a burst for as long as there is time.
    let calls = 0;
    const slowness = () => (++calls < 12 ? 1 : 30 + (calls % 7));
    const { speed } = await measure({ referenceMs: 34, modelMs: 20, slowness }, { maxSeconds: 5, limits: [1] });
    expect(speed.pairs).toHaveLength(1);
    const [slowest, fastest] = [Math.max, Math.min];
    expect(speed.interval).toEqual({
      low: fastest(...speed.referenceMs) / slowest(...speed.modelMs),
      high: slowest(...speed.referenceMs) / fastest(...speed.modelMs),
    });
    expect(speed.interval!.low).toBeLessThan(speed.speedup);
    expect(speed.interval!.high).toBeGreaterThan(speed.speedup);
  });

  test('one pair of many runs, some of which were interrupted: the limit is told from the others', async () => {
    let calls = 0;
    const slowness = () => (++calls % 41 === 0 ? 100 : 1);
    const { speed } = await measure({ referenceMs: 1, modelMs: 0.5, slowness }, { maxSeconds: 0.5, limits: [10] });
    expect(speed.pairs).toHaveLength(1);
    expect(Math.max(...speed.referenceMs)).toBe(100);
    expect(speed.interval!.low).toBeCloseTo(2, 6);
    expect(speed.interval!.high).toBeCloseTo(2, 6);
  });

  test('no time: one pair of single runs, which has no interval', async () => {
    const { speed } = await measure({ referenceMs: 30, modelMs: 10 }, { maxSeconds: 0, limits: [2] });
    expect(speed.pairs).toHaveLength(1);
    expect(speed).toMatchObject({ interval: null, endedBy: 'time' });
  });

  test('one loaded at a time: in blocks too', async () => {
    const { speed } = await measure({ referenceMs: 50, modelMs: 20, together: false }, { maxSeconds: 10 });
    expect(speed.mode).toBe('blocks');
    expect(speed.speedup).toBeCloseTo(2.5, 9);
  });
});

test('measureAgainstStored: the model alone against stored times', async () => {
  const { stage, clock } = simulated({ referenceMs: 1, modelMs: 10 });
  const stored = Array.from({ length: 30 }, (_, index) => 20 + (index % 3) / 10);
  const given = { maxSeconds: 20, limits: [], seed: 0, clock, progress: () => undefined };
  const speed = await measureAgainstStored(stage, samples(), stored, given);
  expect(speed).toMatchObject({ mode: 'stored', pairs: [], endedBy: 'pairs' });
  expect(speed.speedup).toBeCloseTo(2.01, 6);
});
