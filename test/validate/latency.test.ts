import { describe, expect, it } from 'vitest';
import { silentLog } from '../../src/receipt/index.ts';
import { type MeasureOptions, type Timings, timingStatistics } from '../../src/runtime/index.ts';
import type { Check, ValidateOptions, ValidateResults } from '../../src/validate/index.ts';
import { checkLatency } from '../../src/validate/latency.ts';
import { seeded } from '../support/random.ts';

const host = { seconds: 2, cores: 2, othersBusy: 1.4, stolen: 0, runnable: 6, waiting: 0.7 };

/** A session whose windows are given as times of runs; the last one repeats. Its clock only runs while it does. */
function sessionOf(...windows: ((run: number) => number)[]) {
  let now = 0;
  const asked: MeasureOptions[] = [];
  return {
    asked,
    clock: () => now,
    session: {
      async measure(_feeds: unknown, options: MeasureOptions): Promise<Timings> {
        const window = windows[Math.min(asked.length, windows.length - 1)]!;
        asked.push(options);
        const start = now;
        const runs: number[] = [];
        do {
          runs.push(window(runs.length));
          now += runs.at(-1)!;
        } while (runs.length < options.runs && now - start < 1000 * options.maxSeconds);
        const endedBy = runs.length < options.runs ? 'time' : 'runs';
        return { firstMs: 1, warmup: options.warmup, runs, endedBy, host, ...timingStatistics(runs) };
      },
    },
  };
}

async function checked(given: ReturnType<typeof sessionOf>, options: Partial<ValidateOptions>) {
  const check: Check = { name: 'latency', status: 'pass', figures: [], failures: [], findings: [] };
  const results: ValidateResults = { checks: [check], warnings: [], hygiene: [], sizeMb: 1, seconds: 0 };
  const work = { options: { model: 'm.onnx', ...options }, results, log: silentLog, clock: given.clock };
  await checkLatency(given.session, [{}], check, work);
  return { check, results, windows: results.windows!, asked: given.asked };
}

const around = (ms: number, spread: number, seed = 1) => {
  const random = seeded(seed);
  return () => ms * (1 + spread * (2 * random.next() - 1));
};
const noisy = (ms: number, seed = 1) => around(ms, 0.9, seed);
const calm = (ms: number) => around(ms, 0.02);

describe('checkLatency', () => {
  it('a limit far beyond the noise is passed, or failed, at once', async () => {
    for (const maxLatencyP50Ms of [220, 1]) {
      const { check, windows, results } = await checked(sessionOf(noisy(22)), { maxLatencyP50Ms });
      expect(check).toMatchObject({ status: 'pass' });
      expect(check.open).toBeUndefined();
      expect(windows).toHaveLength(1);
      expect(results.hygiene).toMatchObject([{ kind: 'noisy' }]);
      expect(check.findings.join()).toMatch(/The times vary by \d+ %.*other processes kept 1\.4 of 2 processors busy/);
    }
  });

  it('noise is a finding where no latency is limited', async () => {
    const { check, windows } = await checked(sessionOf(noisy(22)), {});
    expect(check).toMatchObject({ status: 'pass' });
    expect(check.findings.join()).toContain('The times vary');
    expect(windows).toHaveLength(1);
  });

  it('where noise could turn a limit it measures until time is up, and says what is missing and why', async () => {
    const { check, windows } = await checked(sessionOf(noisy(22)), { maxLatencyP50Ms: 22, maxSeconds: 20 });
    expect(windows.length).toBeGreaterThan(5);
    expect(windows.filter(({ chosen }) => chosen)).toHaveLength(1);
    expect(windows.flatMap(({ runs }) => (runs ? [runs.length] : []))).toHaveLength(windows.length - 1);
    expect(check.status).toBe('inconclusive');
    expect(check.open).toMatchObject([{ input: 'max-latency-p50-ms' }]);
    expect(check.open![0]!.sentence).toMatch(
      /^P50 latency is \S+ ms, between \S+ and \S+ ms, so noise could turn the limit of 22 ms .* Of \d+ windows in (19|20|21) s the calmest varies by \d+ % \(other processes kept 1\.4 of 2 .*give max-seconds more than 20/,
    );
  });

  it('of several windows the one that varies least counts, though it is the slowest', async () => {
    const session = sessionOf(noisy(20), calm(30), noisy(10, 2));
    const { check, results, windows } = await checked(session, { maxLatencyP50Ms: 21 });
    expect(windows.map(({ chosen }) => chosen)).toEqual([false, true]);
    expect(results.timings!.p50).toBeCloseTo(30, 0);
    expect(results.hygiene).toEqual([]);
    // Its figure is over the limit, and nothing excuses it.
    expect(check).toMatchObject({ status: 'pass' });
    expect(check.open).toBeUndefined();
  });

  it('a window that time cuts short is not chosen for its few runs', async () => {
    const session = sessionOf(noisy(20), () => 900);
    const { windows } = await checked(session, { maxLatencyP50Ms: 20, maxSeconds: 4, runs: 100 });
    expect(windows.length).toBeGreaterThan(1);
    expect(windows[0]).toMatchObject({ chosen: true });
  });

  it('a cache is never excused, with a limit far away or with none', async () => {
    const cached = (run: number) => (run % 4 === 0 ? 1000 : 1);
    for (const limits of [{ maxLatencyP50Ms: 1e6 }, {}]) {
      const { check, windows } = await checked(sessionOf(cached), { ...limits, maxSeconds: 600 });
      expect(check.status).toBe('inconclusive');
      expect(check.open).toEqual([{ sentence: expect.stringContaining('two groups') }]);
      expect(windows).toHaveLength(3);
    }
  });

  it('below ten runs the interval is from the fastest to the slowest', async () => {
    const { windows } = await checked(
      sessionOf((run) => 10 + run),
      { runs: 4 },
    );
    expect(windows[0]).toMatchObject({ p50: { value: 11.5, low: 10, high: 13 } });
  });
});
