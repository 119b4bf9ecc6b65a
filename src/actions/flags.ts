import { InputError } from '../errors.ts';
import { logLine } from '../receipt/index.ts';
import { definitions } from './definitions.generated.ts';
import type { ActionName, Definition } from './inputs.ts';

/** Commands that only a terminal has: they look and change nothing. */
export const TERMINAL_COMMANDS = {
  preflight: {
    description: 'Say what is missing (disk, memory, model, runtime, tools, service) before anything runs.',
    // Preflight is asked about the chain, so it takes the chain's flags.
    inputs: definitions.pipeline.inputs,
  },
  inspect: {
    description: 'Describe a model: signature, operators, weights, sizes to choose, what each method would do.',
    inputs: {
      model: { type: 'path', description: 'The model.', required: true },
      dims: definitions.pipeline.inputs.dims,
      page: { type: 'path', description: 'HTML file to write the description to, which needs nothing else.' },
      top: { type: 'integer', description: 'How many of the largest weights are listed.', default: '15' },
    },
  },
} as const satisfies Record<string, { description: string; inputs: Record<string, Definition> }>;

export type CommandName = ActionName | keyof typeof TERMINAL_COMMANDS;

export function isCommand(name: string | undefined): name is CommandName {
  return name !== undefined && (Object.hasOwn(definitions, name) || Object.hasOwn(TERMINAL_COMMANDS, name));
}

/** What every command takes besides its inputs. */
const SWITCHES: Record<string, Definition> = {
  json: { type: 'boolean', description: 'Print one JSON value on stdout; everything else goes to stderr.' },
  quiet: { type: 'boolean', description: 'Say nothing but results, warnings and failures.' },
};

/** Inputs that need no flag, in their order; what follows goes to the last where that is a list. */
const POSITIONAL: Partial<Record<CommandName, readonly string[]>> = {
  checksum: ['path'],
  'promote-config': [],
  'model-check': [],
};

/**
 * Reads `--name value`, `--name=value`, `--name` (true) and `--no-name` (false) into input texts by name, and what needs
 * no flag: the model, the paths of checksum; two models are the reference and the model of compare. Giving a list's flag
 * again adds to it.
 * @throws InputError for anything that is no flag of the command, with the nearest one.
 */
export function parseFlags(command: CommandName, argv: readonly string[]): Map<string, string> {
  const inputs: Record<string, Definition> = { ...inputsOf(command), ...SWITCHES };
  const flags = new Map<string, string>();
  const bare: string[] = [];
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index]!;
    const [, negated, name = '', given] = /^--(no-(?!$))?([^=]+)(?:=(.*))?$/s.exec(argument) ?? [];
    const definition = negated ? undefined : inputs[name];
    if (negated && inputs[name]?.type === 'boolean' && given === undefined) {
      flags.set(name, 'false');
    } else if (!argument.startsWith('-')) {
      bare.push(argument);
    } else if (!definition) {
      throw new InputError(unknownFlag(argument, Object.keys(inputs), command));
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
  place(bare, command, inputs, flags);
  return flags;
}

function place(
  bare: readonly string[],
  command: CommandName,
  inputs: Record<string, Definition>,
  flags: Map<string, string>,
): void {
  const names =
    command === 'compare' && bare.length === 2 ? ['reference', 'model'] : (POSITIONAL[command] ?? ['model']);
  for (const [index, argument] of bare.entries()) {
    const name = names[index] ?? names.at(-1);
    const definition = name === undefined ? undefined : inputs[name];
    const again = name !== undefined && flags.has(name) && definition?.type !== 'lines' && definition?.type !== 'list';
    if (name === undefined || !definition || again) {
      throw new InputError(
        `"${logLine(argument)}" is no flag${again ? `, and the ${name} is ${logLine(flags.get(name) ?? '')} already` : ''}; values follow a flag, as in --model model.onnx.`,
      );
    }
    add(flags, name, definition, argument);
  }
}

function inputsOf(command: CommandName): Record<string, Definition> {
  return isTerminal(command) ? TERMINAL_COMMANDS[command].inputs : definitions[command].inputs;
}

/** The candidate nearest to a mistyped word, if one is near enough to be meant. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const scored = candidates.map((candidate) => ({ candidate, distance: editDistance(word, candidate) }));
  const best = scored.sort((a, b) => a.distance - b.distance)[0];
  return best && best.distance <= Math.max(1, Math.floor(best.candidate.length / 3)) ? best.candidate : undefined;
}

/** Help for one command: its flags with type and default, its outputs. */
export function commandHelp(command: CommandName, program: string): string {
  const description = isTerminal(command) ? TERMINAL_COMMANDS[command].description : definitions[command].description;
  const outputs: Record<string, Definition> = isTerminal(command) ? {} : definitions[command].outputs;
  const lines = [`${program} ${command}: ${description}`, '', 'Flags:'];
  lines.push(...flagLines({ ...inputsOf(command), ...SWITCHES }));
  if (Object.keys(outputs).length > 0) lines.push('', 'Outputs:');
  for (const [name, { description: meaning }] of Object.entries(outputs)) lines.push(`  ${name}`, ...wrapped(meaning));
  return `${lines.join('\n')}\n`;
}

const isTerminal = (command: CommandName): command is keyof typeof TERMINAL_COMMANDS => command in TERMINAL_COMMANDS;

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

function unknownFlag(argument: string, names: readonly string[], action: CommandName): string {
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
