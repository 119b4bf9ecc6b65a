import { intOf } from '../../model/index.ts';
import { constantOf } from '../graph.ts';
import { intsAttribute, MS_DOMAIN, makeNode } from '../protos.ts';
import type { ScopeRewriter } from '../rewrite.ts';
import type { Operator } from './operator.ts';
import { recurrentWeights } from './recurrent.ts';

export const lstm: Operator = {
  key: 'LSTM',
  inputs: 3,
  weights: recurrentWeights,
  dynamic: {
    becomes: 'DynamicQuantizeLSTM',
    refusal(node, scope) {
      const constant = [1, 2].every((input) => constantOf(scope, node.input[input]!));
      return constant ? undefined : 'its weights are not constants';
    },
    rewrite(node, rewriter) {
      const [x, w, r, bias = '', lengths = '', h = '', c = '', peepholes = ''] = node.input;
      const batchFirst = intOf(node, 'layout', 0) === 1;
      const weights = [quantizeGates(w!, rewriter), quantizeGates(r!, rewriter)] as const;
      // DynamicQuantizeLSTM has no `layout`: time comes first, so batch-first values are turned around it.
      const turnedIn = (name: string) => (batchFirst && name ? turned(rewriter, name, [1, 0, 2]) : name);
      const inputs = [turnedIn(x!), weights[0].q, weights[1].q, bias, lengths, turnedIn(h), turnedIn(c), peepholes];
      for (const weight of weights) inputs.push(weight.scale, weight.zeroPoint);
      const outputs = node.output.map((name) => (batchFirst && name ? rewriter.unique(`${name}_time_first`) : name));
      rewriter.keep(
        makeNode('DynamicQuantizeLSTM', inputs, outputs, {
          name: node.name && `${node.name}_quant`,
          domain: MS_DOMAIN,
          attributes: node.attribute.filter(({ name }) => name !== 'layout'),
        }),
      );
      if (!batchFirst) return;
      node.output.forEach((name, i) => {
        if (!name) return;
        const perm = i === 0 ? [2, 0, 1, 3] : [1, 0, 2];
        rewriter.emit(
          makeNode('Transpose', [outputs[i]!], [name], {
            name: rewriter.unique(`${name}_batch_first`),
            attributes: [intsAttribute('perm', perm)],
          }),
        );
      });
    },
  },
};

/** Always int8 around zero, whatever the options say: the kernel takes nothing else. Stored [directions, columns, rows]. */
function quantizeGates(name: string, rewriter: ScopeRewriter) {
  return rewriter.quantizeWeight(name, {
    target: 'int8',
    symmetric: true,
    reduceRange: true,
    axis: rewriter.settings.perChannel ? [0, 1] : 0,
    permutation: [0, 2, 1],
  });
}

function turned(rewriter: ScopeRewriter, name: string, perm: readonly number[]): string {
  const output = rewriter.unique(`${name}_time_first`);
  rewriter.keep(
    makeNode('Transpose', [name], [output], {
      name: rewriter.unique(`${output}_Transpose`),
      attributes: [intsAttribute('perm', perm)],
    }),
  );
  return output;
}
