import { type CompareFigures, compare as run } from '../compare/index.ts';
import { readReceipt } from '../receipt/index.ts';
import { actionSummary } from '../report/index.ts';
import { definitions } from './definitions.generated.ts';
import { withGates } from './gates.ts';
import type { Action } from './host.ts';
import { rounded } from './outputs.ts';

/** Reference against quantized model: how alike their outputs are, and how much faster it is. */
export const compare: Action<'compare'> = async (inputs, context) => {
  const { dims, ranges, minSimilarity, minChannelSimilarity, warn, ...options } = await withGates('compare', inputs);
  const shapes = { ...(dims ? { dims: entries(dims) } : {}), ...(ranges ? { ranges: entries(ranges) } : {}) };
  const gates = {
    minSimilarity: minSimilarity ?? null,
    // An action cannot tell its default from the same value given. The default is a gate only where there is a figure.
    ...(minChannelSimilarity === DEFAULT_CHANNEL_SIMILARITY
      ? {}
      : { minChannelSimilarity: minChannelSimilarity ?? null }),
  };
  const result = await run({ ...options, ...shapes, ...gates, ...(warn ? { warn } : {}) }, context);
  const { figures } = result;
  for (const warning of figures.warnings) context.log.warning(warning);
  context.log.info(speedSentence(figures));
  return {
    outputs: {
      verdict: result.verdict,
      similarity: rounded(figures.similarity, 6),
      'channel-similarity': rounded(figures.channelSimilarity ?? undefined, 6),
      agreement: rounded(figures.agreement ?? undefined),
      mse: rounded(figures.mse),
      mae: rounded(figures.mae),
      'sqnr-db': rounded(figures.sqnrDb),
      metric: rounded(figures.metric?.value, 6),
      speedup: rounded(figures.speed.speedup),
      regression: figures.regressions,
      report: result.report,
    },
    summary: actionSummary(await readReceipt(result.report)),
    failures: result.failures,
  };
};

const DEFAULT_CHANNEL_SIMILARITY = Number(definitions.compare.inputs['min-channel-similarity'].default);

/** Both figures that people set side by side, each with what it is. */
function speedSentence({ speed, reference, model }: CompareFigures): string {
  const { speedup, interval } = speed;
  const range = interval ? `, 95 % between ${interval.low.toFixed(2)} and ${interval.high.toFixed(2)}` : '';
  const p50 = [reference, model].map(({ p50Ms }) => `${rounded(p50Ms)} ms`);
  return `Speed-up ${speedup.toFixed(2)} × by pairs of blocks that ran next to each other${range}; P50 over all runs ${p50[0]} for the reference and ${p50[1]} for the model, whose ratio may differ.`;
}

function entries(text: string): string[] {
  const parts = text.split(/[,\n]/).map((entry) => entry.trim());
  return parts.filter((entry) => entry !== '');
}
