import { attributeOf, constantBehind, MS_DOMAIN, makeNode } from '../../../model/index.ts';
import type { OperatorForm } from './form.ts';
import { activation, weight } from './operands.ts';

/** Attributes of Attention that QAttention does not have. */
const UNSUPPORTED = ['qkv_hidden_sizes', 'rotary_embedding_dim'];

export const attention: OperatorForm = {
  key: `${MS_DOMAIN}:Attention`,
  becomes: 'QAttention',
  refusal(node, scope) {
    const attribute = UNSUPPORTED.find((name) => attributeOf(node, name));
    if (attribute) return `QAttention has no ${attribute}`;
    if (node.input.slice(5).some((name) => name !== '')) return 'QAttention takes no attention bias';
    return constantBehind(scope, node.input[1]!) ? undefined : 'its weight is not a constant';
  },
  rewrite(node, place, settings) {
    const [x, w, bias = '', mask = '', past = ''] = node.input;
    const input = activation(x!, place, settings);
    const quantized = weight(w!, place, settings, { axis: settings.perChannel ? 1 : null });
    const inputs = [
      input.q,
      quantized.q,
      bias,
      input.scale,
      quantized.scale,
      mask,
      input.zeroPoint,
      quantized.zeroPoint,
      past,
    ];
    const name = node.name && `${node.name}_quant`;
    place.keep(makeNode('QAttention', inputs, node.output, { name, domain: MS_DOMAIN, attributes: node.attribute }));
  },
};
