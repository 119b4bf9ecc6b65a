import { checkModels, modelCheckComment } from '../model-check/index.ts';
import type { Action } from './host.ts';

/** What a pull request does to the models of a repository. */
export const modelCheck: Action<'model-check'> = async ({ allowInconclusive, ...options }, context) => {
  const check = await checkModels(options, context);
  const forgiven = allowInconclusive && check.excusable;
  const failures: string[] = [];
  for (const model of check.models) {
    const about = (sentences: readonly string[]) => sentences.map((text) => `${model.path}: ${text}`);
    for (const text of about([...model.warnings, ...(forgiven ? model.open : [])])) context.log.warning(text);
    failures.push(...about(model.failures), ...(forgiven ? [] : about(model.open)));
  }
  const summary = modelCheckComment(check, options.baseRef);
  return {
    outputs: { verdict: check.level, models: check.models.length, summary },
    summary,
    failures,
  };
};
