import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { inspectTimings } from '../../src/validate/index.ts';
import { seeded } from '../support/random.ts';

const kinds = (runs: number[], throttledUs?: number): string[] =>
  inspectTimings({
    runs,
    ...(throttledUs === undefined ? {} : { host: { seconds: 1, cores: 2, othersBusy: 0, throttledUs } }),
  }).map(({ kind }) => kind);

/** Times around `center` with a uniform spread of ± `spread` of it. */
function around(center: number, spread: number, count: number, seed = 1): number[] {
  const random = seeded(seed);
  return Array.from({ length: count }, () => center * (1 + spread * (2 * random.next() - 1)));
}

describe('inspectTimings', () => {
  it('finds nothing in calm times, whatever their scale', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.02, max: 1e5, noNaN: true }),
        fc.integer({ min: 1, max: 200 }),
        (center, count) => {
          expect(kinds(around(center, 0.1, count))).toEqual([]);
        },
      ),
    );
  });

  it('does not mind a few preempted runs', () => {
    const runs = around(10, 0.05, 100);
    for (const index of [7, 33, 80, 99]) runs[index] = 60;
    expect(kinds(runs)).toEqual([]);
  });

  it('sees the cache that answered three calls of four', () => {
    const runs = around(10_700, 0.03, 100).map((ms, index) => (index % 4 === 0 ? ms : ms / 1000));
    const [finding] = inspectTimings({ runs });
    expect(finding?.kind).toBe('cached');
    expect(finding?.message).toContain('75 runs');
  });

  it('sees a cache in one call of five', () => {
    expect(kinds(around(10, 0.05, 50).map((ms, index) => (index % 5 === 0 ? ms / 50 : ms)))).toContain('cached');
  });

  it('sees times that no inference takes', () => {
    expect(kinds(around(0.001, 0.1, 20))).toEqual(['cached']);
  });

  it('sees a processor that slows down', () => {
    const runs = around(10, 0.05, 90).map((ms, index) => ms * (1 + index / 90));
    expect(kinds(runs)).toContain('throttled');
  });

  it('sees the quota of a control group', () => {
    expect(kinds(around(10, 0.05, 50), 200_000)).toEqual(['throttled']);
    expect(kinds(around(10, 0.05, 50), 100)).toEqual([]);
  });

  it('sees noise', () => {
    expect(kinds(around(10, 0.8, 100))).toContain('noisy');
  });
});
