import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  FEWEST_FOR_MEDIAN,
  medianInterval,
  percentileInterval,
  ratioOfMedians,
  seededRandom,
  standing,
} from '../../src/runtime/intervals.ts';
import { percentile } from '../../src/runtime/statistics.ts';
import { seeded } from '../support/random.ts';

describe('standing', () => {
  test.each([
    ['highest', 10, 20, 20, 'pass'],
    ['highest', 10, 20, 19.9, 'undecided'],
    ['highest', 10, 20, 10, 'undecided'],
    ['highest', 10, 20, 9.9, 'fail'],
    ['lowest', 10, 20, 10, 'pass'],
    ['lowest', 10, 20, 10.1, 'undecided'],
    ['lowest', 10, 20, 20, 'undecided'],
    ['lowest', 10, 20, 20.1, 'fail'],
  ] as const)('the limit is the %s: %d to %d against %d is %s', (bound, low, high, limit, expected) => {
    expect(standing({ low, high }, limit, bound)).toBe(expected);
  });

  test('no interval: the figure decides', () => {
    expect(standing({ low: 5, high: 5 }, 5, 'highest')).toBe('pass');
    expect(standing({ low: 5.1, high: 5.1 }, 5, 'highest')).toBe('fail');
  });
});

/** A model of `ms` beside bursts: for a while each run takes several times as long, then none does. */
function burstyRuns(seed: number, count: number, ms = 20): number[] {
  const random = seeded(seed);
  const runs: number[] = [];
  while (runs.length < count) {
    const slow = random.next() < 0.5 ? 1 : 1 + 2 * random.next();
    const length = 1 + Math.floor(random.next() * 15);
    for (let i = 0; i < length && runs.length < count; i++) runs.push(ms * slow * Math.exp(0.02 * random.normal()));
  }
  return runs;
}

describe('percentileInterval', () => {
  test('below ten runs: from the fastest to the slowest', () => {
    expect(percentileInterval([9, 1, 5, 3], 0.5, seededRandom(0))).toEqual({ value: 4, low: 1, high: 9 });
    expect(percentileInterval([7], 0.95, seededRandom(0))).toEqual({ value: 7, low: 7, high: 7 });
  });

  test('holds its figure, lies within the runs, and is the same for the same seed', () => {
    const run = fc.double({ min: 0.01, max: 1e4, noNaN: true });
    fc.assert(
      fc.property(fc.array(run, { minLength: 1, maxLength: 60 }), fc.constantFrom(0.5, 0.9, 0.95), (runs, q) => {
        const found = percentileInterval(runs, q, seededRandom(3));
        expect(found.value).toBe(percentile(runs, q));
        expect(found.low).toBeGreaterThanOrEqual(Math.min(...runs));
        expect(found.high).toBeLessThanOrEqual(Math.max(...runs));
        expect(found.low).toBeLessThanOrEqual(found.high);
        expect(percentileInterval(runs, q, seededRandom(3))).toEqual(found);
      }),
      { numRuns: 60 },
    );
  });

  test('a quiet machine gives a narrow one', () => {
    const random = seeded(1);
    const runs = Array.from({ length: 100 }, () => 20 * Math.exp(0.02 * random.normal()));
    const { low, high } = percentileInterval(runs, 0.5, seededRandom(0));
    expect(high / low).toBeLessThan(1.03);
  });

  test('beside bursts it holds the true median far more often than draws of single runs would', () => {
    const truth = percentile(burstyRuns(1000, 200_000), 0.5);
    const share = (bounds: (runs: number[]) => { low: number; high: number }) => {
      let held = 0;
      for (let seed = 0; seed < 200; seed++) {
        const { low, high } = bounds(burstyRuns(seed, 150));
        if (low <= truth && truth <= high) held++;
      }
      return held / 200;
    };
    const inBlocks = share((runs) => percentileInterval(runs, 0.5, seededRandom(1)));
    const single = share((runs) => medianInterval(runs, seededRandom(1)));
    expect(inBlocks).toBeGreaterThan(0.8);
    expect(inBlocks).toBeGreaterThan(single + 0.1);
  });

  test('a limit ten times above is passed in every case, one within the bursts is left open', () => {
    for (let seed = 0; seed < 50; seed++) {
      const found = percentileInterval(burstyRuns(seed, 100), 0.5, seededRandom(seed));
      expect(standing(found, 10 * found.value, 'highest')).toBe('pass');
      expect(standing(found, found.value, 'highest')).not.toBe('fail');
    }
  });

  test('a hundred thousand runs are drawn from less often, and well', () => {
    const random = seeded(9);
    const runs = Array.from({ length: 100_000 }, () => 5 + random.next());
    const { low, high } = percentileInterval(runs, 0.5, seededRandom(0));
    expect(low).toBeGreaterThan(5.49);
    expect(high).toBeLessThan(5.51);
  });
});

describe('medianInterval', () => {
  const ratios = (seed: number, count: number, noise: number) => {
    const random = seeded(seed);
    return Array.from({ length: count }, () => 2 * Math.exp(noise * random.normal()));
  };

  test('one outlier does not move it far', () => {
    expect(medianInterval([...ratios(3, 15, 0.01), 1000], seededRandom(0)).value).toBeCloseTo(2, 1);
  });

  test.each([FEWEST_FOR_MEDIAN, 20])('of %i values holds the true median about as often as it says', (count) => {
    let held = 0;
    for (let seed = 0; seed < 300; seed++) {
      const { low, high } = medianInterval(ratios(seed, count, 0.2), seededRandom(seed));
      if (low <= 2 && 2 <= high) held++;
    }
    expect(held / 300).toBeGreaterThan(0.88);
    expect(held / 300).toBeLessThanOrEqual(1);
  });
});

describe('ratioOfMedians', () => {
  test('figures that were not taken in pairs', () => {
    const random = seeded(4);
    const slow = Array.from({ length: 30 }, () => 20 * Math.exp(0.1 * random.normal()));
    const fast = Array.from({ length: 30 }, () => 10 * Math.exp(0.1 * random.normal()));
    const { value, low, high } = ratioOfMedians(slow, fast, seededRandom(1));
    expect(low).toBeLessThan(value);
    expect(value).toBeLessThan(high);
    expect(low).toBeGreaterThan(1.7);
    expect(high).toBeLessThan(2.3);
  });

  test('few of them: the widest that they allow', () => {
    expect(ratioOfMedians([20, 30], [10, 5], seededRandom(1))).toEqual({ value: 25 / 7.5, low: 2, high: 6 });
  });
});
