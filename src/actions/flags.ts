import { InputError } from '../errors.ts';
import { definitions } from './definitions.generated.ts';
import type { ActionName, Definition } from './inputs.ts';

/**
 * Reads `--name value`, `--name=value`, `--name` (true) and `--no-name` (false) into input texts by name.
 * Giving a list's flag again adds to it.
 * @throws InputError for anything that is no flag of the action, with the nearest one.
 */
export function parseFlags(action: ActionName, argv: readonly string[]): Map<string, string> {
  const inputs: Record<string, Definition> = definitions[action].inputs;
  const flags = new Map<string, string>();
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index]!;
    const [, negated, name = '', given] = /^--(no-(?!$))?([^=]+)(?:=(.*))?$/s.exec(argument) ?? [];
    const definition = negated ? undefined : inputs[name];
    if (negated && inputs[name]?.type === 'boolean' && given === undefined) {
      flags.set(name, 'false');
    } else if (!definition) {
      throw new InputError(unknownFlag(argument, Object.keys(inputs), action));
    } else if (given !== undefined) {
      add(flags, name, definition, given);
    } else if (definition.type === 'boolean' && !/^(true|false)$/.test(argv[index + 1] ?? '')) {
      flags.set(name, 'true');
    } else {
      const value = argv[++index];
      if (value === undefined || (value.startsWith('--') && value.length > 2)) {
        throw new InputError(`Flag "--${name}" has no value; write --${name} <${placeholder(definition)}>.`);
      }
      add(flags, name, definition, value);
    }
  }
  return flags;
}

/** The candidate nearest to a mistyped word, if one is near enough to be meant. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const scored = candidates.map((candidate) => ({ candidate, distance: editDistance(word, candidate) }));
  const best = scored.sort((a, b) => a.distance - b.distance)[0];
  return best && best.distance <= Math.max(1, Math.floor(best.candidate.length / 3)) ? best.candidate : undefined;
}

/** Help for one command: its flags with type and default, its outputs. */
export function commandHelp(action: ActionName, program: string): string {
  const { description, inputs, outputs } = definitions[action];
  const lines = [`${program} ${action}: ${description}`, '', 'Flags:', ...flagLines(inputs)];
  lines.push('', 'Outputs:');
  for (const [name, { description: meaning }] of Object.entries<Definition>(outputs)) {
    lines.push(`  ${name}`, ...wrapped(meaning));
  }
  return `${lines.join('\n')}\n`;
}

/** The help of preflight, which takes the flags of the chain and requires none. */
export function preflightHelp(program: string): string {
  const lines = [`${program} preflight: ${PREFLIGHT}`, '', 'Flags, those of pipeline:'];
  return `${[...lines, ...flagLines(definitions.pipeline.inputs)].join('\n')}\n`;
}

export const PREFLIGHT = 'Say what is missing (disk, memory, model, runtime, tools, service) before anything runs.';

function flagLines(inputs: Record<string, Definition>): string[] {
  return Object.entries(inputs).flatMap(([name, definition]) => {
    const standard = definition.required ? ' (required)' : definition.default ? ` (${definition.default})` : '';
    return [`  --${name} <${placeholder(definition)}>${standard}`, ...wrapped(definition.description)];
  });
}

function add(flags: Map<string, string>, name: string, definition: Definition, value: string): void {
  const earlier = definition.type === 'lines' || definition.type === 'list' ? flags.get(name) : undefined;
  flags.set(name, earlier === undefined ? value : `${earlier}\n${value}`);
}

function placeholder({ type, unit, values }: Definition): string {
  if (values) return values.join('|');
  return unit && type !== 'text' ? unit : type;
}

function unknownFlag(argument: string, names: readonly string[], action: ActionName): string {
  if (!argument.startsWith('--')) return `"${argument}" is no flag; values follow a flag, as in --model model.onnx.`;
  const word = argument.slice(2).replace(/=.*$/s, '');
  const near = nearest(word, names);
  const hint = near ? `did you mean "--${near}"?` : `"${action} --help" lists them.`;
  return `Unknown flag "--${word}" for ${action}; ${hint}`;
}

function wrapped(text: string): string[] {
  const lines: string[] = [];
  let line = '     ';
  for (const word of text.split(' ')) {
    if (line.length + word.length > 99) {
      lines.push(line);
      line = '     ';
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}

/** Levenshtein distance, counting a swap of neighbours as one edit. */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, column) => column)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let best = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, rows[i - 2]![j - 2]! + 1);
      row.push(best);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}
