import { describe, expect, it } from 'vitest';
import { preferred, undecided } from '../../src/tune/gates.ts';
import type { Measured } from '../../src/tune/journal.ts';
import { gatesOf } from '../../src/tune/options.ts';

const gates = gatesOf({ model: 'm.onnx' });

/** A model as good as its source, of that size, whose time against its source lies between two others. */
function timed(sizeRatio: number, value: number, low: number, high: number): Measured {
  const slowdown = { value, low, high, p50Ms: value, referenceP50Ms: 1 };
  const good = { similarity: 1, channelSimilarity: null, notFinite: 0, unequal: 0, metric: null };
  return { ...good, sizeRatio, slowdown, residentBytes: 1 };
}

describe('times', () => {
  const fast = timed(0.3, 0.5, 0.45, 0.55);

  it('that only noise makes as good as the best are to be taken again, against the best', () => {
    const noisy = timed(0.2, 0.8, 0.4, 1.6);
    const slow = timed(0.2, 0.8, 0.75, 0.85);
    const near = timed(0.2, 0.51, 0.4, 0.6);
    const untimed = { ...slow, slowdown: null };
    expect(undecided([fast, noisy, slow, near, untimed])).toEqual([{ trial: noisy, slowdown: 0.5 * 1.05 }]);
    expect(undecided([fast, slow])).toEqual([]);
    expect(undecided([])).toEqual([]);
  });

  it('that cannot be told apart let the size decide, and others do not', () => {
    const near = timed(0.2, 0.52, 0.5, 0.54);
    const slow = timed(0.1, 0.8, 0.75, 0.85);
    expect(preferred([slow, fast, near], gates)).toEqual([near, fast, slow]);
    expect(preferred([slow, fast, near], { ...gates, prefer: 'size' })).toEqual([slow, near, fast]);
  });

  it('decide by themselves what is worth trying, however noisy', () => {
    const noisy = timed(0.2, 0.8, 0.4, 1.6);
    expect(preferred([noisy, fast], gates)).toEqual([noisy, fast]);
    expect(preferred([noisy, fast], gates, { promising: true })).toEqual([fast, noisy]);
  });
});
