import { constantBehind, floatOf, intOf, makeNode } from '../../../model/index.ts';
import type { OperatorForm } from './form.ts';
import { emitMatMulInteger } from './matmul.ts';

export const gemm: OperatorForm = {
  key: 'Gemm',
  becomes: 'MatMulInteger + Add',
  refusal(node, scope) {
    if (!constantBehind(scope, node.input[1]!)) return 'its right-hand side is not a constant';
    if (floatOf(node, 'alpha', 1) !== 1 || floatOf(node, 'beta', 1) !== 1) return 'its alpha or beta is not 1';
    return intOf(node, 'transA', 0) ? 'its left-hand side is transposed' : undefined;
  },
  rewrite(node, place, settings) {
    const [input, weight, bias] = node.input;
    const output = node.output[0]!;
    const product = bias ? place.graph.unique(`${output}_MatMul`) : output;
    emitMatMulInteger(place, settings, {
      name: node.name && `${node.name}_MatMul`,
      input: input!,
      weight: weight!,
      transposed: intOf(node, 'transB', 0) !== 0,
      output: product,
    });
    if (bias) place.keep(makeNode('Add', [product, bias], [output], { name: node.name && `${node.name}_Add` }));
  },
};
