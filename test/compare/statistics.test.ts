import { describe, expect, test } from 'vitest';
import { MIN_VALUES, medianOfRatios, ratioOfMedians } from '../../src/compare/statistics.ts';
import { seeded } from '../support/random.ts';

describe('medianOfRatios', () => {
  const pairs = (seed: number, count: number, ratio: number, noise: number) => {
    const random = seeded(seed);
    return Array.from({ length: count }, () => {
      const drift = 1 + 0.5 * random.next();
      return { numerator: ratio * drift * Math.exp(noise * random.normal()), denominator: drift };
    });
  };

  test('the same pairs and seed give the same interval', () => {
    const some = pairs(1, 20, 2, 0.1);
    expect(medianOfRatios(some, 5)).toEqual(medianOfRatios(some, 5));
  });

  test('drift that both of a pair share cancels', () => {
    const { value, low, high } = medianOfRatios(pairs(2, 15, 2, 0), 0);
    expect([value, low, high].map((ratio) => Math.round(ratio * 1e9) / 1e9)).toEqual([2, 2, 2]);
  });

  test('one outlier does not move it far', () => {
    const some = pairs(3, 15, 2, 0.01);
    const { value } = medianOfRatios([...some, { numerator: 1000, denominator: 1 }], 0);
    expect(value).toBeCloseTo(2, 1);
  });

  test.each([MIN_VALUES, 20])('the interval of %i pairs holds the true ratio about as often as it says', (count) => {
    let held = 0;
    for (let seed = 0; seed < 300; seed++) {
      const { low, high } = medianOfRatios(pairs(seed, count, 2, 0.2), seed);
      if (low <= 2 && 2 <= high) held++;
    }
    expect(held / 300).toBeGreaterThan(0.88);
    expect(held / 300).toBeLessThanOrEqual(1);
  });
});

test('ratioOfMedians: figures that were not taken in pairs', () => {
  const random = seeded(4);
  const slow = Array.from({ length: 30 }, () => 20 * Math.exp(0.1 * random.normal()));
  const fast = Array.from({ length: 30 }, () => 10 * Math.exp(0.1 * random.normal()));
  const { value, low, high } = ratioOfMedians(slow, fast, 1);
  expect(low).toBeLessThan(value);
  expect(value).toBeLessThan(high);
  expect(low).toBeGreaterThan(1.7);
  expect(high).toBeLessThan(2.3);
});
