import type { ActionName } from './inputs.ts';
import { run } from './run.ts';
import { runnerHost } from './runner.ts';

export { runCommandLine } from './command-line.ts';

/** Runs an action as the GitHub runner starts it: inputs from the environment, the exit code set and not forced. */
export async function runAction(name: ActionName): Promise<void> {
  const host = await runnerHost(process.env, () => performance.now());
  process.exitCode = await run(name, host);
}
