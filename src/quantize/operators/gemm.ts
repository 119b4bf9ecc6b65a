import { intOf } from '../../model/index.ts';
import { constantOf } from '../graph.ts';
import { floatOf, makeNode } from '../protos.ts';
import { emitMatMulInteger } from './matmul.ts';
import type { Operator } from './operator.ts';

export const gemm: Operator = {
  key: 'Gemm',
  inputs: 2,
  weights: (node) => [
    { input: 1, rank: [2, 2], axis: () => (intOf(node, 'transB', 0) ? 0 : 1) },
    { input: 0, rank: [2, 2], axis: () => (intOf(node, 'transA', 0) ? 1 : 0) },
  ],
  dynamic: {
    becomes: 'MatMulInteger + Add',
    refusal(node, scope) {
      if (!constantOf(scope, node.input[1]!)) return 'its right-hand side is not a constant';
      if (floatOf(node, 'alpha', 1) !== 1 || floatOf(node, 'beta', 1) !== 1) return 'its alpha or beta is not 1';
      return intOf(node, 'transA', 0) ? 'its left-hand side is transposed' : undefined;
    },
    rewrite(node, rewriter) {
      const [activation, weight, bias] = node.input;
      const output = node.output[0]!;
      const product = bias ? rewriter.unique(`${output}_MatMul`) : output;
      emitMatMulInteger(rewriter, {
        name: node.name && `${node.name}_MatMul`,
        activation: activation!,
        weight: weight!,
        transposed: intOf(node, 'transB', 0) !== 0,
        output: product,
      });
      if (bias) rewriter.keep(makeNode('Add', [product, bias], [output], { name: node.name && `${node.name}_Add` }));
    },
  },
};
