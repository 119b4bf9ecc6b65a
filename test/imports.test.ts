import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const SRC = fileURLToPath(new URL('../src/', import.meta.url));

/** What each file of src/ imports, types and dynamic imports included. */
const imports = new Map(
  readdirSync(SRC, { recursive: true, encoding: 'utf8' })
    .map((file) => file.replaceAll(path.sep, '/'))
    .filter((file) => file.endsWith('.ts') && !file.includes('/assembly/'))
    .map((file) => {
      const { importedFiles } = ts.preProcessFile(readFileSync(path.join(SRC, file), 'utf8'), true, true);
      return [file, importedFiles.map(({ fileName }) => fileName)] as const;
    }),
);

/** Each circle of imports once, as the files that it goes through. */
function circles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const found: string[][] = [];
  const done = new Set<string>();
  const trail: string[] = [];
  const visit = (file: string) => {
    const since = trail.indexOf(file);
    if (since >= 0) found.push([...trail.slice(since), file]);
    if (since >= 0 || done.has(file)) return;
    trail.push(file);
    for (const name of graph.get(file) ?? []) {
      if (name.startsWith('.')) visit(path.posix.join(path.posix.dirname(file), name));
    }
    trail.pop();
    done.add(file);
  };
  for (const file of graph.keys()) visit(file);
  return found;
}

describe('the imports of src/', () => {
  it('go in no circle, those of types neither', () => {
    expect(imports.size).toBeGreaterThan(200);
    expect(circles(imports)).toEqual([]);
  });

  it('name files that are there', () => {
    const lost = [...imports].flatMap(([file, names]) =>
      names
        .filter((name) => name.startsWith('.'))
        .map((name) => path.posix.join(path.posix.dirname(file), name))
        .filter((name) => !imports.has(name)),
    );
    expect(lost).toEqual([]);
  });

  it('reach @actions only from the actions, the command line and the services of a runner', () => {
    const users = [...imports].filter(([, names]) => names.some((name) => name.startsWith('@actions/')));
    expect(users.length).toBeGreaterThan(0);
    const others = users
      .map(([file]) => file)
      .filter((file) => !/^(actions\/|cli\.ts$|runner-services\.ts$)/.test(file));
    expect(others).toEqual([]);
  });
});

it('a circle is found', () => {
  const graph = new Map([
    ['a/x.ts', ['./y.ts', 'node:fs']],
    ['a/y.ts', ['../b.ts']],
    ['b.ts', ['./a/x.ts']],
  ]);
  expect(circles(graph)).toEqual([['a/x.ts', 'a/y.ts', 'b.ts', 'a/x.ts']]);
});
