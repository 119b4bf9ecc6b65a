import { InputError } from '../../../errors.ts';
import { digestFiles, type Model } from '../../../model/index.ts';
import { digestSamples, type RuntimeLocation, type Samples } from '../../../runtime/index.ts';
import { decisionKey } from '../../cached.ts';
import type { Run } from '../method.ts';
import { formatMeasurements, Measurements, parseMeasurements } from './measurements.ts';
import type { StaticSettings } from './settings.ts';

/** What runs on this model and these samples have measured, in this process or by a host's cache, and how to keep it. */
export async function recall(
  { fold, calibrationMethod, calibrationPercentile }: StaticSettings,
  model: Model,
  { samples, runtime, run }: { samples: Samples; runtime: RuntimeLocation; run: Run },
): Promise<{ known: Measurements; keep: () => Promise<void>; note?: string }> {
  const { decisions, shared, scratch, log } = run;
  const known = new Measurements();
  if (!decisions && !shared) return { known, keep: async () => undefined };
  const source = model.stamps.map((stamp) => stamp.path).filter((file) => !file.startsWith(scratch));
  const { root } = await digestFiles(source);
  const inputs = { root, samples: await digestSamples(samples), runtime: runtime.version };
  const own = decisionKey({ method: 'static', fold, calibrationMethod, calibrationPercentile }, inputs);
  const here = shared?.get(own);
  if (here instanceof Measurements) return { known: here, keep: async () => undefined };
  shared?.set(own, known);
  if (!decisions) return { known, keep: async () => undefined };
  const key = run.decisionKey(inputs);
  const bytes = await decisions.get(key);
  try {
    if (bytes) {
      const kept = parseMeasurements(bytes, key);
      shared?.set(own, kept);
      return {
        known: kept,
        keep: async () => undefined,
        note: `What calibration measures comes from the cache, where ${key.slice(0, 12)} was kept by an earlier run.`,
      };
    }
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    log.warning(error.message);
  }
  return { known, keep: () => decisions.put(key, formatMeasurements(known, key)) };
}
