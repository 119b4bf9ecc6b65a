import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkNames, formatChunkedSums, formatSums, parseChunkedSums, parseSums } from '../../src/checksum/manifest.ts';
import { InputError } from '../../src/errors.ts';
import { CHUNK_BYTES, rootOf } from '../../src/model/digest.ts';

const A = 'a1'.repeat(32);
const B = 'b2'.repeat(32);
const parse = (text: string | Uint8Array) =>
  parseSums(typeof text === 'string' ? Buffer.from(text) : text, 'SHA256SUMS');
const entriesOf = (text: string | Uint8Array) => Object.fromEntries(parse(text).entries);

const hex = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex'));
const part = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 12 })
  .filter((text) => !/[/\\\p{Cc}<>:"|?*]|[. ]$|^(con|prn|aux|nul)\b/iu.test(text));
const name = fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));

describe('SHA256SUMS', () => {
  it.each([
    ['sha256sum, text mode', `${A}  models/m.onnx\n`],
    ['sha256sum, binary mode', `${A} *models/m.onnx\n`],
    ['upper case', `${A.toUpperCase()} *models/m.onnx\n`],
    ['backslashes', `${A} *models\\m.onnx\n`],
    ["GNU's escape of backslashes", `\\${A} *models\\\\m.onnx\n`],
    ['a leading ./', `${A}  ./models/m.onnx\n`],
    ['CRLF', `${A}  models/m.onnx\r\n`],
    ['CRLF made twice', `${A}  models/m.onnx\r\r\n`],
    ['no last line end', `${A}  models/m.onnx`],
    ['one space', `${A} models/m.onnx\n`],
    ['a byte order mark', `\uFEFF${A}  models/m.onnx\n`],
    ["PowerShell's UTF-16", Buffer.from(`\uFEFF${A}  models/m.onnx\r\n`, 'utf16le')],
    ['BSD', `SHA256 (models/m.onnx) = ${A}\n`],
    ['openssl dgst', `SHA2-256(models/m.onnx)= ${A}\n`],
    ['certutil', `SHA256 hash of models\\m.onnx:\r\n${A}\r\nCertUtil: -hashfile command completed successfully.\r\n`],
    [
      'certutil in Spanish',
      `SHA256 hash de models\\m.onnx:\r\n${A.toUpperCase()}\r\nCertUtil: -hashfile comando completado correctamente.\r\n`,
    ],
    ['certutil of Windows 7', `SHA256 hash of file models\\m.onnx:\r\n${A.replace(/../g, '$& ').trim()}\r\n`],
  ])('is read as written by %s', (_, text) => {
    expect(entriesOf(text)).toEqual({ 'models/m.onnx': A });
  });

  it('reports CRLF, and only that', () => {
    expect(parse(`${A}  m\r\n`).crlf).toBe(true);
    expect(parse(`${A}  m\n`).crlf).toBe(false);
  });

  it('keeps comments and spaces in names', () => {
    const sums = parse(`# ours\n${A}   two  spaces .onnx\n`);
    expect([...sums.entries.keys()]).toEqual([' two  spaces .onnx']);
    expect(formatSums(sums)).toBe(`# ours\n${A} * two  spaces .onnx\n`);
  });

  it.each([
    ['..', `${A}  ../m.onnx\n`],
    ['.. in the middle', `${A}  a/../../m.onnx\n`],
    ['.. with backslashes', `${A}  a\\..\\..\\m.onnx\n`],
    ['an absolute name', `${A}  /etc/passwd\n`],
    ['a drive', `${A}  C:\\m.onnx\n`],
    ['a drive behind a dot', `${A}  ./C:m.onnx\n`],
    ['a share', `${A}  \\\\server\\share\\m.onnx\n`],
  ])('refuses %s', (_, text) => {
    expect(() => parse(text)).toThrow(InputError);
    expect(() => parse(text)).toThrow(/Line 1 .* not inside the manifest's folder/);
  });

  it.each([
    ['a cut line', `${A}  a\n${B.slice(0, 40)}`, /Line 2 of SHA256SUMS is no checksum line/],
    ['two digests for a name', `${A}  a\n${B}  ./a\n`, /Line 2 .* gives a a second, different digest/],
    ['bytes that are no text', Buffer.from([0x61, 0xff, 0xfe]), /is not text in UTF-8/],
    ['an announced name without digest', `SHA256 hash of a:\n${A}  a\n`, /Line 2/],
  ])('refuses %s', (_, text, sentence) => {
    expect(() => parse(text)).toThrow(InputError);
    expect(() => parse(text)).toThrow(sentence);
  });

  it('comes back as it was written, whatever the names', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(name, hex), {
          selector: ([name]) => name.normalize('NFC').toLowerCase(),
          minLength: 1,
        }),
        (pairs) => {
          checkNames(
            pairs.map(([name]) => name),
            'SHA256SUMS',
          );
          const text = formatSums({ entries: new Map(pairs), comments: [] });
          expect([...parse(text).entries]).toEqual(pairs);
          const windows = `\uFEFF${text.replaceAll('/', '\\').replaceAll('\n', '\r\n')}`;
          expect([...parse(windows).entries]).toEqual(pairs);
          expect([...parse(Buffer.from(windows, 'utf16le')).entries]).toEqual(pairs);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('is read or refused in a sentence, whatever the bytes, and no name leads out', () => {
    const line = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc
        .tuple(
          hex,
          fc.constantFrom('  ', ' *', ' ', '\t'),
          fc.string({ unit: fc.constantFrom('.', '/', '\\', 'a', ':', ' ') }),
        )
        .map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 300 }),
          fc.array(line, { maxLength: 4 }).map((lines) => Buffer.from(lines.join('\n'))),
        ),
        (bytes) => {
          try {
            for (const name of parse(bytes).entries.keys()) {
              expect(name.split('/')).not.toContain('..');
              expect(name).not.toMatch(/^([A-Za-z]:|[\\/])|\\/);
            }
          } catch (error) {
            if (!(error instanceof InputError)) throw error;
          }
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('takes no name that could not travel', () => {
    for (const name of ['../m', 'a\\b', 'a\nb', 'C:m', '/m', 'a//b']) {
      expect(() => checkNames([name], 'SHA256SUMS'), name).toThrow(InputError);
    }
  });

  it.each(['CON', 'nul.txt', 'a/Aux', 'LPT1.onnx', 'COM¹', 'conin$', 'm.', 'm ', 'a./m', 'a\u0007b', 'a?', 'x|y'])(
    'takes and reads no name that Windows cannot have: %j',
    (name) => {
      expect(() => checkNames([name], 'SHA256SUMS')).toThrow(/Windows cannot have/);
      expect(() => parse(`${A}  ${name}\n`)).toThrow(/Windows cannot have/);
      const digests = { size: 0, sha256: A, root: rootOf([]), chunks: [] };
      const text = formatChunkedSums(new Map([[name, digests]]));
      expect(() => parseChunkedSums(Buffer.from(text), 'SHA256SUMS.json')).toThrow(/Windows cannot have/);
    },
  );

  it('takes names that only look like devices', () => {
    checkNames(['console.onnx', 'com10', 'nul2', 'lpt', 'a/.hidden', 'm.on nx'], 'SHA256SUMS');
  });

  it('takes and reads no two names that are one on Windows', () => {
    for (const [a, b] of [
      ['m.onnx', 'M.onnx'],
      ['d/x', 'D/x'],
      ['caf\u00e9', 'cafe\u0301'],
    ] as const) {
      expect(() => checkNames([a, b], 'SHA256SUMS')).toThrow(/one file on Windows/);
      expect(() => parse(`${A}  ${a}\n${B}  ${b}\n`)).toThrow(/one file on Windows/);
      const digests = { size: 0, sha256: A, root: rootOf([]), chunks: [] };
      const text = formatChunkedSums(
        new Map([
          [a, digests],
          [b, digests],
        ]),
      );
      expect(() => parseChunkedSums(Buffer.from(text), 'SHA256SUMS.json')).toThrow(/one file on Windows/);
    }
    // Twice the same is one.
    expect(parse(`${A}  m\n${A}  m\n`).entries.size).toBe(1);
  });
});

/** The JSON as loosely as a damage needs it. */
type Damaged = { files: Record<string, unknown>[] } & Record<string, unknown>;

describe('SHA256SUMS.json', () => {
  const chunks = [A, B];
  const digests = { size: CHUNK_BYTES + 5, sha256: 'c3'.repeat(32), chunks, root: rootOf(chunks) };
  const valid = () => JSON.parse(formatChunkedSums(new Map([['m.onnx.data', digests]])));
  const parseJson = (value: unknown) => parseChunkedSums(Buffer.from(JSON.stringify(value)), 'SHA256SUMS.json');

  it('comes back as it was written, with BOM or not, in capitals or not', () => {
    expect(parseJson(valid()).get('m.onnx.data')).toEqual(digests);
    const shouted = `\uFEFF${JSON.stringify(valid()).replaceAll(A, A.toUpperCase())}`;
    expect(parseChunkedSums(Buffer.from(shouted), 'x').get('m.onnx.data')).toEqual(digests);
  });

  it.each([
    [
      'another schema',
      (json: Damaged) => {
        json.schema = 2;
      },
      'no manifest of schema 1',
    ],
    [
      'another chunk size',
      (json: Damaged) => {
        json.chunkBytes = 1;
      },
      'has "chunkBytes" 1 where',
    ],
    [
      'what no sentence can hold',
      (json: Damaged) => {
        json.chunkBytes = { toString: 1, valueOf: 1 };
      },
      'has "chunkBytes" an object where',
    ],
    [
      'a name that leads out',
      (json: Damaged) => {
        json.files[0]!.path = '../x';
      },
      'not inside the manifest',
    ],
    [
      'a file twice',
      (json: Damaged) => {
        json.files.push(json.files[0]!);
      },
      'lists m.onnx.data again',
    ],
    [
      'a missing chunk',
      (json: Damaged) => {
        (json.files[0]!.chunks as string[]).pop();
      },
      'has 1 chunks',
    ],
    [
      'a changed chunk',
      (json: Damaged) => {
        (json.files[0]!.chunks as string[])[0] = B;
      },
      'contradicts itself',
    ],
    [
      'a size that is none',
      (json: Damaged) => {
        json.files[0]!.size = -1;
      },
      'has no "size"',
    ],
  ])('with %s is refused', (_, damage, sentence) => {
    const json = valid();
    damage(json);
    expect(() => parseJson(json)).toThrow(InputError);
    expect(() => parseJson(json)).toThrow(sentence);
  });

  it('is read or refused in a sentence, whatever the JSON', () => {
    fc.assert(
      fc.property(
        fc.jsonValue(),
        fc.constantFrom('schema', 'chunkBytes', 'files', 'path', 'size', 'sha256', 'chunks', 'root'),
        (value, key) => {
          const json = valid();
          (key in json ? json : json.files[0])[key] = value;
          try {
            parseJson(json);
          } catch (error) {
            if (!(error instanceof InputError)) throw error;
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  it('is not a text of random bytes', () => {
    expect(() => parseChunkedSums(randomBytes(64), 'x')).toThrow(InputError);
  });
});
