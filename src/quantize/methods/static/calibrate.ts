import { InputError } from '../../../errors.ts';
import { declaredInputs, indexGraphs, indexRanges, type Model } from '../../../model/index.ts';
import {
  loadSamples,
  openSession,
  resolveRuntime,
  type Samples,
  SessionError,
  valueInfoOf,
} from '../../../runtime/index.ts';
import type { Run } from '../method.ts';
import { type Observations, observe } from './observe/observe.ts';
import { binsOf } from './ranges/ranges.ts';
import { valuesToObserve } from './recipe/recipe.ts';
import { GENERATED, type StaticSettings } from './settings.ts';

/** What was seen of a model at work. */
export interface Calibration {
  observations: Observations;
  /** What the user should know, and should not overlook. */
  notes: string[];
  warnings: string[];
}

/** Fewer samples say little about the range of values to come. */
const FEW = 10;

/**
 * Runs the model on the calibration data in a process of its own.
 * @throws InputError for data that does not fit and for a model that does not run
 */
export async function calibrate(settings: StaticSettings, model: Model, run: Run): Promise<Calibration> {
  const { log, signal, threads, scratch } = run;
  const samples = await samplesOf(settings, model);
  const runtime = await resolveRuntime({ log, ...(signal ? { signal } : {}) });
  const warnings = [...samples.notes];
  const notes: string[] = [];
  if (settings.calibrationData === GENERATED) {
    warnings.push(
      `The ranges of activations are those of ${samples.length} generated inputs: real ones differ. Give samples of production as \`calibration-data\` before this model is used.`,
    );
  } else if (samples.length < FEW) {
    warnings.push(
      `There ${samples.length === 1 ? 'is 1 sample' : `are ${samples.length} samples`} to calibrate with: values that these do not reach are clipped. Give ${FEW} or more that are like those of production.`,
    );
  }
  const { main } = indexGraphs(model);
  try {
    const observations = await observe(model, {
      values: valuesToObserve(main),
      samples,
      bins: (value) => binsOf(settings.calibrationMethod, value),
      folder: scratch,
      openSession: (file) =>
        openSession({
          model: file,
          runtime,
          provider: 'cpu',
          log,
          ...(threads === undefined ? {} : { threads }),
          ...(signal ? { signal } : {}),
        }),
      progress: (done, total) => log.progress({ label: 'Calibrating', done, total, unit: 'runs' }),
    });
    notes.push(
      `Calibrated on ${samples.length} sample${samples.length === 1 ? '' : 's'} (${settings.calibrationMethod}): ${observations.values.size} values in ${observations.runs} runs of the model.`,
    );
    warnings.push(...oddities(observations));
    return { observations, notes, warnings };
  } catch (error) {
    if (!(error instanceof SessionError) || error.kind === 'aborted') throw error;
    throw new InputError(
      `The model "${model.path}" cannot be calibrated, because it does not run here: ${error.message}`,
      { cause: error },
    );
  }
}

async function samplesOf({ calibrationData, dims, ranges }: StaticSettings, model: Model): Promise<Samples> {
  const options = {
    ...(dims ? { dims } : {}),
    ...(ranges ? { ranges } : {}),
    inferredRanges: indexRanges(model),
    seed: 0,
  };
  const inputs = declaredInputs(model).map(valueInfoOf);
  return loadSamples(calibrationData === GENERATED ? undefined : calibrationData, inputs, options);
}

/** Values that tell nothing, and values that cannot be. */
function oddities({ values }: Observations): string[] {
  const listed = (what: string, names: string[]) => {
    if (names.length === 0) return [];
    const more = names.length > 3 ? ` and ${names.length - 3} more` : '';
    return [`${names.slice(0, 3).join(', ')}${more} ${what}`];
  };
  const all = [...values.values()];
  return [
    ...listed(
      'had the same value everywhere in all samples: samples that differ more would show its range.',
      all.filter(({ min, max }) => min === max).map(({ name }) => name),
    ),
    ...listed(
      'had NaN or infinite values: what reads or makes them stays FLOAT.',
      all.filter(({ nonFinite }) => nonFinite > 0).map(({ name }) => name),
    ),
  ];
}
