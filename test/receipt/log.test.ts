import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { guardedLog, jsonLine, logLine, silentLog } from '../../src/receipt/index.ts';

describe('logLine', () => {
  it('leaves plain text as it is', () => {
    for (const text of ['', 'Quantized 3 nodes: C:\\models\\ñandú – 日本 👍.onnx', 'a::b ## [x]']) {
      expect(logLine(text)).toBe(text);
    }
  });

  it('shows what it keeps from working', () => {
    expect(logLine('a\n::add-mask::b')).toBe('a\\n::add-mask::b');
    expect(logLine('::add-mask::b')).toBe('\\::add-mask::b');
    expect(logLine('\u00a0 ::add-mask::b')).toBe('\u00a0 \\::add-mask::b');
    expect(logLine('see ##[add-mask]b')).toBe('see ##\\[add-mask]b');
    expect(logLine('\u001b[2J\u009b\u0000\u202e\ud800')).toBe('\\x1b[2J\\x9b\\x00\\u202e\\ud800');
    expect(logLine('x'.repeat(1e6)).length).toBeLessThan(9000);
  });

  it('makes one line that is no command, of any text', () => {
    const nasty = fc.constantFrom('::', '##[', '\n', '\r', '\u001b', '\u0085', ' ', 'error', '\u2028', '\ufeff');
    const text = fc
      .array(fc.oneof(nasty, fc.string({ unit: 'binary' })), { maxLength: 12 })
      .map((parts) => parts.join(''));
    fc.assert(
      fc.property(text, (given) => {
        const line = logLine(given);
        expect(line).not.toMatch(/[\p{Cc}\p{Cs}\u2028\u2029]/u);
        expect(line.trim().startsWith('::')).toBe(false);
        expect(line).not.toContain('##[');
      }),
      { numRuns: 500 },
    );
  });

  it('has a sister for JSON, whose value is the same and whose text is tame', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' })), (value) => {
        const line = jsonLine(value);
        expect(JSON.parse(line)).toEqual(JSON.parse(JSON.stringify(value)));
        expect(line).not.toMatch(/[\p{Cc}\p{Cs}\u2028\u2029\u202e]/u);
      }),
      { numRuns: 500 },
    );
    expect(jsonLine('\u007f\u009b\u202e##[x]')).toBe(String.raw`"\u007f\u009b\u202e##\u005bx]"`);
  });

  it('is what every line of a guarded log goes through', () => {
    const said: string[] = [];
    const keep = (message: string, place?: { file: string }) => said.push(message + (place?.file ?? ''));
    const log = guardedLog({
      ...silentLog,
      info: keep,
      warning: keep,
      error: keep,
      debug: keep,
      progress: ({ label }) => said.push(label),
    });
    log.info('\n');
    log.warning('\n', { file: '\n' });
    log.error('\n', { file: '\n' });
    log.debug('\n');
    log.progress({ label: '\n', done: 0, total: 1, unit: 'files' });
    expect(said).toEqual(['\\n', '\\n\\n', '\\n\\n', '\\n', '\\n']);
  });
});
