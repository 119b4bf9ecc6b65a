import { realpathSync } from 'node:fs';
import path from 'node:path';
import { InputError } from '../errors.ts';
import { quote } from './quote.ts';
import { explainReadError, stampFile } from './stamp.ts';
import type { FileStamp, Model, TensorProto } from './types.ts';

/** Where an external tensor says its bytes are. `length` is `undefined` where the entry leaves it out. */
export interface ExternalRange {
  location: string;
  offset: number;
  length: number | undefined;
}

/**
 * Finds the external data files of a model. A location is a relative path that stays inside the model's directory,
 * with links followed: a model from elsewhere must not make us read other files. Where the model itself is a link, its
 * data may be links into the directory that the model's leads to, as in a Hugging Face cache, whose files are all links
 * into one folder of blobs. ONNX Runtime draws the same line.
 */
export interface ExternalData {
  /** Checks a tensor's entry and returns the file and range it names; `needed` is the tensor's length in bytes. */
  resolve(tensor: TensorProto, needed: number): { path: string; offset: number };
  /** The files that were named, sorted by location. */
  files(): FileStamp[];
}

export function externalData(modelPath: string): ExternalData {
  const places = new Places(modelPath);
  const files = new Map<string, FileStamp>();

  const fileAt = (location: string, subject: string): FileStamp => {
    const key = normalLocation(location);
    let file = files.get(key);
    if (!file) {
      file = locate(places, location, subject);
      files.set(key, file);
    }
    return file;
  };

  return {
    resolve(tensor, needed) {
      const subject = `The model "${modelPath}": the external data of tensor ${quote(tensor.name)}`;
      const { location, offset, length } = externalRange(tensor, subject);
      if (length !== undefined && length !== needed) {
        throw new InputError(
          `${subject} is said to be ${length} bytes, but its dims and type need ${needed}: export the model again.`,
        );
      }
      const file = fileAt(location, subject);
      if (offset + needed > file.size) {
        throw new InputError(
          `${subject} ends at byte ${offset + needed}, but ${quote(location)} has only ${file.size} bytes: copy the data file again, whole.`,
        );
      }
      return { path: file.path, offset };
    },
    files: () => [...files.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, file]) => file),
  };
}

/**
 * Bytes of each external data file that no tensor uses: what a rerun appended to an old file, say. Gaps of less than
 * 64 KiB that end where a page begins are padding and not counted. Files without such bytes are left out.
 */
export function orphanedBytes(model: Model): { path: string; bytes: number }[] {
  const sizes = new Map(model.stamps.map(({ path, size }) => [path, size]));
  const orphaned = model.externalFiles.map((file) => {
    const ranges = [...model.tensors.values()].flatMap(({ source }) =>
      source.kind === 'file' && source.path === file ? [source] : [],
    );
    return { path: file, bytes: unusedBytes(ranges, sizes.get(file) ?? 0) };
  });
  return orphaned.filter(({ bytes }) => bytes > 0);
}

/** Bytes of the graph file that are no weights: what is held in memory of a model. */
export function graphBytes(model: Model): number {
  let weights = 0;
  for (const { source } of model.tensors.values()) {
    if (source.kind === 'file' && source.path === model.path) weights += source.length;
  }
  return Math.max(0, model.size - weights);
}

/**
 * Refuses external data that goes on behind the last tensor, other than padding to a page: bytes of another export, or
 * what a tool appended. Which of the two copies of the weights is meant, nobody can tell.
 */
export function assertNotOverlong(model: Model): void {
  for (const file of model.externalFiles) {
    const ends = [...model.tensors.values()].flatMap(({ source }) =>
      source.kind === 'file' && source.path === file ? [source.offset + source.length] : [],
    );
    const used = ends.reduce((most, end) => Math.max(most, end), 0);
    const size = model.stamps.find(({ path }) => path === file)?.size ?? 0;
    if (size <= used || (size - used < MAX_PADDING && size % 4096 === 0)) continue;
    throw new InputError(
      `"${file}" is longer than the model says: it has ${size} bytes and ${used} are used; export the model again, or cut the file to ${used} bytes if you know that the rest is none of it.`,
    );
  }
}

const MAX_PADDING = 64 * 2 ** 10;

function unusedBytes(ranges: { offset: number; length: number }[], size: number): number {
  let used = 0;
  let unused = 0;
  for (const { offset, length } of ranges.sort((a, b) => a.offset - b.offset)) {
    const gap = Math.max(offset - used, 0);
    if (gap >= MAX_PADDING || offset % 4096 !== 0) unused += gap;
    used = Math.max(used, offset + length);
  }
  return unused + size - used;
}

/** Reads a tensor's `external_data` entries. */
export function externalRange(tensor: TensorProto, subject: string): ExternalRange {
  const entries = new Map(tensor.externalData.map(({ key, value }) => [key, value]));
  const location = entries.get('location');
  if (!location) throw new InputError(`${subject} has no location: export the model again.`);
  const offset = wholeNumber(entries.get('offset') || '0');
  if (offset === undefined) {
    throw new InputError(`${subject} has the offset ${quote(entries.get('offset') ?? '')}, which is no byte count.`);
  }
  const length = entries.get('length');
  const bytes = length ? wholeNumber(length) : undefined;
  if (length && bytes === undefined) {
    throw new InputError(`${subject} has the length ${quote(length)}, which is no byte count: export the model again.`);
  }
  return { location, offset, length: bytes };
}

/**
 * How a location is told from another. A backslash separates folders on Windows only; elsewhere it is a letter of a
 * file's name, as it is to ONNX Runtime, and `d/x` and `d\\x` are two files.
 */
export function normalLocation(location: string): string {
  return path.posix.normalize(path.sep === '/' ? location : location.replaceAll('\\', '/'));
}

function locate(places: Places, location: string, subject: string): FileStamp {
  if (location.includes('\0') || path.posix.isAbsolute(location) || path.win32.isAbsolute(location)) {
    throw new InputError(
      `${subject} lies at the absolute path ${quote(location)}: only files beside the model are read.`,
    );
  }
  if (/^[a-z]:/i.test(location) || location.split(/[\\/]/).includes('..')) {
    throw new InputError(
      `${subject} lies at ${quote(location)}, outside the model's directory: only files beside the model are read.`,
    );
  }
  const file = path.join(places.directory, path.sep === '/' ? location : location.replaceAll('/', path.sep));
  const stamp = stampFile(file, `${subject} lies in ${quote(location)}, which`);
  const real = realPath(file, subject);
  if (!places.allowed(subject).some((folder) => real.startsWith(folder))) {
    throw new InputError(
      `${subject} lies in ${quote(location)}, a link that leads out of the model's directory: put the file itself there.`,
    );
  }
  return stamp;
}

/** Where a model's data may lie. */
class Places {
  readonly directory: string;
  readonly #modelPath: string;
  #allowed: string[] | undefined;

  constructor(modelPath: string) {
    this.#modelPath = modelPath;
    this.directory = path.dirname(modelPath);
  }

  /** The model's directory and that of the file that it is a link to, real and with a separator behind. */
  allowed(subject: string): readonly string[] {
    this.#allowed ??= [this.directory, path.dirname(realPath(this.#modelPath, subject))].map((folder) =>
      withSeparator(realPath(folder, subject)),
    );
    return this.#allowed;
  }
}

function realPath(file: string, subject: string): string {
  try {
    return realpathSync(file);
  } catch (cause) {
    throw explainReadError(cause, subject);
  }
}

function withSeparator(directory: string): string {
  return directory.endsWith(path.sep) ? directory : directory + path.sep;
}

function wholeNumber(text: string): number | undefined {
  const number = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(number) ? number : undefined;
}
