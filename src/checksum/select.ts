import { existsSync, statSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { InputError, messageOf } from '../errors.ts';
import { modelFiles } from '../model/index.ts';

/** Files that the lines of `path` name. Paths are absolute. */
export interface Selection {
  /** All files, each once, in the order they were found. */
  files: string[];
  /** The models among them: the files of each, graph first. */
  models: Map<string, string[]>;
}

/**
 * The files that `lines` name: files, folders (all below) and globs (`*`, `?`, `[…]`, `**`), minus those that lines
 * beginning with `!` name. A model brings its external data along. Globs and folders pass over manifests and checksum
 * receipts, which change with every run, and over hidden files.
 * @throws InputError where a line names nothing.
 */
export async function selectFiles(lines: readonly string[]): Promise<Selection> {
  const wanted = lines.filter((line) => !line.startsWith('!'));
  const unwanted = lines.filter((line) => line.startsWith('!')).map((line) => globMatcher(line.slice(1)));
  if (wanted.length === 0)
    throw new InputError('The input path is empty: name the files to list, one path or glob per line.');
  const found = new Set<string>();
  for (const line of wanted) {
    const files = await filesOf(line);
    if (files.length === 0) {
      throw new InputError(
        `The path "${line}" names no file: check it against the working directory ${process.cwd()}.`,
      );
    }
    for (const file of files) if (!unwanted.some((matches) => matches(file))) found.add(file);
  }
  if (found.size === 0)
    throw new InputError('The lines with ! in the input path exclude every file: drop one of them.');
  const models = await modelsAmong(found);
  return { files: [...new Set([...[...found].sort(), ...[...models.values()].flat()])], models };
}

/** The files of each model in `files`, graph first, then its external data sorted by location. */
async function modelsAmong(files: Iterable<string>): Promise<Map<string, string[]>> {
  const models = new Map<string, string[]>();
  for (const file of files) if (isModel(file)) models.set(file, await modelFiles(file));
  return models;
}

export function isModel(file: string): boolean {
  return path.extname(file).toLowerCase() === '.onnx';
}

/** Whether an absolute path is what `pattern` (a path, a folder or a glob, relative to the working directory) names. */
export function globMatcher(pattern: string): (file: string) => boolean {
  const absolute = forward(path.resolve(pattern));
  const glob = new RegExp(`^${globSource(absolute)}$`, process.platform === 'win32' ? 'i' : '');
  return (file) => {
    const name = forward(file);
    return name === absolute || name.startsWith(absolute.endsWith('/') ? absolute : `${absolute}/`) || glob.test(name);
  };
}

/** The part of a path line that no pattern changes: what its files have in common. A folder stands for a file in it. */
export function fixedPart(line: string): string {
  const absolute = path.resolve(line);
  const parts = forward(absolute).split('/');
  const firstGlob = parts.findIndex((part) => /[*?[]/.test(part));
  if (firstGlob !== -1 && !existsSync(absolute)) return path.join(parts.slice(0, firstGlob).join('/') || '/', 'any');
  return statSync(absolute, { throwIfNoEntry: false })?.isDirectory() ? path.join(absolute, 'any') : absolute;
}

async function filesOf(line: string): Promise<string[]> {
  const absolute = path.resolve(line);
  // A file may be called model[1].onnx: what exists under the very name is meant before any pattern.
  const info = await stat(absolute).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw new InputError(`The path "${line}" cannot be read (${messageOf(error)}): check its permissions.`, {
      cause: error,
    });
  });
  if (info?.isDirectory()) return walk(absolute, Number.POSITIVE_INFINITY);
  if (info !== undefined) return [absolute];
  const parts = forward(absolute).split('/');
  const firstGlob = parts.findIndex((part) => /[*?[]/.test(part));
  if (firstGlob === -1) return [];
  const base = parts.slice(0, firstGlob).join('/') || '/';
  const depth = parts.includes('**') ? Number.POSITIVE_INFINITY : parts.length - firstGlob;
  const matches = globMatcher(line);
  return (await walk(path.resolve(base), depth)).filter(matches);
}

/** Files below `folder`, at most `depth` levels down; no links to folders are followed, so there are no circles. */
async function walk(folder: string, depth: number): Promise<string[]> {
  if (depth < 1) return [];
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return [];
    throw new InputError(`The folder ${folder} cannot be read (${messageOf(error)}): check its permissions.`, {
      cause: error,
    });
  });
  const files: string[] = [];
  for (const entry of entries) {
    if (entry.name.startsWith('.') || OWN_FILE.test(entry.name)) continue;
    const full = path.join(folder, entry.name);
    if (entry.isDirectory()) files.push(...(await walk(full, depth - 1)));
    else if (entry.isFile() || (entry.isSymbolicLink() && (await isFile(full)))) files.push(full);
  }
  return files;
}

const OWN_FILE = /^SHA256SUMS|\.checksum\.json$/;

async function isFile(file: string): Promise<boolean> {
  const info = await stat(file).catch(() => undefined);
  return info?.isFile() ?? false;
}

/** The regular expression of a glob over a whole path. `*` and `?` stop at `/`; `**` as a whole part does not. */
function globSource(pattern: string): string {
  return pattern.replace(/(?<=\/)\*\*\/|\*+|\?|\[!?[^\]/]+\]|[\\^$.|+(){}[\]]/g, (token) => {
    if (token === '**/') return '(?:[^/]+/)*';
    if (token === '**') return '.*';
    if (token.startsWith('*')) return '[^/]*';
    if (token === '?') return '[^/]';
    if (token.length > 1) return token.replace('[!', '[^').replaceAll('\\', '\\\\');
    return `\\${token}`;
  });
}

function forward(file: string): string {
  return process.platform === 'win32' ? file.replaceAll('\\', '/') : file;
}
