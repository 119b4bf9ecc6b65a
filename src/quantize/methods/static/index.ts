import { InputError } from '../../../errors.ts';
import { type NodeProto, opsetOf } from '../../../model/index.ts';
import { foldModel } from '../../fold/index.ts';
import { raiseOpset } from '../../graph/opset.ts';
import { dynamic } from '../dynamic/index.ts';
import type { Method } from '../method.ts';
import { type Calibration, calibrate } from './calibrate.ts';
import { staticForm } from './form.ts';
import { decideRecipe } from './recipe/recipe.ts';
import { type StaticSettings, staticSettings } from './settings.ts';
import { type Product, productOf } from './weights.ts';

/** The first operator set with scales by channel. */
const OPSET = 13;

/**
 * Activations in 8 bits on ranges that were seen while the model ran, so that convolutions compute with integers; what
 * has no such form or gains nothing is quantized as by `dynamic`.
 */
export const staticMethod: Method<'static', StaticSettings, Calibration> = {
  name: 'static',
  owns: ['calibrationData', 'calibrationMethod', 'calibrationPercentile', 'activationType', 'fold'],
  settings: staticSettings,
  suffix: () => 'int8',
  describe: ({ activationType, calibrationMethod }) => `static ${activationType} ${calibrationMethod}`,
  prepare({ fold }, source, scratch) {
    const notes: string[] = [];
    const opset = opsetOf(source.proto) ?? 0;
    const raised = raiseOpset(source, OPSET);
    if ('obstacle' in raised) {
      throw new InputError(
        `Method \`static\` needs operator set ${OPSET}, the model "${source.path}" is of ${opset}, and ${raised.obstacle}: export it again with ${OPSET} or later, or use \`dynamic\`.`,
      );
    }
    if (opset < OPSET) notes.push(`The operator set is raised from ${opset} to ${OPSET}, which has scales by channel.`);
    if (!fold) return { model: raised.model, notes };
    const { model, before, after, convolutions } = foldModel(raised.model, scratch);
    if (before > after) {
      notes.push(`Folding leaves ${after} of ${before} nodes; ${convolutions} convolutions took neighbours in.`);
    }
    return { model, notes };
  },
  observe: calibrate,
  forms({ weights, opTypes, ...settings }, { index, observed, exclusion }) {
    if (!observed) {
      throw new InputError('What `static` does is known once the model has run: `quantize` with `dry-run` says it.');
    }
    const { main } = index;
    const recipe = decideRecipe(
      main,
      observed.observations,
      { ...settings, percentile: settings.calibrationPercentile },
      (node) => exclusion({ node, scope: main, operator: undefined }),
    );
    const products = new Map<NodeProto, Product>();
    const form = staticForm({
      recipe,
      productOf(node) {
        const known = products.get(node);
        if (known) return known;
        const product = productOf(node, main, recipe.grids.get(node.input[0]!)!.scale);
        products.set(node, product);
        return product;
      },
    });
    return [form, ...dynamic.forms({ weights, opTypes }, { index, observed: undefined, exclusion })];
  },
};
