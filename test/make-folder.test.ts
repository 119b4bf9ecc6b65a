import { existsSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { makeFolder } from '../src/make-folder.ts';
import { saveModel } from './support/onnx-builder.ts';
import { runCli } from './support/program.ts';
import { smallModel } from './support/small-model.ts';
import { useTemp } from './support/temp.ts';

const temp = useTemp();
const hasProc = existsSync('/proc/self');

test('makes what is missing and says what came first', () => {
  const base = temp();
  const target = path.join(base, 'a', 'b', 'c');
  expect(makeFolder(target)).toBe(path.join(base, 'a'));
  expect(makeFolder(target)).toBeUndefined();
  expect(makeFolder(path.join(base, 'a', 'd') + path.sep)).toBe(path.join(base, 'a', 'd'));
  expect(readdirSync(path.join(base, 'a')).sort()).toEqual(['b', 'd']);
});

test('says what is in the way', () => {
  const base = temp();
  writeFileSync(path.join(base, 'file'), '');
  symlinkSync(path.join(base, 'nowhere'), path.join(base, 'dangling'));
  expect(() => makeFolder(path.join(base, 'file'))).toThrow(/EEXIST/);
  expect(() => makeFolder(path.join(base, 'dangling'))).toThrow(/EEXIST/);
  expect(() => makeFolder(path.join(base, 'file', 'a', 'b'))).toThrow(/ENOTDIR|ENOENT|EEXIST/);
});

describe.skipIf(!hasProc)('a file system that takes no folders', () => {
  test('is an error and no endless loop', () => {
    expect(() => makeFolder('/proc/absent/a/b')).toThrow(/ENOENT/);
  });

  test.each([
    ['quantize', ['--output', '/proc/absent/y.onnx'], /^error: The output "\/proc\/absent\/y\.onnx" lies in a folder/m],
    ['quantize', ['--report', '/proc/absent'], /^error: The receipt \/proc\/absent\/.* cannot be written/m],
    ['validate', ['--report', '/proc/absent'], /^error: The receipt \/proc\/absent\/.* cannot be written/m],
    ['compare', ['--baseline', '/proc/absent'], /^error: baseline: \/proc\/absent cannot be written/m],
  ])('%s %o is one sentence', async (command, flags, sentence) => {
    const folder = temp();
    saveModel(folder, smallModel());
    const few = { validate: ['--runs', '2'], compare: ['--reference', 'model.onnx'] }[command] ?? [];
    const { code, stderr } = await runCli([command, '--model', 'model.onnx', ...few, ...flags], folder);
    expect(stderr).toMatch(sentence);
    expect(stderr).not.toMatch(/bug|\n {4}at /);
    expect(code).toBe(1);
  });
});
