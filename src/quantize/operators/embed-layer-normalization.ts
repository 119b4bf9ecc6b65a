import { attributeOf } from '../../model/index.ts';
import { constantOf } from '../graph.ts';
import { MS_DOMAIN, makeNode } from '../protos.ts';
import type { Operator } from './operator.ts';

/** Word, position and segment embedding, gamma, beta. */
const TABLES = [2, 3, 4, 5, 6];

export const embedLayerNormalization: Operator = {
  key: `${MS_DOMAIN}:EmbedLayerNormalization`,
  inputs: 7,
  weights: () => TABLES.map((input) => ({ input, rank: [1, 2], axis: (rank) => (rank > 1 ? 0 : null) })),
  dynamic: {
    becomes: 'QEmbedLayerNormalization',
    refusal(node, scope) {
      if (node.output.slice(2).some((name) => name !== '')) return 'QEmbedLayerNormalization has no third output';
      if (node.input[8]) return 'QEmbedLayerNormalization takes no position ids';
      if (attributeOf(node, 'mask_index_type')) return 'QEmbedLayerNormalization has no mask_index_type';
      const constant = TABLES.every((input) => !node.input[input] || constantOf(scope, node.input[input]));
      return constant ? undefined : 'its tables are not constants';
    },
    rewrite(node, rewriter) {
      const none = { q: '', scale: '', zeroPoint: '' };
      const tables = TABLES.map((input) => {
        const name = node.input[input];
        return name ? rewriter.quantizeTable(name) : none;
      });
      rewriter.keep(
        makeNode(
          'QEmbedLayerNormalization',
          [
            node.input[0]!,
            node.input[1] ?? '',
            ...tables.map((table) => table.q),
            node.input[7] ?? '',
            ...tables.map((table) => table.scale),
            ...tables.map((table) => table.zeroPoint),
          ],
          node.output.filter((name, i) => i < 2 || name !== ''),
          { name: node.name && `${node.name}_quant`, domain: MS_DOMAIN, attributes: node.attribute },
        ),
      );
    },
  },
};
