import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { type Decisions, decisionKey, formatDecisions, parseDecisions } from '../../src/quantize/cached.ts';
import { type Settings, settingsOf } from '../../src/quantize/index.ts';

const KEY = 'c'.repeat(64);
const inputs = { root: 'a'.repeat(64) };
const settings = settingsOf({ model: 'model.onnx' });

describe('decisionKey', () => {
  it('depends on every setting but where things lie and how fast they go', () => {
    const free = ['model', 'output', 'reportDirectory', 'threads', 'sourceDigest', 'dryRun'];
    const key = decisionKey(settings, inputs);
    for (const name of Object.keys(settings)) {
      const changed = decisionKey({ ...settings, [name]: ['something else'] }, inputs);
      expect([name, changed === key]).toEqual([name, free.includes(name)]);
    }
    const later = { ...settings, ofALaterVersion: 1 };
    expect(decisionKey(later, inputs)).not.toBe(key);
  });

  it('depends on source, samples and runtime, and not on the order of settings', () => {
    const keys = [
      inputs,
      { root: 'b'.repeat(64) },
      { ...inputs, samples: '1' },
      { ...inputs, samples: '2' },
      { ...inputs, runtime: '1' },
    ].map((each) => decisionKey(settings, each));
    expect(new Set(keys).size).toBe(keys.length);
    const reversed = Object.fromEntries(Object.entries(settings).reverse()) as unknown as Settings;
    expect(decisionKey(reversed, inputs)).toBe(keys[0]);
  });
});

describe('decisions', () => {
  const decisions = fc.record({
    ranges: fc
      .uniqueArray(fc.tuple(fc.string({ minLength: 1 }), fc.float({ noNaN: true, noDefaultInfinity: true })), {
        selector: ([name]) => name,
      })
      .map((list) => new Map(list.map(([name, low]) => [name, { low, high: low + 1 }]))),
    overrides: fc.array(
      fc.record({
        node: fc.string({ minLength: 1 }),
        method: fc.constantFrom('dynamic', 'static', 'weight-only', 'fp16', 'keep'),
        bits: fc.constantFrom(4, 8, 16, null),
      }),
    ),
  });

  it('come back as they were', () => {
    fc.assert(
      fc.property(decisions, (made) => {
        const text = formatDecisions(made as Decisions, KEY);
        const read = parseDecisions(Buffer.from(text), KEY);
        // JSON has no -0.
        expect(formatDecisions(read, KEY)).toBe(text);
      }),
    );
  });

  it.each([
    ['{', 'are not JSON'],
    ['[]', 'are no JSON object'],
    [JSON.stringify({ schema: 2 }), 'another schema'],
    [JSON.stringify({ schema: 1, key: 'd'.repeat(64), ranges: [], overrides: [] }), 'other settings'],
    [JSON.stringify({ schema: 1, key: KEY, ranges: [], overrides: [], model: 'AAAA' }), 'more than decisions'],
    [JSON.stringify({ schema: 1, key: KEY, ranges: {}, overrides: [] }), 'lack ranges'],
    [JSON.stringify({ schema: 1, key: KEY, ranges: [['x', 1, 0]], overrides: [] }), 'no range as entry 0'],
    [JSON.stringify({ schema: 1, key: KEY, ranges: [['x', null, 0]], overrides: [] }), 'no range as entry 0'],
    [`{"schema":1,"key":"${KEY}","ranges":[["x",0,1e999]],"overrides":[]}`, 'no range as entry 0'],
    [
      JSON.stringify({
        schema: 1,
        key: KEY,
        ranges: [
          ['x', 0, 1],
          ['x', 0, 2],
        ],
        overrides: [],
      }),
      'no range as entry 1',
    ],
    [JSON.stringify({ schema: 1, key: KEY, ranges: [], overrides: [['n', 'exec', 8]] }), 'no override as entry 0'],
    [JSON.stringify({ schema: 1, key: KEY, ranges: [], overrides: [['n', 'keep', 7]] }), 'no override as entry 0'],
  ])('are refused where they are not what was written: %s', (text, what) => {
    expect(() => parseDecisions(Buffer.from(text), KEY)).toThrow(InputError);
    expect(() => parseDecisions(Buffer.from(text), KEY)).toThrow(what);
  });
});
