import { InputError } from '../../errors.ts';
import { addressOf, type GraphIndex } from '../../model/index.ts';
import type { Form, Site } from '../methods/method.ts';
import { operators } from '../operators.ts';
import type { CommonSettings } from '../options.ts';

/** Why the options keep a node as it is. */
export interface Exclusion {
  reason: string;
  /** The user named the node, or only others: all that it reads stays as it is. */
  byName: boolean;
}

/** Finds out what `include-nodes`, `exclude-nodes` and `op-types` say of a node. */
export function selector(settings: CommonSettings): (site: Site) => Exclusion | undefined {
  const excluded = new Patterns(settings.excludeNodes);
  const included = new Patterns(settings.includeNodes);
  const opTypes = new Set(settings.opTypes);
  return ({ node, operator }) => {
    const name = addressOf(node);
    const pattern = excluded.match(name);
    if (pattern !== undefined) return { reason: `excluded by \`exclude-nodes\` (${pattern})`, byName: true };
    if (settings.includeNodes.length > 0 && included.match(name) === undefined) {
      return { reason: 'not among `include-nodes`', byName: true };
    }
    const named = opTypes.has(node.opType) || opTypes.has(operator?.goesWith ?? node.opType);
    if (opTypes.size > 0 && !named) return { reason: `${node.opType} is not among \`op-types\``, byName: false };
    return undefined;
  };
}

/** @throws InputError where a list of the options names nothing. */
export function checkLists(index: GraphIndex, settings: CommonSettings, forms: readonly Form[]): void {
  checkNames('include-nodes', settings.includeNodes, index);
  checkNames('exclude-nodes', settings.excludeNodes, index);
  if (forms.some(({ anyOperator }) => anyOperator)) return;
  const known = [...operators.keys()].map((key) => key.split(':').at(-1)!);
  const unknown = settings.opTypes.find((opType) => !known.includes(opType));
  if (unknown !== undefined) {
    throw new InputError(`Input \`op-types\` names \`${unknown}\`: this release quantizes ${known.join(', ')}.`);
  }
}

function checkNames(input: string, given: readonly string[], index: GraphIndex): void {
  if (given.length === 0) return;
  const idle = new Map(given.map((pattern) => [pattern, new Patterns([pattern])]));
  for (const { graph } of index.scopes) {
    for (const node of graph.node) {
      if (idle.size === 0) return;
      const name = addressOf(node);
      for (const [pattern, patterns] of idle) if (patterns.match(name) !== undefined) idle.delete(pattern);
    }
  }
  for (const pattern of idle.keys()) {
    throw new InputError(`Input \`${input}\`: no node is called \`${pattern}\`; \`dry-run\` lists the names.`);
  }
}

/** Names and globs, in which `*` stands for any characters (slashes too) and `?` for one. */
class Patterns {
  readonly #names: ReadonlySet<string>;
  readonly #globs: readonly { pattern: string; regExp: RegExp }[];

  constructor(patterns: readonly string[]) {
    this.#names = new Set(patterns);
    const globs = patterns.filter((pattern) => /[*?]/.test(pattern));
    this.#globs = globs.map((pattern) => ({ pattern, regExp: regExpOf(pattern) }));
  }

  /** The pattern that a name fits, if any. */
  match(name: string): string | undefined {
    return this.#names.has(name) ? name : this.#globs.find(({ regExp }) => regExp.test(name))?.pattern;
  }
}

function regExpOf(pattern: string): RegExp {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*+/g, '.*')
    .replace(/\?/g, '.');
  return new RegExp(`^${source}$`, 's');
}
