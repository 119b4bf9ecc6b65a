import { describe, expect, it } from 'vitest';
import { silentLog } from '../../src/receipt/index.ts';
import type { Check, ValidateResults } from '../../src/validate/index.ts';
import { repeatLoad } from '../../src/validate/load.ts';

const busy = { seconds: 2, cores: 2, othersBusy: 1.7 };
const idle = { seconds: 2, cores: 2, othersBusy: 0.1 };

/** The first load and those after it, ms; the check that comes of them, and what was loaded. */
async function checked([first, ...next]: number[], maxLoadMs: number | undefined, host = busy) {
  const check: Check = { name: 'load', status: 'pass', figures: [], failures: [], findings: [] };
  const results: ValidateResults = { checks: [check], hygiene: [], warnings: [], sizeMb: 1, seconds: 0 };
  const loadAgain = async () => ({ ms: next.shift()!, host });
  const work = { options: { model: 'm.onnx', maxLoadMs }, results, log: silentLog };
  await repeatLoad({ ms: first!, host }, loadAgain, check, work);
  return { check, loads: results.loads, left: next.length };
}

describe('repeatLoad', () => {
  it('leaves it at one load within the limit, without a limit, and on a machine that did nothing else', async () => {
    for (const [ms, limit, host] of [
      [900, 1000, busy],
      [5000, undefined, busy],
      [5000, 1000, idle],
    ] as const) {
      const { check, loads, left } = await checked([ms, 1, 1], limit, host);
      expect(check.status).toBe('pass');
      expect([loads, left]).toEqual([undefined, 2]);
    }
  });

  it('a load that other work made slow leaves the limit open, and says what is known', async () => {
    const { check, loads, left } = await checked([5000, 3000, 900], 1000);
    expect([loads, left]).toEqual([[5000, 3000, 900], 0]);
    expect(check.status).toBe('inconclusive');
    expect(check.open).toEqual([
      {
        input: 'max-load-ms',
        sentence: expect.stringMatching(
          /^Load time is 5000 ms, then 3000 ms, then 900 ms, so noise could turn the limit of 1000 ms \(max-load-ms\) either way \(other processes kept 1\.7 of 2 processors busy\)/,
        ),
      },
    ]);
    expect((await checked([5000, 900, 3000], 1000)).loads).toEqual([5000, 900]);
  });

  it('over the limit each time it has failed, however busy the machine is', async () => {
    const { check, loads } = await checked([5000, 3000, 1001], 1000);
    expect(loads).toEqual([5000, 3000, 1001]);
    // Its figure is over the limit, and nothing excuses it.
    expect(check.status).toBe('pass');
    expect(check.open).toBeUndefined();
  });
});
