import { InputError } from '../errors.ts';
import { logLine } from '../receipt/index.ts';
import { VERSION } from '../version.generated.ts';
import { definitions } from './definitions.generated.ts';
import { type CommandName, commandHelp, isCommand, nearest, parseFlags, TERMINAL_COMMANDS } from './flags.ts';
import { inspect } from './inspect.ts';
import { preflight } from './preflight.ts';
import { isAction, run } from './run.ts';
import { type TerminalHost, terminalHost } from './terminal.ts';

const PROGRAM = 'onnx-quantize-actions';

/** Runs a command line, `process.argv` without node and script. Sets the exit code. */
export async function runCommandLine(argv: readonly string[]): Promise<void> {
  surviveClosedPipes();
  const [command = '--help', ...rest] = argv;
  if (command === '--version' || command === '-v') {
    process.stdout.write(`${VERSION}\n`);
  } else if (command === '--help' || command === '-h' || command === 'help') {
    const topic = rest[0];
    process.stdout.write(isCommand(topic) ? commandHelp(topic, PROGRAM) : overview());
  } else if (!isCommand(command)) {
    const near = nearest(command, COMMANDS);
    process.stderr.write(
      `error: Unknown command "${logLine(command)}"; ${near ? `did you mean "${near}"?` : `"${PROGRAM} --help" lists them.`}\n`,
    );
    process.exitCode = 1;
  } else if (rest.includes('--help') || rest.includes('-h')) {
    process.stdout.write(commandHelp(command, PROGRAM));
  } else {
    process.exitCode = await runCommand(command, rest);
  }
}

const COMMANDS: readonly string[] = [...Object.keys(definitions), ...Object.keys(TERMINAL_COMMANDS)];

async function runCommand(command: CommandName, argv: readonly string[]): Promise<number> {
  const { env, stderr, stdout } = process;
  const json = argv.includes('--json');
  const quiet = argv.includes('--quiet');
  const now = () => performance.now();
  let host = terminalHost({ command, flags: new Map(), json, quiet, env, stderr, stdout, now });
  let code = 1;
  try {
    const flags = parseFlags(command, argv);
    host = terminalHost({ command, flags, json, quiet, env, stderr, stdout, now });
    code = await perform(command, flags, host);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    host.fail(error.message);
  }
  host.finish(code);
  return code;
}

function perform(command: CommandName, flags: ReadonlyMap<string, string>, host: TerminalHost): Promise<number> {
  if (isAction(command)) return run(command, host);
  return command === 'preflight' ? preflight(flags, host) : inspect(flags, host);
}

/**
 * Whoever reads our output may stop (`… | head -1`). The work goes on to its end, unheard: half a result would help nobody,
 * and its exit code is still right.
 */
function surviveClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE' && error.code !== 'EOF') throw error;
    });
  }
}

function overview(): string {
  const actions = Object.entries(definitions).map(([name, { description }]) => [name, description] as const);
  const others = Object.entries(TERMINAL_COMMANDS).map(([name, { description }]) => [name, description] as const);
  const commands = [...actions, ...others].map(([name, description]) => `  ${name.padEnd(16)}${description}`);
  return `${PROGRAM} ${VERSION}

Usage: ${PROGRAM} <command> [model] [--flag value | --flag=value]…

Commands:
${commands.join('\n')}

"${PROGRAM} <command> --help" lists the flags of a command. Flags are the inputs of the action of the same name; the
model needs none. --json prints one JSON value on stdout, --quiet says nothing but results, warnings and failures.
Roll back on the host:
  ${PROGRAM} promote-config --mode rollback --project-root /opt/sarai --config config/sarai.yaml \\
    --restart-command "sudo systemctl restart sarai"
`;
}
