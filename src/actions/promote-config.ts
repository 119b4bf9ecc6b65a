import { type ChangeOutcome, promote, rollback } from '../config/index.ts';
import { InputError } from '../errors.ts';
import { actionSummary } from '../report/index.ts';
import type { Action, ActionResult } from './host.ts';

/** `check` looks at a config, `promote` writes a proved model into it, `rollback` returns it to what it was. */
export const promoteConfig: Action<'promote-config'> = async ({ mode, ...inputs }, context) => {
  if (mode === 'rollback') return changed(await rollback(inputs, context));
  if (mode === 'promote') {
    const { model } = inputs;
    if (!model) throw new InputError('Input "model" is missing; name the model to promote.');
    return changed(await promote({ ...inputs, model }, context));
  }
  throw new InputError('Input "mode" is "check", which this build does not have; use promote or rollback.');
};

function changed(outcome: ChangeOutcome): ActionResult<'promote-config'> {
  return {
    outputs: {
      changed: outcome.changed,
      'previous-model-path': outcome.previousModelPath,
      'previous-memory-mb': outcome.previousMemoryMb,
      commit: outcome.commit,
      'pull-request': outcome.pullRequest,
      report: outcome.report,
    },
    summary: actionSummary(outcome.receipt),
    failures: outcome.failures,
  };
}
