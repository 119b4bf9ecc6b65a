import { InputError } from '../errors.ts';
import { logLine } from '../receipt/index.ts';
import { VERSION } from '../version.generated.ts';
import { checksum } from './checksum.ts';
import { compare } from './compare.ts';
import { definitions } from './definitions.generated.ts';
import { commandHelp, nearest, PREFLIGHT, parseFlags, preflightHelp } from './flags.ts';
import type { Action } from './host.ts';
import type { ActionName } from './inputs.ts';
import { perform } from './perform.ts';
import { pipeline } from './pipeline.ts';
import { preflight } from './preflight.ts';
import { promoteConfig } from './promote-config.ts';
import { quantize } from './quantize.ts';
import { withReportPage } from './report-page.ts';
import { runnerHost } from './runner.ts';
import { terminalHost } from './terminal.ts';
import { validate } from './validate.ts';

const PROGRAM = 'onnx-quantize-actions';
const ACTIONS: { [A in ActionName]: Action<A> } = {
  quantize,
  checksum,
  validate: withReportPage(validate),
  compare: withReportPage(compare),
  'promote-config': promoteConfig,
  pipeline,
};

/** Runs an action as the GitHub runner starts it: inputs from the environment, the exit code set and not forced. */
export async function runAction(name: ActionName): Promise<void> {
  const host = await runnerHost(process.env, () => performance.now());
  await untilSignalled((signal) => start(name, host, signal));
}

/** Runs a command line, `process.argv` without node and script. */
export async function runCommandLine(argv: readonly string[]): Promise<void> {
  const [command = '--help', ...rest] = argv;
  if (command === '--version' || command === '-v') {
    process.stdout.write(`${VERSION}\n`);
  } else if (command === '--help' || command === '-h' || command === 'help') {
    const topic = rest[0];
    process.stdout.write(
      topic === 'preflight' ? preflightHelp(PROGRAM) : isAction(topic) ? commandHelp(topic, PROGRAM) : overview(),
    );
  } else if (isAction(command) || command === 'preflight') {
    await runCommand(command, rest);
  } else {
    const near = nearest(command, [...Object.keys(ACTIONS), 'preflight']);
    process.stderr.write(
      `error: Unknown command "${logLine(command)}"; ${near ? `did you mean "${near}"?` : `"${PROGRAM} --help" lists them.`}\n`,
    );
    process.exitCode = 1;
  }
}

async function runCommand(command: ActionName | 'preflight', argv: readonly string[]): Promise<void> {
  // Preflight is asked about the chain, so it takes the chain's flags.
  const action = command === 'preflight' ? 'pipeline' : command;
  if (argv.includes('--help') || argv.includes('-h')) {
    process.stdout.write(command === 'preflight' ? preflightHelp(PROGRAM) : commandHelp(command, PROGRAM));
    return;
  }
  try {
    const flags = parseFlags(action, argv);
    if (command === 'preflight') {
      process.exitCode = await preflight(flags, process.stdout);
      return;
    }
    const { env, stderr, stdout } = process;
    const host = terminalHost({ flags, env, stderr, stdout, now: () => performance.now() });
    await untilSignalled((signal) => start(command, host, signal));
    host.finish();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    process.stderr.write(`error: ${logLine(error.message)}\n`);
    process.exitCode = 1;
  }
}

function start<A extends ActionName>(
  name: A,
  host: Parameters<typeof perform>[2],
  signal: AbortSignal,
): Promise<number> {
  return perform(name, ACTIONS[name] as Action<A>, host, signal);
}

/** Ctrl-C and a runner's cancellation abort the work, which then tidies up; a second signal ends the process at once. */
async function untilSignalled(work: (signal: AbortSignal) => Promise<number>): Promise<void> {
  const controller = new AbortController();
  const abort = () => controller.abort();
  process.once('SIGINT', abort);
  process.once('SIGTERM', abort);
  try {
    process.exitCode = await work(controller.signal);
  } finally {
    process.off('SIGINT', abort);
    process.off('SIGTERM', abort);
  }
}

function isAction(name: string | undefined): name is ActionName {
  return name !== undefined && Object.hasOwn(ACTIONS, name);
}

function overview(): string {
  const commands = Object.entries(definitions).map(([name, { description }]) => `  ${name.padEnd(16)}${description}`);
  return `${PROGRAM} ${VERSION}

Usage: ${PROGRAM} <command> [--flag value | --flag=value]…

Commands:
${commands.join('\n')}
  preflight       ${PREFLIGHT}

"${PROGRAM} <command> --help" lists the flags of a command. Flags are the inputs of the action of the same name.
Roll back on the host:
  ${PROGRAM} promote-config --mode rollback --project-root /opt/sarai --config config/sarai.yaml \\
    --restart-command "sudo systemctl restart sarai"
`;
}
