import { describe, expect, it } from 'vitest';
import { parseRules } from '../../src/config/check/rules.ts';
import { InputError } from '../../src/errors.ts';

describe('parseRules', () => {
  const ninefold = (of: string) => `[${Array(9).fill(of).join(', ')}]`;
  const laughs = [...'bcdef'].map((name, index) => `${name}: &${name} ${ninefold(`*${'abcde'[index]}`)}`);
  it.each([
    ['an alias that leads nowhere', 'version: *v\n', /Unresolved alias/],
    ['aliases that multiply', `a: &a ${ninefold('x')}\n${laughs.join('\n')}\n`, /alias count/],
  ])('answers %s in a sentence', (_, text, said) => {
    expect(() => parseRules(Buffer.from(text), 'b.yaml')).toThrow(InputError);
    expect(() => parseRules(Buffer.from(text), 'b.yaml')).toThrow(said);
  });
});
