import { InputError } from '../../errors.ts';
import { settleInputs } from '../../inputs/index.ts';
import { declaredInputs, type Model } from '../../model/index.ts';
import {
  loadSamples,
  openSession,
  type RuntimeLocation,
  resolveRuntime,
  type Samples,
  type Session,
  SessionError,
  valueInfoOf,
} from '../../runtime/index.ts';
import type { QuantizeOptions } from '../options.ts';
import type { Run } from './method.ts';

/** What a model is run on before it is planned. */
export interface CalibrationData {
  /** Path of the samples, or `generated`. */
  calibrationData: string;
  /** Samples of a file or folder, the first ones; undefined: all. */
  calibrationCount: number | undefined;
  /** Sizes and ranges of what is generated, as the samples take them. */
  dims: string | undefined;
  ranges: string | undefined;
}

/** What `calibration-data` is where samples are to be made up. */
export const GENERATED = 'generated';

/** The options of a method that runs the model. @throws InputError for a count that is none */
export function calibrationDataOf(options: QuantizeOptions, calibrationData: string): CalibrationData {
  const { calibrationCount } = options;
  if (calibrationCount !== undefined && !(Number.isInteger(calibrationCount) && calibrationCount > 0)) {
    throw new InputError(
      `Input \`calibration-count\` is ${calibrationCount}: give a whole number from 1, or leave it empty for all samples.`,
    );
  }
  return {
    calibrationData,
    calibrationCount,
    dims: options.dims || undefined,
    ranges: options.ranges || undefined,
  };
}

/** Samples to run, and sessions in processes of their own to run them in. */
export interface AtWork {
  samples: Samples;
  runtime: RuntimeLocation;
  openSession(file: string): Promise<Session>;
}

/**
 * Gives `body` what it needs to see a model at work.
 * @throws InputError for data that does not fit and for a model that does not run
 */
export async function atWork<T>(
  data: CalibrationData,
  model: Model,
  run: Run,
  body: (work: AtWork) => Promise<T>,
): Promise<T> {
  const { log, signal, threads } = run;
  const runtime = await resolveRuntime({ log, signal });
  const samples = await samplesOf(data, model, runtime, run);
  const open = (file: string) =>
    openSession({
      model: file,
      label: model.path,
      runtime,
      provider: 'cpu',
      log,
      ...(threads === undefined ? {} : { threads }),
      ...(signal ? { signal } : {}),
    });
  try {
    return await body({ samples, runtime, openSession: open });
  } catch (error) {
    if (!(error instanceof SessionError) || error.kind === 'aborted') throw error;
    throw new InputError(`Calibration runs the model, but ${error.message}`, { cause: error });
  }
}

async function samplesOf(
  { calibrationData, calibrationCount: count, dims, ranges }: CalibrationData,
  model: Model,
  runtime: RuntimeLocation,
  { log, scratch, threads, signal, settled, spell }: Run,
): Promise<Samples> {
  const inputs = declaredInputs(model).map(valueInfoOf);
  const limit = count === undefined ? {} : { count };
  if (calibrationData !== GENERATED)
    return loadSamples(calibrationData, inputs, { ...limit, ...(dims ? { dims } : {}) });
  const found = await settleInputs(
    model,
    { dims, ranges, count, threads, executionProvider: 'cpu' },
    {
      runtime: async () => runtime,
      temporaryFolder: scratch,
      // The plan tells it.
      log: { ...log, info: () => undefined },
      signal,
      settled,
      spell,
    },
  );
  return loadSamples(undefined, inputs, { ...limit, ...(ranges ? { ranges } : {}), settled: found });
}
