import { describe, expect, expectTypeOf, it } from 'vitest';
import { nearest, parseFlags } from '../../src/actions/flags.ts';
import { getInputs } from '../../src/actions/inputs.ts';
import { InputError } from '../../src/errors.ts';

const from = (values: Record<string, string>) => (name: string) => values[name];

describe('getInputs', () => {
  it('gives every input its type and its default', () => {
    const inputs = getInputs('quantize', from({ model: ' m.onnx ', 'op-types': 'MatMul, Gemm\nLSTM', bits: '4' }));
    expectTypeOf(inputs.model).toEqualTypeOf<string>();
    expectTypeOf(inputs.bits).toEqualTypeOf<8 | 4>();
    expectTypeOf(inputs.threads).toEqualTypeOf<number | undefined>();
    expectTypeOf(inputs.opTypes).toEqualTypeOf<string[]>();
    expectTypeOf(inputs.method).toEqualTypeOf<'dynamic' | 'weight-only' | 'static' | 'fp16' | 'auto'>();
    expect(inputs).toMatchObject({
      model: 'm.onnx',
      method: 'dynamic',
      bits: 4,
      perChannel: true,
      dryRun: false,
      opTypes: ['MatMul', 'Gemm', 'LSTM'],
      excludeNodes: [],
    });
    expect('threads' in inputs).toBe(false);
    expect('weightSymmetric' in inputs).toBe(false);
  });

  it('switches a limit off when it is emptied and returns anything else to its default', () => {
    const base = { model: 'a', reference: 'b' };
    expect(getInputs('compare', from(base)).minSimilarity).toBe(0.98);
    const emptied = getInputs('compare', from({ ...base, 'min-similarity': '', count: '' }));
    expect('minSimilarity' in emptied).toBe(false);
    expect(emptied.count).toBe(8);
  });

  it.each([
    [
      'quantize',
      { model: 'm', method: 'dynamc' },
      'Input "method" is "dynamc"; use one of: dynamic, weight-only, static, fp16, auto.',
    ],
    ['quantize', { model: 'm', 'per-channel': 'maybe' }, 'Input "per-channel" is "maybe"; use true or false.'],
    [
      'validate',
      { model: 'm', 'max-memory-mb': '1200MB' },
      'Input "max-memory-mb" is "1200MB"; use a number, 0 or more (MB of 10^6 bytes), without a unit behind it.',
    ],
    [
      'validate',
      { model: 'm', runs: '1.5' },
      'Input "runs" is "1.5"; use a whole number, 0 or more (runs), without a unit behind it.',
    ],
    ['validate', { model: 'm', runs: '-1' }, 'Input "runs" is "-1"'],
    ['validate', { model: 'm', 'max-load-ms': 'NaN' }, 'Input "max-load-ms" is "NaN"'],
    [
      'compare',
      { model: 'm', reference: 'r', 'min-similarity': '98' },
      'Input "min-similarity" is "98"; use a number from 0 to 1',
    ],
    ['compare', { model: 'm' }, 'Input "reference" is missing: The FP32 model.'],
    ['promote-config', { config: 'c', 'config-memory-mb': 'much' }, 'Input "config-memory-mb" is "much"'],
  ] as const)('answers bad values of %s in one sentence: %o', (action, values, sentence) => {
    expect(() => getInputs(action, from(values))).toThrow(InputError);
    expect(() => getInputs(action, from(values))).toThrow(sentence);
  });

  it('reads a number or auto', () => {
    expect(getInputs('promote-config', from({ config: 'c', 'config-memory-mb': 'auto' })).configMemoryMb).toBe('auto');
    expect(getInputs('promote-config', from({ config: 'c', 'config-memory-mb': '1200' })).configMemoryMb).toBe(1200);
  });
});

describe('parseFlags', () => {
  it('reads all forms of a flag', () => {
    const argv = [
      '--model',
      'm.onnx',
      '--output=o=1.onnx',
      '--dry-run',
      '--no-per-channel',
      '--op-types',
      'A',
      '--op-types=B',
    ];
    expect(Object.fromEntries(parseFlags('quantize', argv))).toEqual({
      model: 'm.onnx',
      output: 'o=1.onnx',
      'dry-run': 'true',
      'per-channel': 'false',
      'op-types': 'A\nB',
    });
    expect(parseFlags('quantize', ['--dry-run', 'false']).get('dry-run')).toBe('false');
  });

  it('takes what needs no flag: a model, the two of compare, the paths of checksum', () => {
    const flags = (...given: Parameters<typeof parseFlags>) => Object.fromEntries(parseFlags(...given));
    expect(flags('validate', ['m.onnx', '--runs', '3'])).toEqual({ model: 'm.onnx', runs: '3' });
    expect(flags('quantize', ['--dry-run', 'm.onnx'])).toEqual({ 'dry-run': 'true', model: 'm.onnx' });
    expect(flags('compare', ['fp32.onnx', 'int8.onnx'])).toEqual({ reference: 'fp32.onnx', model: 'int8.onnx' });
    expect(flags('compare', ['int8.onnx', '--reference', 'fp32.onnx'])).toEqual({
      reference: 'fp32.onnx',
      model: 'int8.onnx',
    });
    expect(flags('checksum', ['a.onnx', 'b.onnx'])).toEqual({ path: 'a.onnx\nb.onnx' });
    expect(flags('inspect', ['m.onnx', '--json', '--quiet'])).toEqual({ model: 'm.onnx', json: 'true', quiet: 'true' });
    expect(() => parseFlags('promote-config', ['m.onnx'])).toThrow('"m.onnx" is no flag');
  });

  it.each([
    [['--modle', 'm'], 'Unknown flag "--modle" for quantize; did you mean "--model"?'],
    [['--frobnicate'], 'Unknown flag "--frobnicate" for quantize; "quantize --help" lists them.'],
    [['m.onnx', 'n.onnx'], '"n.onnx" is no flag, and the model is m.onnx already'],
    [['-m'], '"-m" is no flag'],
    [['--model'], 'Flag "--model" has no value; write --model <path>.'],
    [['--model', '--dry-run'], 'Flag "--model" has no value'],
    [['--no-model'], 'Unknown flag "--no-model"'],
  ])('answers %o in one sentence', (argv, sentence) => {
    expect(() => parseFlags('quantize', argv)).toThrow(InputError);
    expect(() => parseFlags('quantize', argv)).toThrow(sentence);
  });

  it('suggests only what is near', () => {
    expect(nearest('quantise', ['quantize', 'compare'])).toBe('quantize');
    expect(nearest('xyz', ['quantize', 'compare'])).toBeUndefined();
  });
});
