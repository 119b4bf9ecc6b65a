import { attributeOf } from '../../model/index.ts';
import { constantOf } from '../graph.ts';
import { MS_DOMAIN, makeNode } from '../protos.ts';
import type { Operator } from './operator.ts';

/** Attributes of Attention that QAttention does not have. */
const UNSUPPORTED = ['qkv_hidden_sizes', 'rotary_embedding_dim'];

/** ONNX Runtime's Attention; the standard's operator of that name has no weight. */
export const attention: Operator = {
  key: `${MS_DOMAIN}:Attention`,
  inputs: 2,
  weights: () => [{ input: 1, rank: [2, 2], axis: () => 1 }],
  dynamic: {
    becomes: 'QAttention',
    refusal(node, scope) {
      const attribute = UNSUPPORTED.find((name) => attributeOf(node, name));
      if (attribute) return `QAttention has no ${attribute}`;
      if (node.input.slice(5).some((name) => name !== '')) return 'QAttention takes no attention bias';
      return constantOf(scope, node.input[1]!) ? undefined : 'its weight is not a constant';
    },
    rewrite(node, rewriter) {
      const [x, w, bias = '', mask = '', past = ''] = node.input;
      const activation = rewriter.quantizeActivation(x!);
      const weight = rewriter.quantizeWeight(w!, {
        target: rewriter.settings.weightType,
        reduceRange: true,
        axis: rewriter.settings.perChannel ? 1 : null,
      });
      rewriter.keep(
        makeNode(
          'QAttention',
          [
            activation.q,
            weight.q,
            bias,
            activation.scale,
            weight.scale,
            mask,
            activation.zeroPoint,
            weight.zeroPoint,
            past,
          ],
          node.output,
          { name: node.name && `${node.name}_quant`, domain: MS_DOMAIN, attributes: node.attribute },
        ),
      );
    },
  },
};
