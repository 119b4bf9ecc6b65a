/** Names and globs, in which `*` stands for any characters (slashes too) and `?` for one. */
export class Patterns {
  readonly #names: ReadonlySet<string>;
  /** The more specific first: by the characters that are no wildcards. */
  readonly #globs: readonly { pattern: string; literals: number; regExp: RegExp }[];

  constructor(patterns: Iterable<string>) {
    this.#names = new Set(patterns);
    this.#globs = [...this.#names]
      .filter((pattern) => /[*?]/.test(pattern))
      .map((pattern) => ({ pattern, literals: pattern.replace(/[*?]/g, '').length, regExp: regExpOf(pattern) }))
      .sort((a, b) => b.literals - a.literals);
  }

  /** The pattern that a name fits, if any: itself, else the most specific glob. */
  match(name: string): string | undefined {
    return this.#names.has(name) ? name : this.#globs.find(({ regExp }) => regExp.test(name))?.pattern;
  }

  /** All patterns that a name fits and that are as specific as the one that `match` finds. */
  matches(name: string): string[] {
    if (this.#names.has(name)) return [name];
    const fitting = this.#globs.filter(({ regExp }) => regExp.test(name));
    return fitting.filter(({ literals }) => literals === fitting[0]!.literals).map(({ pattern }) => pattern);
  }
}

function regExpOf(pattern: string): RegExp {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*+/g, '.*')
    .replace(/\?/g, '.');
  return new RegExp(`^${source}$`, 's');
}
