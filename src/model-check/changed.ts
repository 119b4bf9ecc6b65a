import path from 'node:path';
import { InputError } from '../errors.ts';
import { namedLocations } from '../model/index.ts';
import type { ChangedFile, Repository, Tree, TreeFile } from './tree.ts';

/** Both commits' files. */
export interface Trees {
  base: Tree;
  head: Tree;
}

/**
 * The models among changed files, and those whose weights lie in a changed file beside them or below: only the graph
 * says which, so graphs near such a file are looked at, in `scratch`.
 */
export async function changedModels(
  repository: Repository,
  changes: readonly ChangedFile[],
  trees: Trees,
  scratch: string,
  fetchLfs: boolean,
): Promise<ChangedFile[]> {
  const models = changes.flatMap(({ base, head }): ChangedFile[] => {
    const sides = { ...(isModel(base) ? { base } : {}), ...(isModel(head) ? { head } : {}) };
    return Object.keys(sides).length > 0 ? [sides] : [];
  });
  const named = new Set(models.map(({ head }) => head?.path));
  const others = changes
    .flatMap(({ base, head }) => [base, head])
    .filter((file) => file && !isModel(file)) as TreeFile[];
  const candidates = [...trees.head.values()].filter(
    (file) => isModel(file) && !named.has(file.path) && others.some((other) => liesBelow(other.path, file.path)),
  );
  if (candidates.length === 0) return models;
  const pointers = await anyOf(others, (file) => repository.isPointer(file));
  const changed = new Set(others.map((file) => file.path));
  for (const head of candidates) {
    // What is not kept by Git LFS has no weights there: its graph need not be fetched.
    if (!head.mode.startsWith('100') || (!pointers && (await repository.isPointer(head)))) continue;
    const base = trees.base.get(head.path);
    const change = { ...(base ? { base } : {}), head };
    try {
      const file = await repository.extract(head, scratch, { fetchLfs });
      if (weightFiles(file, head).some((name) => changed.has(name))) models.push(change);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      models.push(change);
    }
  }
  return models;
}

/** The files of weights that a graph names, as paths in the repository; what would lead out of it is left out. */
export function weightFiles(graph: string, { path: model }: TreeFile): string[] {
  const names = (namedLocations(graph) ?? []).map((location) => path.posix.join(path.posix.dirname(model), location));
  return names.filter((name) => !path.posix.isAbsolute(name) && !name.startsWith('..'));
}

function isModel(file: TreeFile | undefined): file is TreeFile {
  return file !== undefined && /\.onnx$/i.test(file.path);
}

function liesBelow(file: string, model: string): boolean {
  const folder = path.posix.dirname(model);
  return folder === '.' || file.startsWith(`${folder}/`);
}

async function anyOf<T>(values: readonly T[], holds: (value: T) => Promise<boolean>): Promise<boolean> {
  for (const value of values) if (await holds(value)) return true;
  return false;
}
