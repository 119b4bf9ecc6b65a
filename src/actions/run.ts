import { checksum } from './checksum.ts';
import { compare } from './compare.ts';
import type { Action, Host } from './host.ts';
import type { ActionName } from './inputs.ts';
import { modelCheck } from './model-check.ts';
import { perform } from './perform.ts';
import { pipeline } from './pipeline.ts';
import { promoteConfig } from './promote-config.ts';
import { quantize } from './quantize.ts';
import { withReportPage } from './report-page.ts';
import { validate } from './validate.ts';

const ACTIONS: { [A in ActionName]: Action<A> } = {
  quantize,
  checksum,
  validate: withReportPage(validate),
  compare: withReportPage(compare),
  'promote-config': promoteConfig,
  'model-check': modelCheck,
  pipeline,
};

/** Runs an action on a host until it ends or the process is told to stop; resolves with the exit code. */
export function run(name: ActionName, host: Host): Promise<number> {
  return untilSignalled((signal) => start(name, host, signal));
}

export function isAction(name: string | undefined): name is ActionName {
  return name !== undefined && Object.hasOwn(ACTIONS, name);
}

function start<A extends ActionName>(name: A, host: Host, signal: AbortSignal): Promise<number> {
  return perform(name, ACTIONS[name] as Action<A>, host, signal);
}

/** Ctrl-C and a runner's cancellation abort the work, which then tidies up; a second signal ends the process at once. */
async function untilSignalled(work: (signal: AbortSignal) => Promise<number>): Promise<number> {
  const controller = new AbortController();
  const abort = () => controller.abort();
  process.once('SIGINT', abort);
  process.once('SIGTERM', abort);
  try {
    return await work(controller.signal);
  } finally {
    process.off('SIGINT', abort);
    process.off('SIGTERM', abort);
  }
}
