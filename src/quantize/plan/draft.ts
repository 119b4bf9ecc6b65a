import { type Constant, type GraphIndex, indexGraphs, type Model, opsetOf, sorted } from '../../model/index.ts';
import type { Steps } from '../breathe.ts';
import { raiseOpset } from '../graph/opset.ts';
import type { Form, Remarks } from '../methods/method.ts';
import { methodOf } from '../methods/registry.ts';
import type { Settings } from '../settings.ts';
import { chooser } from './choice.ts';
import { decide } from './decide.ts';
import { type Plan, summarize } from './plan.ts';
import { reasonForNothing, refuseNothing, refuseUnfit } from './refuse.ts';
import { type Rewrite, rewrite, untouched } from './rewrite.ts';
import { checkLists } from './selection.ts';

/** A model that can be planned for: its nodes are sorted, and nothing stands against quantizing it at all. */
export interface Prepared {
  model: Model;
  index: GraphIndex;
}

/** The plan with what is needed to carry it out, which tells what it takes on disk. */
export interface Draft {
  plan: Omit<Plan, 'disk'>;
  rewrite: Rewrite;
}

/** What is known of a model beyond its graph. */
export interface Findings extends Remarks {
  /** Holders of constants that must stay as they are, with the reason. */
  skip: ReadonlyMap<Constant['holder'], string>;
  /** What the method observed. */
  observed?: Remarks | undefined;
}

/** Operator set that older models are raised to at least, as onnxruntime.quantization 1.32 does. */
const RAISED = 11;

/**
 * Sorts and indexes a model.
 *
 * @throws InputError for one that cannot be quantized whatever the method: it is already, or no two runtimes read its
 * graph alike.
 */
export function admit(source: Model): Prepared {
  const unsorted = indexGraphs(source);
  refuseUnfit(source, unsorted);
  const model = sorted(source, unsorted);
  return { model, index: model === source ? unsorted : indexGraphs(model) };
}

/**
 * Decides, builds the new graph without its numbers, and adds up, in steps; reads no weight and writes nothing.
 *
 * @throws InputError if nothing can be quantized, or where an option names nothing.
 */
export function* drafting({ model, index }: Prepared, settings: Settings, findings: Findings): Steps<Draft> {
  const method = methodOf(settings);
  const { skip, observed } = findings;
  const choice = chooser(settings, observed);
  const attempt = (source: Prepared, unavailable: (form: Form) => string | undefined) => {
    const { forms, all } = choice.of(source.index);
    checkLists(source.index, settings, all);
    const decisions = decide(source.index, { forms, exclusion: choice.exclusion, skip, unavailable });
    return { ...source, decisions };
  };
  const notes = [...findings.notes, ...(observed?.notes ?? [])];
  const opset = opsetOf(model.proto) ?? 0;
  let made = attempt({ model, index }, () => undefined);
  const newest = made.decisions.nodes
    .flatMap(({ form }) => form?.needs ?? [])
    .reduce((a, b) => (b.opset > a.opset ? b : a), { opset, operator: '' });
  if (newest.opset > opset) {
    const target = Math.max(newest.opset, RAISED);
    const raised = raiseOpset(model, target);
    if ('model' in raised) {
      made = attempt({ model: raised.model, index: indexGraphs(raised.model) }, () => undefined);
      notes.push(`The operator set is raised from ${opset} to ${target}, which has ${newest.operator}.`);
    } else {
      made = attempt({ model, index }, ({ needs }) =>
        needs.opset > opset ? `operator set ${opset} has no ${needs.operator}, and ${raised.obstacle}` : undefined,
      );
    }
  }
  yield;
  const warnings = [...findings.warnings, ...(observed?.warnings ?? [])];
  let result: Rewrite;
  if (made.decisions.nodes.some(({ form }) => form)) {
    result = yield* rewrite(made.model, made.index, made.decisions, method.describe(settings));
  } else {
    const why = reasonForNothing(model, made.decisions);
    if (!settings.allowNothing) refuseNothing(model, settings.method, why);
    warnings.unshift(
      `Nothing can be quantized with \`${settings.method}\` (${why}): the result is a copy of the model.`,
    );
    result = untouched(model);
  }
  yield;
  return { plan: summarize({ model, index }, made.decisions, result, settings, { notes, warnings }), rewrite: result };
}
