import { describe, expect, it } from 'vitest';
import { parseRules } from '../src/config/check/rules.ts';
import { parseYaml } from '../src/config/yaml/parse.ts';
import { readScalar } from '../src/config/yaml/scalar.ts';
import { InputError } from '../src/errors.ts';
import { parseOverrides } from '../src/quantize/overrides.ts';

// As many levels as fit into what is read at all. Left alone, the parser ends in a RangeError, and some end the process.
const TEXTS = {
  'flow lists': '['.repeat(130_000),
  'flow lists that end': `${'['.repeat(60_000)}${']'.repeat(60_000)}`,
  'flow mappings': '{a: '.repeat(60_000),
  'lists on a line': '- '.repeat(100_000),
  'keys that are mappings': '? '.repeat(100_000),
  'mappings, line by line': Array.from({ length: 700 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n'),
};
const READERS: Record<string, (text: string) => unknown> = {
  'a config': (text) => parseYaml(text, 'c.yaml'),
  'a budget': (text) => parseRules(Buffer.from(text), 'b.yaml'),
  overrides: (text) => parseOverrides(text, 'o.yaml'),
  'what a key is set to': readScalar,
};

describe.each(Object.entries(TEXTS))('%s without end', (_, text) => {
  it.each(Object.entries(READERS))('are one sentence in %s', (_, read) => {
    expect(() => read(text)).toThrow(InputError);
    expect(() => read(text)).toThrow(/nests? .*more than 100 deep/);
  });
});

it('a hundred levels are read', () => {
  for (const text of [`${'['.repeat(100)}1${']'.repeat(100)}`, `${'- '.repeat(100)}x`, `${'{a: '.repeat(99)}x`]) {
    expect(parseYaml(text, 'c.yaml').documents).toHaveLength(1);
  }
});
