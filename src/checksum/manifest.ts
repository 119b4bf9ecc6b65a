import { InputError, messageOf, shown } from '../errors.ts';
import { CHUNK_BYTES, rootOf } from '../model/index.ts';
import type { FileDigests } from './digest.ts';

/** `SHA256SUMS` as it was read. */
export interface Sums {
  /** SHA-256 (lower-case hex) by name, in the file's order. Names are relative to the manifest's folder, with `/`. */
  entries: Map<string, string>;
  /** Lines that are no entries (comments), in order, to be kept. */
  comments: string[];
  /** Its line ends are CRLF, which `sha256sum -c` takes for a part of the name. */
  crlf: boolean;
}

/** `SHA256SUMS.json`: digests by name. */
export type ChunkedSums = Map<string, FileDigests>;

/**
 * Reads what `sha256sum`, `shasum`, `openssl dgst`, BSD tools and certutil write: text and binary marks, UTF-8 or
 * UTF-16 (PowerShell's `>`) with or without BOM, LF or CRLF, either separator, upper or lower case, certutil's own
 * three lines with its digits in pairs or not.
 * @param file what errors call the manifest.
 * @throws InputError naming the line: no checksum line, a name that leads out of the folder, or two digests for a name.
 */
export function parseSums(bytes: Uint8Array, file: string): Sums {
  const lines = decode(bytes, file).split('\n');
  const sums: Sums = { entries: new Map(), comments: [], crlf: lines.some((line) => line.endsWith('\r')) };
  const spelled = new Map<string, string>();
  let announced: string | undefined;
  for (const [index, raw] of lines.entries()) {
    const line = raw.replace(/\r+$/, '');
    const fail = (what: string): never => {
      throw new InputError(`Line ${index + 1} of ${file} ${what}: write the manifest anew with mode create.`);
    };
    if (line.trim() === '' || CERTUTIL_END.test(line)) continue;
    if (line.startsWith('#')) {
      sums.comments.push(line);
      continue;
    }
    const header = CERTUTIL_NAME.exec(line);
    if (header !== null) {
      announced = header[1];
      continue;
    }
    const entry = parseLine(line, announced) ?? fail(`is no checksum line ("${excerpt(line)}")`);
    announced = undefined;
    const name = safeName(entry.name, fail);
    const earlier = sums.entries.get(name);
    if (earlier !== undefined && earlier !== entry.sha256) fail(`gives ${name} a second, different digest`);
    assertApart(name, spelled, fail);
    sums.entries.set(name, entry.sha256);
  }
  return sums;
}

/**
 * Checks that the names of a manifest (relative to its folder) can be written and read back on every system, together.
 * @throws InputError where they cannot.
 */
export function checkNames(names: Iterable<string>, file: string): void {
  const spelled = new Map<string, string>();
  for (const name of names) {
    const fail = (what: string): never => {
      throw new InputError(
        `${file} cannot list ${name}, since it ${what}: rename the file, or set the input manifest to a path in a folder that holds all files.`,
      );
    };
    if (/[\\\r\n]/.test(name)) fail('holds a line break or a backslash');
    if (safeName(name, fail) !== name) fail('is no plain path below that folder');
    assertApart(name, spelled, fail);
  }
}

/** The text of `SHA256SUMS`: binary mark, LF, so that every `sha256sum -c` takes it as it is. */
export function formatSums({ entries, comments }: Pick<Sums, 'entries' | 'comments'>): string {
  const lines = [...comments, ...[...entries].map(([name, sha256]) => `${sha256} *${name}`)];
  return lines.map((line) => `${line}\n`).join('');
}

/**
 * Reads `SHA256SUMS.json` and checks that it agrees with itself: chunk counts with sizes, roots with chunks.
 * @throws InputError naming the entry.
 */
export function parseChunkedSums(bytes: Uint8Array, file: string): ChunkedSums {
  const fail = (what: string): never => {
    throw new InputError(`${file} ${what}: write the manifest anew with mode create.`);
  };
  let value: unknown;
  try {
    value = JSON.parse(decode(bytes, file));
  } catch (error) {
    if (error instanceof InputError) throw error;
    fail(`is not JSON (${messageOf(error)})`);
  }
  if (!isRecord(value) || value.schema !== 1) fail('is no manifest of schema 1');
  const { chunkBytes, files } = value as Record<string, unknown>;
  if (chunkBytes !== CHUNK_BYTES) fail(`has "chunkBytes" ${shown(chunkBytes)} where ${CHUNK_BYTES} is read`);
  if (!Array.isArray(files)) return fail('has no list "files"');
  const sums: ChunkedSums = new Map();
  const spelled = new Map<string, string>();
  for (const [index, entry] of files.entries()) {
    const failEntry = (what: string): never => fail(`entry ${index} ${what}`);
    const { path, size, sha256, chunks, root } = isRecord(entry) ? entry : failEntry('is no object');
    if (typeof path !== 'string') return failEntry('has no "path"');
    const name = safeName(path, failEntry);
    if (sums.has(name)) failEntry(`lists ${name} again`);
    assertApart(name, spelled, failEntry);
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) return failEntry('has no "size" in bytes');
    if (!isDigest(sha256) || !isDigest(root)) return failEntry('lacks a SHA-256 or a root of 64 hex digits');
    if (!Array.isArray(chunks) || !chunks.every(isDigest)) return failEntry('has "chunks" that are not all SHA-256');
    if (chunks.length !== Math.ceil(size / CHUNK_BYTES)) {
      failEntry(`has ${chunks.length} chunks, which is not the number that ${size} bytes have`);
    }
    const digests = { size, sha256: lower(sha256), chunks: chunks.map(lower), root: lower(root) };
    const whole = size <= CHUNK_BYTES && size > 0 ? digests.chunks[0] : digests.sha256;
    if (rootOf(digests.chunks) !== digests.root || whole !== digests.sha256) {
      failEntry(`(${name}) contradicts itself: its chunks do not make its root or its SHA-256`);
    }
    sums.set(name, digests);
  }
  return sums;
}

/** The text of `SHA256SUMS.json`. */
export function formatChunkedSums(sums: ChunkedSums): string {
  const files = [...sums].map(([path, { size, sha256, root, chunks }]) => ({ path, size, sha256, root, chunks }));
  return `${JSON.stringify({ schema: 1, chunkBytes: CHUNK_BYTES, files }, null, 2)}\n`;
}

/** certutil's first line in several languages: "SHA256 hash of m.onnx:", "Hash SHA256 de m.onnx:". */
const CERTUTIL_NAME = /^(?:SHA-?256[ -]hash|hash SHA-?256) \S+ (?:(?:file|archivo|fichier) )?(.+):$/is;
const CERTUTIL_END = /^CertUtil: /i;
const HEX = '[0-9a-fA-F]{64}';
/** GNU and certutil-made lists: digest, then two characters (space and mark) or other white space, then the name. */
const GNU_LINE = new RegExp(`^(\\\\?)(${HEX})(?: [ *]|[ \\t]+\\*?)(.+)$`, 's');
/** BSD and openssl: "SHA256 (name) = digest". */
const TAGGED_LINE = new RegExp(`^SHA(?:2-)?256 ?\\((.+)\\) ?= ?(${HEX})$`, 'is');

function parseLine(line: string, announced: string | undefined): { name: string; sha256: string } | undefined {
  if (announced !== undefined) {
    const digits = line.replaceAll(' ', '');
    return isDigest(digits) ? { name: announced, sha256: lower(digits) } : undefined;
  }
  const tagged = TAGGED_LINE.exec(line);
  if (tagged !== null) return { name: tagged[1] as string, sha256: lower(tagged[2] as string) };
  const gnu = GNU_LINE.exec(line);
  if (gnu === null) return undefined;
  const [, escaped, sha256, name] = gnu as unknown as [string, string, string, string];
  return { name: escaped === '' ? name : unescapeGnu(name), sha256: lower(sha256) };
}

/** GNU marks a line whose name has been escaped with a backslash in front. */
function unescapeGnu(name: string): string {
  const meant: Record<string, string> = { n: '\n', r: '\r', '\\': '\\' };
  return name.replace(/\\([nr\\])/g, (_, letter: string) => meant[letter] as string);
}

/** A name with `/` and without `.`; one that is absolute or leads out of the manifest's folder is refused. */
function safeName(name: string, fail: (what: string) => never): string {
  const parts = name.replaceAll('\\', '/').split('/');
  const clean = parts.filter((part) => part !== '.' && part !== '').join('/');
  // "./c:x" is a drive too, once the "./" is gone.
  const rooted = parts[0] === '' || /^[A-Za-z]:/.test(clean);
  if (rooted || parts.includes('..') || name.includes('\0')) {
    fail(`names "${excerpt(name)}", which is not inside the manifest's folder`);
  }
  const odd = clean.split('/').find((part) => WINDOWS_RESERVED.test(part) || ODD_PART.test(part));
  if (odd !== undefined) fail(`names "${excerpt(name)}", which Windows cannot have`);
  return clean === '' ? fail(`names "${excerpt(name)}", which is no file`) : clean;
}

/**
 * Names of devices, whatever the ending:
 * https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file#naming-conventions
 */
const WINDOWS_RESERVED = /^(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[\d¹²³])\s*(?:\..*)?$/i;

/** A dot or blank at the end, which Windows drops, and characters that no name has there. */
const ODD_PART = /[. ]$|[\p{Cc}<>:"|?*]/u;

/** Two names that differ in capitals or accents' encoding only are one file on Windows and macOS. */
function assertApart(name: string, spelled: Map<string, string>, fail: (what: string) => never): void {
  const folded = name.normalize('NFC').toLowerCase();
  const other = spelled.get(folded) ?? name;
  if (other !== name) fail(`names "${excerpt(name)}" beside "${excerpt(other)}", which are one file on Windows`);
  spelled.set(folded, name);
}

/** UTF-8 unless a byte order mark says UTF-16; the mark itself is dropped. */
function decode(bytes: Uint8Array, file: string): string {
  const encoding =
    bytes[0] === 0xff && bytes[1] === 0xfe ? 'utf-16le' : bytes[0] === 0xfe && bytes[1] === 0xff ? 'utf-16be' : 'utf-8';
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch (error) {
    throw new InputError(
      `${file} is not text in ${encoding.toUpperCase()}: write the manifest anew with mode create.`,
      {
        cause: error,
      },
    );
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isDigest(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-fA-F]{64}$/.test(value);
}

function lower(digest: string): string {
  return digest.toLowerCase();
}

function excerpt(text: string): string {
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}
