import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
const text = readFileSync(path.join(ROOT, 'docs/library.md'), 'utf8');
const examples = [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code!);
const { exports: doors } = createRequire(import.meta.url)('../package.json') as { exports: Record<string, unknown> };

/** What the compiler says of modules in the package's folder, by its own name for the package: against lib/. */
function diagnose(modules: readonly string[]): string[] {
  const files = new Map(modules.map((code, index) => [path.join(ROOT, `example-${index + 1}.ts`), code]));
  const options: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2022,
    lib: ['lib.es2023.d.ts'],
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    strict: true,
    noEmit: true,
    types: ['node'],
    noUnusedLocals: true,
    exactOptionalPropertyTypes: true,
  };
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, getSourceFile } = host;
  const virtual = (file: string) => files.get(path.normalize(file));
  host.getCurrentDirectory = () => ROOT;
  host.fileExists = (file) => virtual(file) !== undefined || fileExists(file);
  host.readFile = (file) => virtual(file) ?? readFile(file);
  host.getSourceFile = (file, version, ...rest) => {
    const code = virtual(file);
    return code === undefined ? getSourceFile(file, version, ...rest) : ts.createSourceFile(file, code, version);
  };
  const program = ts.createProgram([...files.keys()], options, host);
  return ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => {
    const line = file && start !== undefined ? file.getLineAndCharacterOfPosition(start).line + 1 : 0;
    return `${file ? path.basename(file.fileName) : ''}:${line} ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
  });
}

describe('docs/library.md', () => {
  it('has examples that compile, strictly, against the declarations of the package', () => {
    expect(examples.length).toBeGreaterThanOrEqual(9);
    expect(diagnose(examples)).toEqual([]);
  });

  it('names every door', () => {
    for (const door of Object.keys(doors).filter((name) => name !== './package.json')) {
      expect(text).toContain(door.replace('.', 'onnx-quantize-actions'));
    }
  });
});

it('what is no option does not compile', () => {
  const found = diagnose([
    `import { quantize } from 'onnx-quantize-actions';\nawait quantize({ model: 'm.onnx', method: 'dynmic' });\n`,
    `import { absent } from 'onnx-quantize-actions/quantize';\nabsent();\n`,
  ]);
  expect(found.map((each) => each.split(' ')[0])).toEqual(['example-1.ts:2', 'example-2.ts:1']);
});
