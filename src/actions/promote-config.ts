import path from 'node:path';
import {
  type ChangeOutcome,
  type CheckResult,
  checkConfig,
  listingMarkdown,
  promote,
  rollback,
  type StateListing,
  showHistory,
} from '../config/index.ts';
import { InputError } from '../errors.ts';
import type { Log } from '../receipt/index.ts';
import { actionSummary, terminalReport } from '../report/index.ts';
import type { Action, ActionResult } from './host.ts';

/**
 * `check` looks at a config, `promote` writes a proved model into it, `rollback` returns it to what it was, `history` says
 * what is live and what can be returned to.
 */
export const promoteConfig: Action<'promote-config'> = async ({ mode, ...inputs }, context) => {
  if (mode === 'rollback') return changed(await rollback(inputs, context));
  if (mode === 'promote') {
    const { model } = inputs;
    if (!model) throw new InputError('Input "model" is missing; name the model to promote.');
    return changed(await promote({ ...inputs, model }, context));
  }
  if (mode === 'history') return shown(await showHistory(inputs, context));
  return checked(await checkConfig(inputs, context), inputs.config, inputs.projectRoot ?? '.', context.log);
};

/** Findings become annotations on their lines; the failure itself only counts them. */
function checked(
  { annotations, failures, receipt, report }: CheckResult,
  config: string,
  projectRoot: string,
  log: Log,
): ActionResult<'promote-config'> {
  for (const { severity, message, place } of annotations) {
    const file = path.relative('.', path.resolve(projectRoot, place.file)).replaceAll(path.sep, '/');
    if (severity === 'error') log.error(message, { ...place, file });
    else if (severity === 'warning') log.warning(message, { ...place, file });
    else log.info(`${file}:${place.line ?? 1}: ${message}`);
  }
  const summary = actionSummary(receipt);
  const errors = `${failures.length} error${failures.length === 1 ? '' : 's'}`;
  return {
    outputs: { changed: false, summary, report },
    summary,
    text: terminalReport(receipt),
    failures: failures.length > 0 ? [`${config} has ${errors}: mend the lines that are annotated.`] : [],
  };
}

function shown(states: StateListing): ActionResult<'promote-config'> {
  return {
    outputs: { changed: false, states: JSON.stringify(states) },
    summary: listingMarkdown(states),
    failures: [],
  };
}

function changed(outcome: ChangeOutcome): ActionResult<'promote-config'> {
  return {
    outputs: {
      changed: outcome.changed,
      'previous-model-path': outcome.previousModelPath,
      'previous-memory-mb': outcome.previousMemoryMb,
      commit: outcome.commit,
      'pull-request': outcome.pullRequest,
      states: outcome.states && JSON.stringify(outcome.states),
      report: outcome.report,
    },
    summary: actionSummary(outcome.receipt) + (outcome.states ? listingMarkdown(outcome.states) : ''),
    failures: outcome.failures,
  };
}
