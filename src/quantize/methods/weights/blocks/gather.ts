import { constantBehind, intAttribute, intOf, MS_DOMAIN, makeNode } from '../../../../model/index.ts';
import type { BlockOperator } from './form.ts';
import { codesOf, encodeMatrix, matrixRefusal, weightOf } from './matrix.ts';

export const gather: BlockOperator = {
  key: 'Gather',
  becomes: 'GatherBlockQuantized',
  weights({ node, scope }) {
    const constant = constantBehind(scope, node.input[0]!);
    return weightOf(constant && { constant, along: 'rows' });
  },
  refusal({ node }, weights, { bits }) {
    const refusal = matrixRefusal(weights);
    if (refusal !== undefined) return refusal;
    const { constant } = weights[0]!;
    const { dims } = constant;
    if (dims.length !== 2) return `table ${constant.name} has axes [${dims}], and blocks are cut of matrices`;
    const axis = intOf(node, 'axis', 0);
    if (axis !== 0 && axis !== -2) return 'it does not look up rows';
    return (dims[1]! * bits) % 8 === 0 ? undefined : `rows of table ${constant.name} end within a byte`;
  },
  rewrite(node, place, settings) {
    const constant = constantBehind(place.scope, node.input[0]!)!;
    const table = encodeMatrix({ constant, along: 'rows' }, place, settings, { layout: 'table', rounding: 'even' });
    const inputs = [codesOf(table, 'table', place), node.input[1]!, table.scale, table.zeroPoint];
    if (inputs.at(-1) === '') inputs.pop();
    place.keep(
      makeNode('GatherBlockQuantized', inputs, [node.output[0]!], {
        name: node.name && place.graph.unique(`${node.name}_Q${settings.bits}`),
        domain: MS_DOMAIN,
        attributes: [
          intAttribute('gather_axis', 0),
          intAttribute('quantize_axis', 1),
          intAttribute('block_size', settings.block),
          intAttribute('bits', settings.bits),
        ],
      }),
    );
  },
};
