import { intOf } from '../../model/index.ts';
import { constantOf } from '../graph.ts';
import type { Operator } from './operator.ts';

export const gather: Operator = {
  key: 'Gather',
  inputs: 2,
  // A row of an embedding is what a lookup returns, so it gets its own scale.
  weights: (node) => [
    { input: 0, rank: [1, 64], axis: (rank) => (rank > 1 ? normalized(intOf(node, 'axis', 0), rank) : null) },
  ],
  dynamic: {
    becomes: 'Gather of an 8-bit table',
    refusal: (node, scope) => (constantOf(scope, node.input[0]!) ? undefined : 'its table is not a constant'),
    rewrite(node, rewriter) {
      const rank = constantOf(rewriter.scope, node.input[0]!)!.dims.length;
      const axis = normalized(intOf(node, 'axis', 0), rank);
      // A head tied to this table may have quantized it by columns; rows looked up keep all their columns.
      const table = rewriter.quantizeTable(
        node.input[0]!,
        (axes) => axes === null || (axes === rank - 1 && axis !== rank - 1),
      );
      const output = node.output[0]!;
      const lookup = rewriter.copy(node);
      lookup.input[0] = table.q;
      lookup.output[0] = rewriter.unique(`${output}_quantized`);
      rewriter.emit(lookup);
      // The columns end up last, whatever the rank of the indices.
      rewriter.define(output, { ...table, q: lookup.output[0] });
    },
  },
};

function normalized(axis: number, rank: number): number {
  return axis < 0 ? axis + rank : axis;
}
