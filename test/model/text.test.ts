import fc from 'fast-check';
import { expect, test } from 'vitest';
import { escapeText, unescapeText } from '../../src/model/text.ts';

const escapedCharacter = fc
  .integer({ min: 0x10f700, max: 0x10f800 })
  .map((code) => Buffer.from(String.fromCodePoint(code)));
const bytes = fc
  .array(fc.oneof(fc.uint8Array({ maxLength: 4 }), fc.string({ unit: 'binary' }).map(Buffer.from), escapedCharacter))
  .map((parts) => Buffer.concat(parts));

test('any bytes become valid UTF-8 and come back', () => {
  fc.assert(
    fc.property(bytes, (given) => {
      const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(escapeText(given));
      expect(Buffer.from(unescapeText(text)).equals(given)).toBe(true);
    }),
    { numRuns: 2000 },
  );
});

test('different bytes stay different names', () => {
  const latin1 = Buffer.from('a\u00f1o', 'latin1');
  const lookalike = Buffer.from(escapeText(latin1));
  expect(Buffer.from(escapeText(lookalike)).equals(lookalike)).toBe(false);
});

test('plain UTF-8 is left alone', () => {
  const name = Buffer.from('señal/año:0 ✓');
  expect(escapeText(name)).toBe(name);
});
