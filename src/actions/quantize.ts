import { rm } from 'node:fs/promises';
import path from 'node:path';
import { messageOf } from '../errors.ts';
import { identify, type QuantizeResult, type Reused, reuse, quantize as run, store } from '../quantize/index.ts';
import { readReceipt } from '../receipt/index.ts';
import { actionSummary, codeBlock } from '../report/index.ts';
import type { Cache } from './cache.ts';
import type { Action, ActionContext } from './host.ts';
import type { Inputs } from './inputs.ts';

/** FP32 model → INT8 model, or only the plan of it. */
export const quantize: Action<'quantize'> = async (inputs, context) => {
  const result = await quantized(inputs, context);
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
    summary:
      'table' in result && report === '' ? codeBlock(result.table, 'text') : actionSummary(await readReceipt(report)),
    failures: [],
  };
};

/** A run, or the result of an earlier one with the same model, options and version. */
async function quantized(inputs: Inputs<'quantize'>, context: ActionContext): Promise<QuantizeResult | Reused> {
  if (!inputs.cache || inputs.dryRun) return run(inputs, context);
  if (context.cache) return kept(inputs, context, context.cache);
  context.log.info('There is no cache service here: the model is quantized, and its result is not kept.');
  return run(inputs, context);
}

async function kept(
  inputs: Inputs<'quantize'>,
  context: ActionContext,
  cache: Cache,
): Promise<QuantizeResult | Reused> {
  const { log } = context;
  const source = await identify(inputs, context);
  const key = `onnx-quantize-${source.key}`;
  const folder = path.join(cache.folder, source.key);
  try {
    await rm(folder, { recursive: true, force: true });
    if (await cache.restore(folder, key)) {
      // An entry cannot be replaced, so after a damaged one nothing is saved.
      return (await reuse(source, folder, inputs, context)) ?? (await run(inputs, context));
    }
    const result = await run(inputs, context);
    const stored = await store(result, folder).catch((error: unknown) => {
      log.warning(`The result cannot be kept in the cache (${messageOf(error)}); the next run quantizes again.`);
      return false;
    });
    if (stored) await cache.save(folder, key);
    return result;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
