import { createHash } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import path from 'node:path';
import { InputError, messageOf } from '../../errors.ts';
import { CHUNK_BYTES, digestFiles, modelFiles, rootOf } from '../../model/index.ts';
import { readRegularFile } from '../../read-file.ts';

/** A file of a model as it was: size, and the digests of some or all of its 64 MiB chunks. */
export interface FileState {
  /** Relative to the model's folder, with `/`. */
  path: string;
  /** Bytes. */
  size: number;
  /** SHA-256 of chunk k, lower-case hex. */
  chunks: Record<number, string>;
}

/** A model that a config names, as it was when it was recorded. */
export interface ModelIdentity {
  /** As the config names it. */
  path: string;
  /** Root over all chunks of all files, where all of them were digested. */
  root?: string;
  files: FileState[];
}

/** Where a model of the config lies; `model_path` resolves against the project root. */
export function modelFile(modelPath: string, projectRoot: string): string {
  return path.resolve(projectRoot, modelPath);
}

/** How a config names a model file: relative to the project root where it lies inside, with `/`. */
export function modelPathOf(file: string, projectRoot: string): string {
  const relative = path.relative(projectRoot, file);
  const outside = relative.startsWith('..') || path.isAbsolute(relative);
  return (outside ? file : relative).replaceAll(path.sep, '/');
}

/**
 * Whether two records speak of the same model: the same path, and the same bytes as far as both know them. A model
 * without files (they were gone, or an old history did not say) is known by its path alone.
 */
export function isSameModel(a: ModelIdentity, b: ModelIdentity): boolean {
  if (a.path !== b.path) return false;
  if (a.files.length === 0 || b.files.length === 0) return true;
  if (a.root !== undefined && b.root !== undefined) return a.root === b.root;
  const others = new Map(b.files.map((file) => [file.path, file]));
  return (
    a.files.length === b.files.length &&
    a.files.every(({ path: name, size, chunks }) => {
      const other = others.get(name);
      const same = ([index, digest]: [string, string]) => (other?.chunks[Number(index)] ?? digest) === digest;
      return other?.size === size && Object.entries(chunks).every(same);
    })
  );
}

/** Digests every byte of a model. */
export async function identifyModel(modelPath: string, projectRoot: string): Promise<ModelIdentity & { root: string }> {
  const file = modelFile(modelPath, projectRoot);
  const paths = await modelFiles(file);
  const { root, files } = await digestFiles(paths);
  return {
    path: modelPath,
    root,
    files: files.map(({ size, chunks }, index) => ({
      path: nameIn(file, paths[index]!),
      size,
      chunks: Object.fromEntries(chunks.entries()),
    })),
  };
}

/**
 * What can be said of a model without reading all of it: a sample of chunks, and all that a manifest beside it lists
 * where size and sample agree with it.
 */
export async function sketchModel(modelPath: string, projectRoot: string): Promise<ModelIdentity> {
  const file = modelFile(modelPath, projectRoot);
  const files: FileState[] = [];
  for (const each of await filesOf(file)) {
    const { size } = await stat(each);
    const sample = await digestChunks(each, size, sampleOf(Math.ceil(size / CHUNK_BYTES)));
    const listed = await fromManifest(each, size);
    // A manifest that has not been written anew since the file changed says nothing about it.
    const agrees = listed && Object.entries(sample).every(([chunk, digest]) => listed[Number(chunk)] === digest);
    files.push({ path: nameIn(file, each), size, chunks: agrees ? listed : sample });
  }
  const all = files.flatMap(completeChunks);
  return { path: modelPath, ...(all.includes(undefined) ? {} : { root: rootOf(all as string[]) }), files };
}

/**
 * What differs between a model on disk and its recorded state, as sentences; empty where nothing does. Sizes first,
 * then a sample of chunks (first, middle, last), or with `full` every chunk.
 */
export async function verifyModel(identity: ModelIdentity, projectRoot: string, full: boolean): Promise<string[]> {
  const folder = path.dirname(modelFile(identity.path, projectRoot));
  const problems: string[] = [];
  for (const state of identity.files) {
    const file = path.join(folder, state.path);
    let size: number;
    try {
      size = (await stat(file)).size;
    } catch (cause) {
      problems.push(`${file} is not there (${messageOf(cause)}); bring it back, from a backup or the artifact.`);
      continue;
    }
    if (size !== state.size) {
      problems.push(`${file} has ${size} bytes where ${state.size} were recorded; bring the right file back.`);
      continue;
    }
    const count = Math.ceil(size / CHUNK_BYTES);
    if (full && completeChunks(state).includes(undefined)) {
      throw new InputError(
        `'full-verify' needs every digest of ${file}, and only a sample was recorded: write a manifest with checksum, or leave 'full-verify' out.`,
      );
    }
    const wanted = (full ? [...Array(count).keys()] : sampleOf(count)).filter((chunk) => state.chunks[chunk]);
    const found = await digestChunks(file, size, wanted);
    const differing = wanted.find((chunk) => found[chunk] !== state.chunks[chunk]);
    if (differing !== undefined) {
      problems.push(
        `${file} differs from what was recorded, within the 64 MiB from byte ${differing * CHUNK_BYTES}; bring the right file back.`,
      );
    }
  }
  return problems;
}

/**
 * What differs between a model's files and the manifest beside them (`SHA256SUMS.json`): sizes, then a sample of
 * chunks. Undefined where nothing does, or where no manifest lists them.
 */
export async function manifestProblem(modelPath: string, projectRoot: string): Promise<string | undefined> {
  const file = modelFile(modelPath, projectRoot);
  let files: string[];
  try {
    files = await filesOf(file);
  } catch (error) {
    return messageOf(error);
  }
  for (const each of files) {
    const listed = await manifestEntry(each);
    if (listed === undefined) continue;
    const { size } = await stat(each);
    const name = path.relative(projectRoot, each).replaceAll(path.sep, '/');
    if (listed.size !== size) {
      return `${name} has ${size} bytes where its manifest lists ${listed.size}: fetch the file again, or write the manifest anew with checksum.`;
    }
    const found = await digestChunks(each, size, sampleOf(listed.chunks.length));
    if (Object.entries(found).some(([chunk, digest]) => listed.chunks[Number(chunk)] !== digest)) {
      return `${name} is not the file that its manifest lists: fetch it again, or write the manifest anew with checksum.`;
    }
  }
  return undefined;
}

/** Plain SHA-256 of a model's graph file, as services like to report it. Undefined where it cannot be read. */
export async function graphSha256(modelPath: string, projectRoot: string): Promise<string | undefined> {
  const file = modelFile(modelPath, projectRoot);
  try {
    const { size } = await stat(file);
    const hash = createHash('sha256');
    await readRange(file, 0, size, (bytes) => hash.update(bytes));
    return hash.digest('hex');
  } catch {
    return undefined; // The caller compares only where there is something to compare with.
  }
}

/** Bytes of a model's files, or undefined where they are not all there. */
export async function modelBytes(modelPath: string, projectRoot: string): Promise<number | undefined> {
  try {
    const sizes = await Promise.all((await filesOf(modelFile(modelPath, projectRoot))).map(async (f) => stat(f)));
    return sizes.reduce((sum, { size }) => sum + size, 0);
  } catch {
    return undefined; // Only used to say a size.
  }
}

/** Absolute paths of a model's files; its own alone where the others cannot be told. */
export async function modelFilePaths(modelPath: string, projectRoot: string): Promise<string[]> {
  const file = modelFile(modelPath, projectRoot);
  return filesOf(file).catch(() => [file]);
}

/** The files of a model; one that is not ONNX (a GGUF, say) is one file. */
async function filesOf(file: string): Promise<string[]> {
  return path.extname(file).toLowerCase() === '.onnx' ? modelFiles(file) : [file];
}

function nameIn(model: string, file: string): string {
  return path.relative(path.dirname(model), file).replaceAll(path.sep, '/');
}

function completeChunks({ size, chunks }: FileState): (string | undefined)[] {
  return Array.from({ length: Math.ceil(size / CHUNK_BYTES) }, (_, index) => chunks[index]);
}

function sampleOf(count: number): number[] {
  return count === 0 ? [] : [...new Set([0, Math.floor(count / 2), count - 1])];
}

/** Chunk digests from the manifest, where it lists the file at this size. */
async function fromManifest(file: string, size: number): Promise<Record<number, string> | undefined> {
  const entry = await manifestEntry(file);
  return entry?.size === size ? Object.fromEntries(entry.chunks.entries()) : undefined;
}

/** What `SHA256SUMS.json` in the file's folder lists for it; a manifest that cannot be used lists nothing. */
async function manifestEntry(file: string): Promise<{ size: number; chunks: string[] } | undefined> {
  try {
    const bytes = await readRegularFile(path.join(path.dirname(file), 'SHA256SUMS.json'), 'The manifest');
    const { files } = JSON.parse(bytes.toString('utf8')) as {
      files?: { path?: string; size?: number; chunks?: string[] }[];
    };
    const { size, chunks } = files?.find((each) => each.path === path.basename(file)) ?? {};
    if (size === undefined || chunks?.length !== Math.ceil(size / CHUNK_BYTES)) return undefined;
    return { size, chunks: chunks.map((chunk) => chunk.toLowerCase()) };
  } catch {
    return undefined; // Not there, or broken: `checksum verify` is what says so.
  }
}

async function digestChunks(file: string, size: number, wanted: number[]): Promise<Record<number, string>> {
  const digests: Record<number, string> = {};
  for (const chunk of wanted) {
    const hash = createHash('sha256');
    const start = chunk * CHUNK_BYTES;
    await readRange(file, start, Math.min(CHUNK_BYTES, size - start), (bytes) => hash.update(bytes));
    digests[chunk] = hash.digest('hex');
  }
  return digests;
}

async function readRange(file: string, start: number, length: number, use: (bytes: Buffer) => void): Promise<void> {
  const handle = await open(file, 'r');
  try {
    const buffer = Buffer.allocUnsafe(Math.min(length, 2 ** 20) || 1);
    for (let done = 0; done < length; ) {
      const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, length - done), start + done);
      if (bytesRead === 0) throw new InputError(`${file} became shorter while it was read; let nothing write it.`);
      use(buffer.subarray(0, bytesRead));
      done += bytesRead;
    }
  } finally {
    await handle.close();
  }
}
