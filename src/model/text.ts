import { isUtf8 } from 'node:buffer';

/*
 * Names in an ONNX file should be UTF-8 and sometimes are not. A byte that is no part of valid UTF-8 becomes one of
 * the private-use characters U+10F780…U+10F7FF, and such a character in the file is treated as four such bytes, so
 * every byte string has one JavaScript string and the way back is exact.
 */
const ESCAPE_BASE = 0x10f700;
const ESCAPED = /[\u{10f780}-\u{10f7ff}]/u;

/** The bytes of a protobuf string as valid UTF-8. Returns its argument when nothing needs escaping. */
export function escapeText(bytes: Uint8Array): Uint8Array {
  if (isUtf8(bytes) && !hasEscape(bytes)) return bytes;
  const characters: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = characterLength(bytes, at);
    const character = bytes.subarray(at, at + length);
    if (length > 0 && !hasEscape(character)) characters.push(Buffer.from(character).toString());
    else for (const byte of bytes.subarray(at, at + Math.max(length, 1))) characters.push(escapeByte(byte));
    at += Math.max(length, 1);
  }
  return Buffer.from(characters.join(''));
}

/** The bytes that `escapeText` was given. */
export function unescapeText(text: string): Uint8Array {
  if (!ESCAPED.test(text)) return Buffer.from(text);
  const pieces: Uint8Array[] = [];
  for (const character of text) {
    const code = character.codePointAt(0)! - ESCAPE_BASE;
    pieces.push(code >= 0x80 && code <= 0xff ? Uint8Array.of(code) : Buffer.from(character));
  }
  return Buffer.concat(pieces);
}

/** A byte of valid ASCII inside an escaped character's four bytes cannot occur: they are all ≥ 0x80. */
function escapeByte(byte: number): string {
  return String.fromCodePoint(ESCAPE_BASE + byte);
}

/** U+10F780…U+10F7FF are F4 8F 9E 80 … F4 8F 9F BF. */
function hasEscape(bytes: Uint8Array): boolean {
  for (let at = bytes.indexOf(0xf4); at >= 0; at = bytes.indexOf(0xf4, at + 1)) {
    if (bytes[at + 1] === 0x8f && (bytes[at + 2] === 0x9e || bytes[at + 2] === 0x9f)) return true;
  }
  return false;
}

/** Length of the valid UTF-8 character at `at`, or 0. */
function characterLength(bytes: Uint8Array, at: number): number {
  for (let length = 1; length <= 4 && at + length <= bytes.length; length++) {
    if (isUtf8(bytes.subarray(at, at + length))) return length;
  }
  return 0;
}
