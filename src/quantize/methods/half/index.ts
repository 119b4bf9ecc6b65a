import { InputError } from '../../../errors.ts';
import { type CalibrationData, calibrationDataOf } from '../at-work.ts';
import type { Method } from '../method.ts';
import { storedFloat16 } from '../weights/index.ts';
import { halfForm } from './form.ts';
import { withHalfIo } from './io.ts';
import { type Overflows, overflows } from './overflows.ts';

export interface Fp16Settings {
  /** Whether values are FP16 too, not the weights alone. */
  compute: boolean;
  /** Whether inputs and outputs keep their types where values are FP16. */
  keepIo: boolean;
  /** What shows which values FP16 cannot hold; undefined: nobody looks. */
  data: CalibrationData | undefined;
}

/** Weights in half precision. Values too, where asked; else weights are FLOAT again once the model is loaded. */
export const fp16: Method<'fp16', Fp16Settings, { overflows: Overflows }> = {
  name: 'fp16',
  owns: ['compute', 'keepIo'],
  shares: ['calibrationData', 'calibrationCount'],
  settings(options) {
    const { compute = false, keepIo = true, calibrationData } = options;
    const data = calibrationData ? calibrationDataOf(options, calibrationData) : undefined;
    if (!compute && (!keepIo || data)) {
      throw new InputError(
        `Input \`${data ? 'calibration-data' : 'keep-io'}\` is about values in FP16: set \`compute\` too, or leave it empty.`,
      );
    }
    return { compute, keepIo, data };
  },
  suffix: () => 'fp16',
  prepare: ({ keepIo }) => (keepIo ? undefined : (model) => ({ model: withHalfIo(model), notes: [] })),
  observe: ({ data }) => data && ((model, run) => overflows(data, model, run)),
  describe: ({ compute }) => (compute ? 'fp16 compute' : 'fp16'),
  forms({ compute }, { index, observed }) {
    return [...(compute ? [halfForm(index, observed?.overflows ?? new Map())] : []), storedFloat16];
  },
};
