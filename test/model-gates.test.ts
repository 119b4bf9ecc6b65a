import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { definitions } from '../src/actions/definitions.generated.ts';
import { COMPARE_LIMITS, optionsOf, parseModelGates, readModelGates, VALIDATE_LIMITS } from '../src/model-gates.ts';
import { saveModel } from './support/onnx-builder.ts';
import { runAction } from './support/program.ts';
import { smallModel } from './support/small-model.ts';
import { useTemp } from './support/temp.ts';

const temp = useTemp();
const parse = (text: string) => parseModelGates(Buffer.from(text), 'model-gates.yaml');

describe('model-gates.yaml', () => {
  it('has limits by level, and those of single models before the common ones, the last first', () => {
    const gates = parse(`version: 1
limits: { max-size-mb: 1500, min-similarity: { error: 0.98, warn: 0.99 } }
changes: { min-similarity: null, max-size-increase-percent: { warn: 5 } }
models:
  "models/**/a*.onnx": { limits: { max-size-mb: { error: 5, warn: 4 } } }
  "**/ab.onnx": { limits: { max-size-mb: 6 } }
`);
    const common = { 'min-similarity': { error: 0.98, warn: 0.99 } };
    const changes = { 'min-similarity': { error: null }, 'max-size-increase-percent': { warn: 5 } };
    expect(gates('models/b.onnx')).toEqual({ limits: { 'max-size-mb': { error: 1500 }, ...common }, changes });
    expect(gates('models/x/a.onnx').limits).toEqual({ 'max-size-mb': { error: 5, warn: 4 }, ...common });
    expect(gates('.\\models\\ab.onnx').limits).toEqual({ 'max-size-mb': { error: 6 }, ...common });
    const { limits } = gates('models/x/a.onnx');
    expect(optionsOf(limits, VALIDATE_LIMITS, 'warn')).toEqual({ maxSizeMb: 4 });
    expect(optionsOf(gates('b.onnx').changes, COMPARE_LIMITS, 'error')).toEqual({ minSimilarity: null });
  });

  it.each([
    ['- 1', 'holds no mapping; begin it with "version: 1"'],
    ['a: [', 'is not valid YAML: '],
    [
      'a: &a [1]\nb: &b [*a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b]\nd: [*c, *c, *c, *c, *c, *c, *c, *c]',
      'is no mapping of limits',
    ],
    [`a: ${'['.repeat(500)}`, 'nests lists and mappings more than 100 deep'],
    [`# ${'x'.repeat(300_000)}`, 'bytes, and at most 262144 are read'],
    ['version: 2', '"version" in model-gates.yaml must be 1.'],
    ['version: 1\nlimit: {}', '"limit" in model-gates.yaml is unknown; use one of: version, limits, changes, models.'],
    [
      'version: 1\nlimits: { max-size: 1 }',
      '"limits: max-size" in model-gates.yaml is unknown; use one of: max-load-ms, ',
    ],
    [
      'version: 1\nchanges: { max-size-mb: 1 }',
      '"changes: max-size-mb" in model-gates.yaml is unknown; use one of: min-similarity, ',
    ],
    ['version: 1\nlimits: { max-size-mb: big }', '"limits: max-size-mb" in model-gates.yaml must be a'],
    ['version: 1\nlimits: { max-size-mb: { error: -1 } }', 'must be a number, or { error: number, warn: number }.'],
    ['version: 1\nlimits: { max-size-mb: { fail: 1 } }', 'must be a number, or { error: number, warn: number }.'],
    [
      'version: 1\nlimits: { max-size-mb: { error: 5, warn: 6 } }',
      'warns at 6, beyond its error 5: it would never be heard.',
    ],
    ['version: 1\nlimits: { min-speedup: { error: 2, warn: 1 } }', 'warns at 1, beyond its error 2'],
    [
      'version: 1\nmodels: { "a.onnx": { limits: 3 } }',
      '"models: a.onnx: limits" in model-gates.yaml must be a mapping.',
    ],
  ])('is refused as %j', (text, sentence) => {
    expect(() => parse(text)).toThrow(sentence);
  });

  it('knows the limits that the actions have, all of them', () => {
    const limits = (action: 'validate' | 'compare') =>
      Object.keys(definitions[action].inputs).filter(
        (name) => /^(min|max)-/.test(name) && !['max-seconds', 'max-regression-percent'].includes(name),
      );
    expect([...VALIDATE_LIMITS].sort()).toEqual(limits('validate').sort());
    expect([...COMPARE_LIMITS].sort()).toEqual(limits('compare').sort());
  });

  it('is sound in the example', async () => {
    const gates = await readModelGates(path.join(import.meta.dirname, '../examples/sarai/model-gates.yaml'));
    expect(gates('models/onnx/vad_v5.onnx').limits['max-size-mb']).toEqual({ error: 5 });
    expect(gates('other.onnx').limits['max-size-mb']).toEqual({ error: 1500 });
  });
});

describe('the input `gates`', () => {
  it('fails and warns in validate and compare; a limit that is given goes before it', async () => {
    const folder = temp();
    saveModel(folder, smallModel());
    const spoilt = (weights: Float32Array) => (weights[0] = 0.3);
    saveModel(folder, smallModel(spoilt), 'other.onnx');
    const gates =
      'limits: { max-size-mb: { error: 0.02, warn: 0.01 }, min-similarity: { error: 0.9, warn: 0.9999999 } }';
    writeFileSync(path.join(folder, 'gates.yaml'), `version: 1\n${gates}\n`);
    const common = { gates: 'gates.yaml', dims: 'batch=2', 'max-seconds': '1', 'allow-inconclusive': 'true' };
    const failed = await runAction('validate', { ...common, model: 'other.onnx', runs: '3' }, folder);
    expect(failed.code).toBe(1);
    expect(failed.stdout).toMatch(/^::error::Size on disk is 0\.04\d MB, over the limit of 0\.02 MB \(max-size-mb\)/m);
    expect(failed.stdout).not.toContain('warning limit');

    const warned = await runAction(
      'validate',
      { ...common, model: 'other.onnx', runs: '3', 'max-size-mb': '1' },
      folder,
    );
    expect(warned.code, warned.stdout).toBe(0);
    expect(warned.stdout).toMatch(
      /^::warning::Size on disk is 0\.04\d MB, over the warning limit of 0\.01 MB \(max-size-mb\)/m,
    );
    expect(warned.summary).toContain('over the warning limit of 0.01 MB');

    const compared = await runAction('compare', { ...common, reference: 'model.onnx', model: 'other.onnx' }, folder);
    expect(compared.code, compared.stdout).toBe(0);
    expect(compared.stdout).toMatch(/^::warning::The similarity 0\.99\d+ is below the warning limit 1: /m);
    const { inputs, results } = JSON.parse(readFileSync(path.join(folder, 'other.compare.json'), 'utf8'));
    expect(inputs['min-similarity']).toBe('0.9');
    expect(results.warnings).toHaveLength(1);
  });
});
