import { attributeOf, constantBehind, MS_DOMAIN, makeNode } from '../../../model/index.ts';
import type { OperatorForm } from './form.ts';
import { table } from './operands.ts';

/** Word, position and segment embedding, gamma, beta. */
const TABLES = [2, 3, 4, 5, 6];

export const embedLayerNormalization: OperatorForm = {
  key: `${MS_DOMAIN}:EmbedLayerNormalization`,
  becomes: 'QEmbedLayerNormalization',
  refusal(node, scope) {
    if (node.output.slice(2).some((name) => name !== '')) return 'QEmbedLayerNormalization has no third output';
    if (node.input[8]) return 'QEmbedLayerNormalization takes no position ids';
    if (attributeOf(node, 'mask_index_type')) return 'QEmbedLayerNormalization has no mask_index_type';
    const constant = TABLES.every((input) => !node.input[input] || constantBehind(scope, node.input[input]));
    return constant ? undefined : 'its tables are not constants';
  },
  rewrite(node, place, settings) {
    const none = { q: '', scale: '', zeroPoint: '' };
    const tables = TABLES.map((input) => (node.input[input] ? table(node.input[input], place, settings) : none));
    const inputs = [
      node.input[0]!,
      node.input[1] ?? '',
      ...tables.map(({ q }) => q),
      node.input[7] ?? '',
      ...tables.map(({ scale }) => scale),
      ...tables.map(({ zeroPoint }) => zeroPoint),
    ];
    const outputs = node.output.filter((name, i) => i < 2 || name !== '');
    const name = node.name && `${node.name}_quant`;
    place.keep(
      makeNode('QEmbedLayerNormalization', inputs, outputs, { name, domain: MS_DOMAIN, attributes: node.attribute }),
    );
  },
};
