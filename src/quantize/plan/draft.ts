import { type Constant, indexGraphs, type Model, opsetOf } from '../../model/index.ts';
import { raiseOpset } from '../graph/opset.ts';
import type { Form, Remarks } from '../methods/method.ts';
import { methodOf } from '../methods/registry.ts';
import type { Settings } from '../settings.ts';
import { chooser } from './choice.ts';
import { decide } from './decide.ts';
import { type Plan, summarize } from './plan.ts';
import { refuseNothing, refuseUnfit } from './refuse.ts';
import { type Rewrite, rewrite } from './rewrite.ts';
import { checkLists } from './selection.ts';

/** The plan with what is needed to carry it out. */
export interface Draft {
  plan: Plan;
  rewrite: Rewrite;
}

/** What is known of a model beyond its graph. */
export interface Findings {
  /** Holders of constants that must stay as they are, with the reason. */
  skip?: ReadonlyMap<Constant['holder'], string> | undefined;
  /** What the method observed. */
  observed?: Remarks | undefined;
  /** What preparing the model had to say. */
  notes?: readonly string[] | undefined;
}

/** Operator set that older models are raised to at least, as onnxruntime.quantization 1.32 does. */
const RAISED = 11;

/**
 * Decides, builds the new graph without its numbers, and adds up; reads no weight and writes nothing.
 *
 * @throws InputError if nothing can be quantized, or if the model is quantized already.
 */
export function draft(model: Model, settings: Settings, findings: Findings = {}): Draft {
  const { skip = new Map(), observed } = findings;
  const method = methodOf(settings);
  const choice = chooser(settings, observed);
  const attempt = (source: Model, unavailable: (form: Form) => string | undefined) => {
    const index = indexGraphs(source);
    const { forms, all } = choice.of(index);
    checkLists(index, settings, all);
    return { source, index, decisions: decide(index, { forms, exclusion: choice.exclusion, skip, unavailable }) };
  };
  refuseUnfit(model);
  const notes = [...(findings.notes ?? []), ...(observed?.notes ?? [])];
  const opset = opsetOf(model.proto) ?? 0;
  let made = attempt(model, () => undefined);
  const newest = made.decisions.nodes
    .flatMap(({ form }) => form?.needs ?? [])
    .reduce((a, b) => (b.opset > a.opset ? b : a), { opset, operator: '' });
  if (newest.opset > opset) {
    const target = Math.max(newest.opset, RAISED);
    const raised = raiseOpset(model, target);
    if ('model' in raised) {
      made = attempt(raised.model, () => undefined);
      notes.push(`The operator set is raised from ${opset} to ${target}, which has ${newest.operator}.`);
    } else {
      made = attempt(model, ({ needs }) =>
        needs.opset > opset ? `operator set ${opset} has no ${needs.operator}, and ${raised.obstacle}` : undefined,
      );
    }
  }
  const { source, index, decisions } = made;
  refuseNothing(model, decisions, settings.method);
  const result = rewrite(source, index, decisions, method.describe(settings));
  return {
    plan: summarize(model, index, decisions, result, settings, { notes, warnings: observed?.warnings ?? [] }),
    rewrite: result,
  };
}
