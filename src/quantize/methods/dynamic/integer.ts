import { dataTypeName, type NodeProto, operatorKey } from '../../../model/index.ts';
import type { Place } from '../../values/place.ts';
import { isFloat } from '../../values/value.ts';
import type { NodeForm, Site, Weight } from '../method.ts';
import { incompleteness, operatorWeights, weightsRefusal } from '../site.ts';
import { attention } from './attention.ts';
import { conv } from './conv.ts';
import { embedLayerNormalization } from './embed-layer-normalization.ts';
import type { DynamicWeights, OperatorForm } from './form.ts';
import { gather } from './gather.ts';
import { gemm } from './gemm.ts';
import { lstm } from './lstm.ts';
import { matMul } from './matmul.ts';
import { carryTranspose } from './transpose.ts';

const FORMS = [attention, conv, embedLayerNormalization, gather, gemm, lstm, matMul];

/** Operators with integer arithmetic. To add one: its form in a file, and its name in the line above. */
const forms: ReadonlyMap<string, OperatorForm> = new Map(FORMS.map((form) => [form.key, form]));

/** Operators that carry an 8-bit value through, where their input has one. */
const carriers: ReadonlyMap<string, (node: NodeProto, place: Place) => boolean> = new Map([
  ['Transpose', carryTranspose],
]);

/**
 * Activations are quantized when the model runs, weights now; products are of integers.
 *
 * @param named the operators of `op-types`
 */
export function integerForm(settings: DynamicWeights, named: readonly string[]): NodeForm {
  return {
    kind: 'node',
    name: 'dynamic',
    needs: { opset: 11, operator: 'DynamicQuantizeLinear' },
    weights: operatorWeights,
    offer(site, weights) {
      const { node } = site;
      const missing = incompleteness(site);
      if (missing !== undefined) return { refusal: missing };
      if (carriers.has(operatorKey(node)))
        return { becomes: 'moves an 8-bit value', unless: 'its input is not quantized' };
      const refusal = weightsRefusal(weights) ?? refusalOf(site, weights, named);
      return refusal === undefined ? { becomes: `becomes ${forms.get(operatorKey(node))!.becomes}` } : { refusal };
    },
    rewrite(node, place) {
      const key = operatorKey(node);
      const carry = carriers.get(key);
      if (carry) return carry(node, place);
      forms.get(key)!.rewrite(node, place, settings);
      return true;
    },
  };
}

/** Whether an operator has integer arithmetic at all. */
export function hasIntegerForm({ node }: Site): boolean {
  return forms.has(operatorKey(node));
}

function refusalOf({ node, scope }: Site, weights: readonly Weight[], named: readonly string[]): string | undefined {
  const form = forms.get(operatorKey(node));
  if (!form) return `${node.opType} has no dynamic form`;
  if (form.onlyWhenNamed && !named.includes(node.opType)) {
    return `${form.becomes} is slow: name ${node.opType} in \`op-types\` to get it`;
  }
  const refusal = form.refusal(node, scope);
  if (refusal !== undefined) return refusal;
  for (const { constant, direct } of weights) {
    if (!direct) continue;
    if (!isFloat(constant)) return `weight ${constant.name} is ${dataTypeName(constant.dtype)}, not FLOAT`;
    if (constant.ref.length === 0) return `weight ${constant.name} is empty`;
  }
  return undefined;
}
