import path from 'node:path';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { type QuantizeOptions, settingsOf } from '../../src/quantize/index.ts';

describe('options', () => {
  it('are unions: a misspelt method or type does not compile', () => {
    expectTypeOf<'dynamic'>().toExtend<QuantizeOptions['method']>();
    expectTypeOf<'dynmic'>().not.toExtend<QuantizeOptions['method']>();
    expectTypeOf<'int3'>().not.toExtend<QuantizeOptions['weightType']>();
    // @ts-expect-error: no such method
    expect(() => settingsOf({ model: 'm.onnx', method: 'dynmic' })).toThrow(/^Input `method` is `dynmic`/);
  });

  it.each([
    [{}, 'int8'],
    [{ method: 'weight-only' }, 'int8'],
    [{ method: 'weight-only', bits: 4 }, 'int4'],
    [{ method: 'fp16' }, 'fp16'],
  ] as const)('%o: the output is named by what it becomes', (options, suffix) => {
    expect(settingsOf({ model: 'a/m.onnx', ...options }).output).toBe(path.resolve(`a/m_${suffix}.onnx`));
  });
});
