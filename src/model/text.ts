import { isUtf8 } from 'node:buffer';

/*
 * Names in an ONNX file should be UTF-8 and sometimes are not. A byte that is no part of valid UTF-8 becomes one of
 * the private-use characters U+10F780…U+10F7FF, and such a character in the file is treated as four such bytes, so
 * every byte string has one JavaScript string and the way back is exact.
 */
const ESCAPE_BASE = 0x10f700;
const ESCAPED = /[\u{10f780}-\u{10f7ff}]/gu;

/** The bytes of a protobuf string as valid UTF-8. Returns its argument when nothing needs escaping. */
export function escapeText(bytes: Uint8Array): Uint8Array {
  if (isUtf8(bytes) && !hasEscape(bytes)) return bytes;
  let size = 0;
  forEachCharacter(bytes, (start, end, valid) => {
    size += valid ? end - start : 4;
  });
  const escaped = Buffer.allocUnsafe(size);
  let at = 0;
  forEachCharacter(bytes, (start, end, valid) => {
    if (valid) for (let i = start; i < end; i++) escaped[at++] = bytes[i]!;
    else at += escaped.write(String.fromCodePoint(ESCAPE_BASE + bytes[start]!), at);
  });
  return escaped;
}

/** The JavaScript string of a protobuf string. */
export function textOf(bytes: Uint8Array): string {
  const valid = escapeText(bytes);
  return Buffer.from(valid.buffer, valid.byteOffset, valid.byteLength).toString();
}

/** How many bytes `unescapeText` returns. */
export function bytesOfText(text: string): number {
  const length = Buffer.byteLength(text);
  // Plain ASCII, as nearly all names are.
  if (length === text.length) return length;
  let escaped = 0;
  for (const _ of text.matchAll(ESCAPED)) escaped++;
  return length - 3 * escaped;
}

/** The bytes that `escapeText` was given. */
export function unescapeText(text: string): Uint8Array {
  const bytes = new Uint8Array(bytesOfText(text));
  unescapeInto(text, bytes);
  return bytes;
}

/** The same, written to `target`, which has that many bytes. */
export function unescapeInto(text: string, target: Uint8Array): void {
  const encoder = new TextEncoder();
  let done = 0;
  let at = 0;
  if (Buffer.byteLength(text) !== text.length) {
    for (const { index, 0: character } of text.matchAll(ESCAPED)) {
      at += encoder.encodeInto(text.slice(done, index), target.subarray(at)).written;
      target[at++] = character.codePointAt(0)! - ESCAPE_BASE;
      done = index + character.length;
    }
  }
  encoder.encodeInto(done === 0 ? text : text.slice(done), target.subarray(at));
}

/**
 * Calls `each` with every valid character that is no escape, and with every byte that is no part of one, in order.
 * A byte of valid ASCII inside an escaped character's four bytes cannot occur: they are all ≥ 0x80.
 */
function forEachCharacter(bytes: Uint8Array, each: (start: number, end: number, valid: boolean) => void): void {
  for (let at = 0; at < bytes.length; ) {
    const length = characterLength(bytes, at);
    if (length > 0 && !isEscape(bytes, at)) each(at, at + length, true);
    else for (let i = at; i < at + Math.max(length, 1); i++) each(i, i + 1, false);
    at += Math.max(length, 1);
  }
}

/** U+10F780…U+10F7FF are F4 8F 9E 80 … F4 8F 9F BF. */
function hasEscape(bytes: Uint8Array): boolean {
  for (let at = bytes.indexOf(0xf4); at >= 0; at = bytes.indexOf(0xf4, at + 1)) if (isEscape(bytes, at)) return true;
  return false;
}

function isEscape(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === 0xf4 && bytes[at + 1] === 0x8f && (bytes[at + 2] === 0x9e || bytes[at + 2] === 0x9f);
}

/** Length of the valid UTF-8 character at `at`, or 0. */
function characterLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!;
  const length = first < 0x80 ? 1 : first < 0xc0 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  return length > 1 && !isUtf8(bytes.subarray(at, at + length)) ? 0 : at + length > bytes.length ? 0 : length;
}
