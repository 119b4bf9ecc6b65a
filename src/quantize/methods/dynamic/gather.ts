import { constantBehind, intOf } from '../../../model/index.ts';
import { fromStart } from '../../operators.ts';
import type { OperatorForm } from './form.ts';
import { rankOf, table } from './operands.ts';

export const gather: OperatorForm = {
  key: 'Gather',
  becomes: 'Gather of an 8-bit table',
  refusal: (node, scope) => (constantBehind(scope, node.input[0]!) ? undefined : 'its table is not a constant'),
  rewrite(node, place, settings) {
    const rank = rankOf(node.input[0]!, place);
    const axis = fromStart(intOf(node, 'axis', 0), rank);
    // A head tied to this table may have quantized it by columns; rows looked up keep all their columns.
    const byColumns = rank - 1;
    const quantized = table(
      node.input[0]!,
      place,
      settings,
      (axes) => axes === null || (axes === byColumns && axis !== byColumns),
    );
    const output = node.output[0]!;
    const lookup = place.graph.copy(node);
    lookup.input[0] = quantized.q;
    lookup.output[0] = place.graph.unique(`${output}_quantized`);
    place.graph.emit(lookup);
    // The columns end up last, whatever the rank of the indices.
    const { scale, zeroPoint } = quantized;
    place.define(output, { q: lookup.output[0], scale, zeroPoint, axis: quantized.axis });
  },
};
