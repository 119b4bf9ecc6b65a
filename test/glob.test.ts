import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { matchesGlob } from '../src/glob.ts';

describe('matchesGlob', () => {
  it.each([
    ['models/gguf/a.gguf', 'models/gguf/*.gguf', true],
    ['models/gguf/x/a.gguf', 'models/gguf/*.gguf', false],
    ['models/a.onnx', 'models/**/a.onnx', true],
    ['models/x/y/a.onnx', 'models/**/a.onnx', true],
    ['modelsa.onnx', 'models/**/a.onnx', false],
    ['m/whisper_1.onnx', 'm/whisper_?.onnx', true],
    ['m/(1).onnx', 'm/(1).onnx', true],
    ['m/a', 'm/', false],
  ])('%s and %s: %s', (path, glob, wanted) => {
    expect(matchesGlob(path, glob)).toBe(wanted);
  });

  it('is what the regular expression of the glob says', () => {
    const pattern = (glob: string) =>
      glob.replace(/\*\*\/|\*\*|\*|\?|\./g, (part) => {
        return { '**/': '(?:.*/)?', '**': '.*', '*': '[^/]*', '?': '[^/]', '.': '\\.' }[part]!;
      });
    const text = (of: string[], maxLength: number) =>
      fc.array(fc.constantFrom(...of), { maxLength }).map((parts) => parts.join(''));
    fc.assert(
      fc.property(text(['a', 'b', '/', '.'], 8), text(['a', 'b', '/', '.', '*', '**', '**/', '?'], 6), (path, glob) => {
        expect(matchesGlob(path, glob)).toBe(new RegExp(`^${pattern(glob)}$`).test(path));
      }),
      { numRuns: 5000 },
    );
  });

  it('comes to an end, whatever the glob', () => {
    expect(matchesGlob('a'.repeat(5000), `${'*a'.repeat(40)}b`)).toBe(false);
    expect(matchesGlob('a/'.repeat(5000), `${'**/a'.repeat(40)}b`)).toBe(false);
  });
});
