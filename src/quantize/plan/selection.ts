import { InputError } from '../../errors.ts';
import { addressOf, type GraphIndex } from '../../model/index.ts';
import type { Form, Site } from '../methods/method.ts';
import { operators } from '../operators.ts';
import type { CommonSettings } from '../options.ts';
import type { NodeSettings, Settings } from '../settings.ts';
import { Patterns } from './patterns.ts';

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

/**
 * Finds the override that a node has: that of its name, else of the most specific glob.
 *
 * The selector throws InputError where two equally specific globs say different things of a node.
 */
export function overrideSelector(overrides: readonly NodeSettings[]): (site: Site) => NodeSettings | undefined {
  const patterns = new Patterns(overrides.map(({ pattern }) => pattern));
  const byPattern = new Map(overrides.map((override) => [override.pattern, override]));
  return ({ node }) => {
    const name = addressOf(node);
    const [first, ...others] = patterns.matches(name).map((pattern) => byPattern.get(pattern)!);
    if (others.length === 0) return first;
    const said = JSON.stringify(first?.settings);
    const other = others.find(({ settings }) => JSON.stringify(settings) !== said);
    if (!other) return first;
    throw new InputError(
      `Overrides \`${first!.pattern}\` and \`${other.pattern}\` say different things of node \`${name}\`: name it, or make one of them more specific.`,
    );
  };
}

/** @throws InputError where a list of the options names nothing. */
export function checkLists(index: GraphIndex, settings: Settings, forms: readonly Form[]): void {
  const overridden = settings.overrides.map(({ pattern }) => pattern);
  checkNames('overrides', overridden, index);
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
