import { InputError } from '../../../errors.ts';
import { integerWeights, oneOf, type QuantizeOptions } from '../../options.ts';
import type { DynamicWeights } from '../dynamic/form.ts';
import { ACTIVATION_TYPES, type ActivationType } from './grids.ts';
import { CALIBRATION_METHODS, type CalibrationMethod } from './ranges/ranges.ts';

export interface StaticSettings {
  /** How the nodes that are not static are quantized. */
  weights: DynamicWeights;
  opTypes: readonly string[];
  /** Path of the samples, or `generated`. */
  calibrationData: string;
  /** Samples of a file or folder, the first ones; undefined: all. */
  calibrationCount: number | undefined;
  calibrationMethod: CalibrationMethod;
  /** Percent of the magnitudes that a range holds. */
  calibrationPercentile: number;
  activationType: ActivationType;
  /** Sizes and ranges of what is generated, as the samples take them. */
  dims: string | undefined;
  ranges: string | undefined;
  /** Whether the graph is simplified first. */
  fold: boolean;
}

/** What `calibration-data` is where samples are to be made up. */
export const GENERATED = 'generated';

const DEFAULT_PERCENTILE = 99.999;

/** @throws InputError */
export function staticSettings(options: QuantizeOptions): StaticSettings {
  const calibrationPercentile = options.calibrationPercentile ?? DEFAULT_PERCENTILE;
  if (!(calibrationPercentile > 50 && calibrationPercentile <= 100)) {
    throw new InputError(
      `Input \`calibration-percentile\` is ${calibrationPercentile}: give a percentage above 50 and up to 100, such as 99.99.`,
    );
  }
  if (!options.calibrationData) {
    throw new InputError(
      'Method `static` has to see the model at work: give inputs as `calibration-data` (a .npz, .npy, .wav or .json file, or a folder of them or of test_data_set_*), 20 to 200 that are like those of production; `generated` makes some up, for a trial only.',
    );
  }
  const { calibrationCount } = options;
  if (calibrationCount !== undefined && !(Number.isInteger(calibrationCount) && calibrationCount > 0)) {
    throw new InputError(
      `Input \`calibration-count\` is ${calibrationCount}: give a whole number from 1, or leave it empty for all samples.`,
    );
  }
  return {
    weights: { ...integerWeights(options), reduceRange: options.reduceRange ?? false },
    opTypes: options.opTypes ?? [],
    calibrationData: options.calibrationData,
    calibrationCount,
    calibrationMethod: oneOf('calibration-method', options.calibrationMethod ?? 'percentile', CALIBRATION_METHODS),
    calibrationPercentile,
    activationType: oneOf('activation-type', options.activationType ?? 'uint8', ACTIVATION_TYPES),
    dims: options.dims || undefined,
    ranges: options.ranges || undefined,
    fold: options.fold ?? true,
  };
}
