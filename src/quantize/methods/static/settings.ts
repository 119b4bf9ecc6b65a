import { InputError } from '../../../errors.ts';
import { integerWeights, oneOf, type QuantizeOptions } from '../../options.ts';
import { type CalibrationData, calibrationDataOf } from '../at-work.ts';
import type { DynamicWeights } from '../dynamic/form.ts';
import { ACTIVATION_TYPES, type ActivationType } from './grids.ts';
import { CALIBRATION_METHODS, type CalibrationMethod } from './ranges/ranges.ts';

export interface StaticSettings extends CalibrationData {
  /** How the nodes that are not static are quantized. */
  weights: DynamicWeights;
  opTypes: readonly string[];
  calibrationMethod: CalibrationMethod;
  /** Percent of the magnitudes that a range holds. */
  calibrationPercentile: number;
  activationType: ActivationType;
  /** Whether the graph is simplified first. */
  fold: boolean;
}

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
  return {
    weights: { ...integerWeights(options), reduceRange: options.reduceRange ?? false },
    opTypes: options.opTypes ?? [],
    ...calibrationDataOf(options, options.calibrationData),
    calibrationMethod: oneOf('calibration-method', options.calibrationMethod ?? 'percentile', CALIBRATION_METHODS),
    calibrationPercentile,
    activationType: oneOf('activation-type', options.activationType ?? 'uint8', ACTIVATION_TYPES),
    fold: options.fold ?? true,
  };
}
