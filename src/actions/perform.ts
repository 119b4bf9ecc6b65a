import { statSync } from 'node:fs';
import { InputError, messageOf } from '../errors.ts';
import { VERSION } from '../version.generated.ts';
import type { Action, Host, OutputValue } from './host.ts';
import { type ActionName, getInputs } from './inputs.ts';

/**
 * Runs one action on a host, from its inputs to its exit code. Outputs and summary are out before a failure is said.
 * Resolves with the exit code: 0, 1, or 130 after an abort.
 */
export async function perform<A extends ActionName>(
  name: A,
  action: Action<A>,
  host: Host,
  signal: AbortSignal,
): Promise<number> {
  try {
    const inputs = getInputs(name, host.input);
    const { token }: { token?: string } = inputs;
    if (token) host.secret(token);
    const { report }: { report?: string } = inputs;
    // A rollback is held up by nothing, least of all by where its receipt goes.
    if (report && name !== 'promote-config') assertFolder(report);
    const { outputs, summary, text, failures } = await action(inputs, {
      log: host.log,
      signal,
      step: host.step,
      spell: host.spell,
      temporaryFolder: host.temporaryFolder,
      ...(host.cache ? { cache: host.cache } : {}),
    });
    host.endSteps();
    for (const [output, value] of Object.entries<OutputValue>(outputs)) host.output(output, value);
    await host.summary(summary, text);
    for (const failure of failures.slice(0, -1)) host.log.error(failure);
    const last = failures.at(-1);
    if (last === undefined) return 0;
    host.fail(last);
    return 1;
  } catch (error) {
    host.endSteps();
    if (signal.aborted) {
      host.fail('Cancelled; nothing half-written is left behind.');
      return 130;
    }
    if (host.debug && !(error instanceof InputError)) for (const line of stackOf(error)) host.log.info(line);
    host.fail(explain(error, host.debug));
    return 1;
  }
}

/** Before the work whose result goes there; a folder that is missing is made. */
function assertFolder(report: string): void {
  if (statSync(report, { throwIfNoEntry: false })?.isDirectory() === false) {
    throw new InputError(`Input "report" is the folder for receipts, and ${report} is a file: name a folder.`);
  }
}

/** A user's mistake in one sentence; anything else as the bug that it is, its causes kept. */
function explain(error: unknown, debug: boolean): string {
  if (error instanceof InputError) return error.message;
  const hint = debug ? '' : ' Run again with RUNNER_DEBUG=1 for the stack, and report it with the receipts.';
  return `This is a bug in onnx-quantize-actions ${VERSION}: ${causesOf(error).map(messageOf).join(': ')}.${hint}`;
}

/** The stacks of an error and of its causes, by line. */
function stackOf(error: unknown): string[] {
  const stacks = causesOf(error).map((cause) => (cause instanceof Error && cause.stack) || messageOf(cause));
  return stacks.flatMap((stack, index) => `${index > 0 ? 'caused by: ' : ''}${stack}`.split('\n'));
}

function causesOf(error: unknown): unknown[] {
  const causes: unknown[] = [];
  for (let cause: unknown = error; cause !== undefined && causes.length < 8; ) {
    causes.push(cause);
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return causes;
}
