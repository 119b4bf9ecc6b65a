import { InputError } from '../../../errors.ts';
import { opsetOf } from '../../../model/index.ts';
import { foldModel } from '../../fold/index.ts';
import { raiseOpset } from '../../graph/opset.ts';
import { dynamic } from '../dynamic/index.ts';
import type { Method } from '../method.ts';
import { storedInteger8 } from '../weights/index.ts';
import { type Calibration, calibrate } from './calibrate.ts';
import { correctedForm, sparing, staticForm } from './form.ts';
import { type StaticSettings, staticSettings } from './settings.ts';

/** The first operator set with scales by channel. */
const OPSET = 13;

/**
 * Activations in 8 bits on ranges that were seen while the model ran, so that convolutions compute with integers; what
 * has no such form or gains nothing is quantized as by `dynamic`.
 */
export const staticMethod: Method<'static', StaticSettings, Calibration> = {
  name: 'static',
  owns: ['calibrationData', 'calibrationCount', 'calibrationMethod', 'calibrationPercentile', 'activationType', 'fold'],
  settings: staticSettings,
  suffix: () => 'int8',
  describe: ({ activationType, calibrationMethod }) => `static ${activationType} ${calibrationMethod}`,
  prepare:
    ({ fold }) =>
    (source, scratch) => {
      const notes: string[] = [];
      const opset = opsetOf(source.proto) ?? 0;
      const raised = raiseOpset(source, OPSET);
      if ('obstacle' in raised) {
        throw new InputError(
          `Method \`static\` needs operator set ${OPSET}, the model "${source.path}" is of ${opset}, and ${raised.obstacle}: export it again with ${OPSET} or later, or use \`dynamic\`.`,
        );
      }
      if (opset < OPSET)
        notes.push(`The operator set is raised from ${opset} to ${OPSET}, which has scales by channel.`);
      if (!fold) return { model: raised.model, notes };
      const { model, before, after, convolutions } = foldModel(raised.model, scratch);
      if (before > after) {
        notes.push(`Folding leaves ${after} of ${before} nodes; ${convolutions} convolutions took neighbours in.`);
      }
      return { model, notes };
    },
  observe: (own) => (model, run) => calibrate(own, model, run),
  forms({ weights, opTypes }, { index, observed, exclusion }) {
    if (!observed) {
      throw new InputError('What `static` does is known once the model has run: `quantize` with `dry-run` says it.');
    }
    const others = dynamic.forms({ weights, opTypes }, { index, observed: undefined, exclusion });
    const stored = storedInteger8({ ...weights, type: 'int8', symmetric: { ...weights.symmetric, int8: true } });
    return [
      staticForm(observed),
      correctedForm(stored, observed),
      ...others.map((form) => sparing(form, observed.keptFloat)),
    ];
  },
};
