import path from 'node:path';
import { InputError, messageOf } from '../errors.ts';
import { readRegularFileIfThere } from '../read-file.ts';
import { replaceFile } from '../receipt/index.ts';
import type { FileDigests } from './digest.ts';
import { type ChunkedSums, formatChunkedSums, formatSums, parseChunkedSums, parseSums, type Sums } from './manifest.ts';

/** The two files of a manifest, and the folder that their names are relative to. Absolute paths. */
export interface ManifestPaths {
  sums: string;
  chunked: string;
  folder: string;
}

/**
 * Where the manifest of `files` (absolute paths) is. `manifest` may name either file of the pair; a bare name stands
 * in the working directory, or in the files' common folder where one of them lies outside the working directory.
 */
export function locateManifest(manifest: string, files: readonly string[]): ManifestPaths {
  const bare = path.basename(manifest) === manifest;
  const base = bare && files.some((file) => !isBelow(process.cwd(), file)) ? commonFolder(files) : process.cwd();
  const sums = path.resolve(base, manifest.replace(/\.json$/i, ''));
  return { sums, chunked: `${sums}.json`, folder: path.dirname(sums) };
}

/**
 * Reads what there is of a manifest; `undefined` for a file that is not there.
 * @throws InputError where one is there and unreadable or broken.
 */
export async function readManifest(paths: ManifestPaths): Promise<{ sums?: Sums; chunked?: ChunkedSums }> {
  const sums = await readRegularFileIfThere(paths.sums, 'The manifest');
  const chunked = await readRegularFileIfThere(paths.chunked, 'The manifest');
  return {
    ...(sums === undefined ? {} : { sums: parseSums(sums, paths.sums) }),
    ...(chunked === undefined ? {} : { chunked: parseChunkedSums(chunked, paths.chunked) }),
  };
}

/** Writes both files, each through a temporary one that is synced and renamed. */
async function writeManifest(
  paths: ManifestPaths,
  sums: Pick<Sums, 'entries' | 'comments'>,
  chunked: ChunkedSums,
): Promise<void> {
  await write(paths.chunked, formatChunkedSums(chunked));
  await write(paths.sums, formatSums(sums));
}

/** Adds files (absolute paths) to the manifest, or replaces their entries; other entries stay. */
export async function mergeManifest(paths: ManifestPaths, digests: ReadonlyMap<string, FileDigests>): Promise<void> {
  const { sums, chunked } = await readManifest(paths);
  const entries = new Map(sums?.entries);
  const chunks = new Map(chunked);
  for (const [file, digest] of digests) {
    const name = nameIn(paths.folder, file);
    entries.set(name, digest.sha256);
    chunks.set(name, digest);
  }
  await writeManifest(paths, { entries, comments: sums?.comments ?? [] }, chunks);
}

async function write(file: string, text: string): Promise<void> {
  try {
    await replaceFile(file, text);
  } catch (error) {
    throw new InputError(
      `The manifest ${file} cannot be written (${messageOf(error)}): check its folder's permissions.`,
      {
        cause: error,
      },
    );
  }
}

/** Name of `file` in a manifest that stands in `folder`: relative, with `/`. */
export function nameIn(folder: string, file: string): string {
  return path.relative(folder, file).replaceAll(path.sep, '/');
}

function isBelow(folder: string, file: string): boolean {
  const relative = path.relative(folder, file);
  return relative !== '..' && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative);
}

function commonFolder(files: readonly string[]): string {
  let folder = path.dirname(files[0] as string);
  while (files.some((file) => !isBelow(folder, file)) && path.dirname(folder) !== folder) folder = path.dirname(folder);
  return folder;
}
