import { InputError } from '../errors.ts';
import {
  type DecisionStore,
  type Overrides,
  planText,
  type QuantizeResult,
  readOverrides,
  quantize as run,
} from '../quantize/index.ts';
import { inputName, readReceipt } from '../receipt/index.ts';
import { actionSummary, codeBlock } from '../report/index.ts';
import { AUTO_ONLY, auto } from '../tune/index.ts';
import { decisionStore } from './cache.ts';
import type { Action, ActionContext } from './host.ts';
import type { Inputs } from './inputs.ts';

/** FP32 model → INT8 model, or only the plan of it. */
export const quantize: Action<'quantize'> = async (inputs, context) => {
  if (inputs.cache && inputs.method !== 'static') {
    context.log.info(
      `Input "cache" does nothing for method ${inputs.method}: what is measured is cached, models never, and it measures nothing that is kept.`,
    );
  }
  const { cache, log } = context;
  const decisions = inputs.cache && cache ? decisionStore(cache, log) : undefined;
  const overrides = inputs.overrides ? await readOverrides(inputs.overrides) : undefined;
  const result = await quantizeBy(inputs, overrides, context, decisions);
  const { model, nodesQuantized, report } = result;
  const ratio = Number(result.compressionRatio.toPrecision(4));
  if (!inputs.dryRun) context.log.info(`Quantized ${nodesQuantized} nodes, ${ratio} × smaller: ${model}`);
  return {
    outputs: {
      model,
      data: result.data,
      root: result.root,
      'compression-ratio': ratio,
      'nodes-quantized': nodesQuantized,
      report,
    },
    summary: report === '' ? codeBlock(planText(result.plan), 'text') : actionSummary(await readReceipt(report)),
    failures: [],
  };
};

/** By the method that is named; `auto` finds one. */
function quantizeBy(
  { method, ...inputs }: Inputs<'quantize'>,
  overrides: Overrides | undefined,
  context: ActionContext,
  decisions: DecisionStore | undefined,
): Promise<QuantizeResult> {
  if (method === 'auto') return auto({ ...inputs, overrides }, context);
  const foreign = AUTO_ONLY.find((name) => inputs[name] !== undefined);
  if (foreign) {
    throw new InputError(
      `Input \`${inputName(foreign)}\` belongs to method \`auto\`, not to \`${method}\`: leave it empty.`,
    );
  }
  return run({ ...inputs, method, overrides }, { ...context, decisions });
}
