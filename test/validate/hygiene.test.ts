import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { HostActivity } from '../../src/runtime/index.ts';
import { inspectTimings } from '../../src/validate/index.ts';
import { seeded } from '../support/random.ts';

const quiet = { seconds: 1, cores: 2, othersBusy: 0 };
const kinds = (runs: number[], host: Partial<HostActivity> = {}): string[] =>
  inspectTimings({ runs, host: { ...quiet, ...host } }).map(({ kind }) => kind);

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
    expect(kinds(around(10, 0.05, 50), { throttledUs: 200_000 })).toEqual(['throttled']);
    expect(kinds(around(10, 0.05, 50), { throttledUs: 100 })).toEqual([]);
  });

  it('sees noise, and what makes it', () => {
    expect(kinds(around(10, 0.8, 100))).toContain('noisy');
    const busy = { ...quiet, othersBusy: 1.62, runnable: 7, waiting: 0.8 };
    expect(inspectTimings({ runs: around(10, 0.8, 100), host: busy })[0]?.message).toMatch(
      /^The times vary by \d+ %, and 25 % is calm: other processes kept 1\.6 of 2 processors busy, 7\.0 threads in the run queue, a thread waiting for one 80 % of the time\.$/,
    );
  });

  it('takes interruptions by other processes for noise, not for a cache', () => {
    // Half a millisecond, and a time slice of another process in every fourth run.
    const runs = around(0.5, 0.05, 100).map((ms, index) => (index % 4 === 0 ? ms + 8 : ms));
    expect(kinds(runs)).toEqual(['cached']);
    expect(kinds(runs, { othersBusy: 1.4 })).toEqual(['noisy']);
    expect(kinds(runs, { stolen: 0.9 })).toEqual(['noisy']);
    // No interruption is as long as this, whatever else runs.
    expect(
      kinds(
        around(10_700, 0.03, 100).map((ms, index) => (index % 4 === 0 ? ms : ms / 1000)),
        { othersBusy: 2 },
      ),
    ).toEqual(['cached']);
  });
});
