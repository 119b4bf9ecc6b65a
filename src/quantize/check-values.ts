import type { Constant, Model } from '../model/index.ts';
import type { Log } from '../receipt/index.ts';
import type { QuantizeOptions } from './options.ts';
import { admit, draft } from './plan/index.ts';
import { settingsOf } from './settings.ts';
import { computeParameters, Pool, type WeightJob } from './stream/index.ts';

/** A weight whose values quantizing would not take. */
export interface RefusedWeight {
  name: string;
  /** NaN values, for which the model is refused; with infinities alone the weight stays FP32. */
  nan: number;
  infinite: number;
}

/**
 * Reads the weights that a plan would quantize, as pass 1 does, and finds those with NaN or infinite values. Takes as
 * long as reading the model and as little memory as quantizing.
 * @throws InputError as `plan` does
 */
export async function refusedWeights(
  model: Model,
  options: Omit<QuantizeOptions, 'model'>,
  context: { log: Log; signal?: AbortSignal },
): Promise<RefusedWeight[]> {
  const settings = settingsOf({ ...options, model: model.path });
  const plan = draft(admit(model), settings, { skip: new Map(), notes: [], warnings: [] });
  const jobs = new Map<Constant['holder'], { name: string; job: WeightJob }>();
  for (const { constant, encoding } of plan.rewrite.encoded) {
    // Any range will do: what is not finite is counted on the way.
    const job = { source: encoding.source, target: 'int8', symmetric: false, reduceRange: false, axis: null } as const;
    jobs.set(constant.holder, { name: constant.name, job });
  }
  const weights = [...jobs.values()];
  const total = weights.reduce((sum, { job }) => sum + job.source.length, 0);
  const pool = new Pool({
    ...(settings.threads === undefined ? {} : { threads: settings.threads }),
    ...(context.signal ? { signal: context.signal } : {}),
  });
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
    return weights
      .map(({ name }, index) => {
        const { nonFinite, nan } = found[index]!;
        return { name, nan, infinite: nonFinite - nan };
      })
      .filter(({ nan, infinite }) => nan + infinite > 0);
  } finally {
    await pool.close();
  }
}
