import { readOverrides, quantize as run } from '../quantize/index.ts';
import { readReceipt } from '../receipt/index.ts';
import { actionSummary, codeBlock } from '../report/index.ts';
import { decisionStore } from './cache.ts';
import type { Action } from './host.ts';

/** FP32 model → INT8 model, or only the plan of it. */
export const quantize: Action<'quantize'> = async (inputs, context) => {
  if (inputs.cache) {
    context.log.info(
      `Input "cache" does nothing for method ${inputs.method}: decisions are cached, models never, and it takes none.`,
    );
  }
  const { cache, log } = context;
  const decisions = inputs.cache && cache ? decisionStore(cache, log) : undefined;
  const overrides = inputs.overrides ? await readOverrides(inputs.overrides) : undefined;
  const result = await run({ ...inputs, overrides }, { ...context, decisions });
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
    summary: report === '' ? codeBlock(result.table, 'text') : actionSummary(await readReceipt(report)),
    failures: [],
  };
};
