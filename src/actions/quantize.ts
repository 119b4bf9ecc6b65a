import { quantize as run } from '../quantize/index.ts';
import { actionSummary, codeBlock, readReceipt } from '../report/index.ts';
import type { Action } from './host.ts';

/** FP32 model → INT8 model, or only the plan of it. */
export const quantize: Action<'quantize'> = async (inputs, context) => {
  const result = await run(inputs, context);
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
