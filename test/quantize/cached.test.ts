import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { decisionKey } from '../../src/quantize/cached.ts';
import { type Settings, settingsOf } from '../../src/quantize/index.ts';
import { formatMeasurements, Measurements, parseMeasurements } from '../../src/quantize/methods/static/measurements.ts';

const KEY = 'c'.repeat(64);
const inputs = { root: 'a'.repeat(64) };
const settings = settingsOf({ model: 'model.onnx', method: 'static', calibrationData: 'samples' });

describe('decisionKey', () => {
  it('depends on every setting but where things lie and how fast they go', () => {
    const free = ['model', 'output', 'reportDirectory', 'threads', 'sourceDigest', 'dryRun', 'calibrationData'];
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

describe('measurements', () => {
  const figure = fc.float({ noNaN: true, noDefaultInfinity: true, min: -(2 ** 90), max: 2 ** 90 });
  const map = <Each>(each: fc.Arbitrary<Each>) =>
    fc
      .uniqueArray(fc.tuple(fc.string({ minLength: 1 }), each), { selector: ([name]) => name })
      .map((list) => new Map(list));
  const value = fc.record({ dims: fc.array(fc.nat(), { maxLength: 4 }), nonFinite: fc.nat(), low: figure });
  const measured = fc
    .record({
      values: map(
        value.map(({ low, ...rest }) => ({ ...rest, min: low, max: low + 2, range: { low, high: low + 1 } })),
      ),
      errors: map(
        fc.record({
          decibels: figure,
          correction: fc.option(
            fc.array(figure).map((list) => Float64Array.from(list)),
            { nil: undefined },
          ),
        }),
      ),
      harm: map(figure.map(Math.abs)),
    })
    .map(({ values, errors, harm }) => {
      const made = new Measurements();
      made.values = values;
      for (const [name, error] of errors) made.errors.set(name, error);
      for (const [name, error] of harm) made.harm.set(name, error);
      return made;
    });

  it('come back as they were', () => {
    fc.assert(
      fc.property(measured, (made) => {
        const text = formatMeasurements(made, KEY);
        // JSON has no -0.
        expect(formatMeasurements(parseMeasurements(Buffer.from(text), KEY), KEY)).toBe(text);
      }),
    );
  });

  it('of values that were empty or never finite come back too', () => {
    const made = new Measurements();
    const [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    made.values = new Map([['x', { dims: [0], nonFinite: 3, min: low, max: high, range: { low, high } }]]);
    expect(parseMeasurements(Buffer.from(formatMeasurements(made, KEY)), KEY)).toEqual(made);
  });

  const lists = { values: [], errors: [], harm: [] };
  const text = (changed: object) => JSON.stringify({ schema: 2, key: KEY, ...lists, ...changed });
  it.each([
    ['{', 'are not JSON'],
    ['[]', 'are no JSON object'],
    [text({ schema: 1 }), 'another schema'],
    [text({ key: 'd'.repeat(64) }), 'other settings'],
    [text({ model: 'AAAA' }), 'more than decisions'],
    [text({ values: {} }), 'lack values'],
    [text({ values: [['x', [1], 0, 1, 0, 0, 1]] }), 'no value as entry 0'],
    [text({ values: [['x', [1], 0, 0, 1, 1, 0]] }), 'no value as entry 0'],
    [text({ values: [['x', [1], 0, null, 1, 0, 1]] }), 'no value as entry 0'],
    [text({ values: [['x', [1], 0, 0, 1, -1e39, 1]] }), 'no value as entry 0'],
    [text({ values: [['x', [1], 0, 0, 1, 0, 1, 'more']] }), 'no value as entry 0'],
    [text({ values: [['x', [-1], 0]] }), 'no value as entry 0'],
    [text({ values: [['x', [1.5], 0]] }), 'no value as entry 0'],
    [text({ values: ['x', ['x', [1], 0]] }), 'no value as entry 0'],
    [
      text({
        values: [
          ['x', [1], 0],
          ['x', [1], 0],
        ],
      }),
      'no value as entry 1',
    ],
    [text({ errors: [['x', '40', null]] }), 'no error as entry 0'],
    [text({ errors: [['x', 40, [1, null]]] }), 'no error as entry 0'],
    [text({ errors: [['x', 40]] }), 'no error as entry 0'],
    [text({ harm: [['x', -1]] }), 'no harm as entry 0'],
    [text({ harm: [['', 1]] }), 'no harm as entry 0'],
  ])('are refused where they are not what was written: %s', (written, what) => {
    expect(() => parseMeasurements(Buffer.from(written), KEY)).toThrow(InputError);
    expect(() => parseMeasurements(Buffer.from(written), KEY)).toThrow(what);
  });
});
