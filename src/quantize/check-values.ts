import type { Constant, Model } from '../model/index.ts';
import type { Log } from '../receipt/index.ts';
import { stepwise } from './breathe.ts';
import type { QuantizeOptions } from './options.ts';
import { admit, drafting } from './plan/index.ts';
import { settingsOf } from './settings.ts';
import { computeParameters, Pool, type WeightJob } from './stream/index.ts';
import type { Encoded } from './values/value.ts';

/** A weight whose values quantizing would not take. */
export interface RefusedWeight {
  name: string;
  /** What it has, after its name: `has 2 NaN values`. */
  why: string;
  /** Whether the model is refused for it, as for NaN; otherwise the weight stays FP32. */
  fatal: boolean;
}

/**
 * Reads the weights that a plan would quantize, as pass 1 does, and finds those whose values it would not take: NaN, and
 * what the form cannot hold (infinities in integers, magnitudes beyond FP16's). Takes as long as reading the model and as
 * little memory as quantizing.
 * @throws InputError as `plan` does
 */
export async function refusedWeights(
  model: Model,
  options: Omit<QuantizeOptions, 'model'>,
  context: { log: Log; signal?: AbortSignal },
): Promise<RefusedWeight[]> {
  const settings = settingsOf({ ...options, model: model.path });
  const steps = drafting(admit(model), settings, { skip: new Map(), notes: [], warnings: [] });
  const plan = await stepwise(steps, context.signal);
  const byHolder = new Map<Constant['holder'], { encoded: Encoded; job: WeightJob }>();
  for (const encoded of plan.rewrite.encoded) {
    const { source } = encoded.encoding;
    // Any range will do: extremes and what is not finite are found on the way.
    const job = { source, target: 'int8', symmetric: false, reduceRange: false, axis: null } as const;
    byHolder.set(encoded.constant.holder, { encoded, job });
  }
  const weights = [...byHolder.values()];
  const total = weights.reduce((sum, { job }) => sum + job.source.length, 0);
  const pool = new Pool({ threads: settings.threads, signal: context.signal });
  try {
    let done = 0;
    const found = await computeParameters(
      weights.map(({ job }) => job),
      pool,
      (bytes) => {
        done += bytes;
        context.log.progress({ label: 'Reading weights', done, total, unit: 'bytes' });
      },
    );
    return weights.flatMap(({ encoded: { constant, encoding } }, index) => {
      const { nan } = found[index]!;
      const why = nan > 0 ? `has ${nan} NaN value${nan > 1 ? 's' : ''}` : encoding.refusal(found[index]!);
      return why === undefined ? [] : [{ name: constant.name, why, fatal: nan > 0 && !settings.allowNonFinite }];
    });
  } finally {
    await pool.close();
  }
}
