import { readReceipt } from '../receipt/index.ts';
import { actionSummary } from '../report/index.ts';
import { validate as run } from '../validate/index.ts';
import { withGates } from './gates.ts';
import type { Action } from './host.ts';
import { rounded } from './outputs.ts';

/** Five checks of one model, each with its limits. */
export const validate: Action<'validate'> = async ({ allowInconclusive, ...inputs }, context) => {
  const result = await run(await withGates('validate', { allowInconclusive, ...inputs }), context);
  for (const warning of result.receipt.results.warnings) context.log.warning(warning);
  const forgiven = result.verdict === 'inconclusive' && allowInconclusive && result.excusable;
  if (forgiven) for (const failure of result.failures) context.log.warning(failure);
  return {
    outputs: {
      verdict: result.verdict,
      passed: result.passed,
      'load-ms': rounded(result.loadMs),
      'latency-p50-ms': rounded(result.latencyP50Ms),
      'latency-p95-ms': rounded(result.latencyP95Ms),
      'memory-mb': rounded(result.memoryMb),
      'peak-memory-mb': rounded(result.peakMemoryMb),
      'size-mb': rounded(result.sizeMb),
      report: result.report,
    },
    summary: actionSummary(await readReceipt(result.report)),
    failures: forgiven ? [] : result.failures,
  };
};
