import { declaredRank } from '../../../../model/index.ts';
import type { BlockOperator } from './form.ts';
import { emitMatMulNBits, matrixBehind, matrixRefusal, weightOf } from './matrix.ts';

export const matMul: BlockOperator = {
  key: 'MatMul',
  becomes: 'MatMulNBits',
  weights: ({ node, scope }) => weightOf(matrixBehind(scope, node.input[1]!)),
  refusal({ node, scope }, weights) {
    const refusal = matrixRefusal(weights);
    if (refusal !== undefined) return refusal;
    const { constant } = weights[0]!;
    // The product has the axes of its left-hand side.
    const rank = constant.dims.length;
    if (rank === 2 || (declaredRank(scope, node.input[0]!) ?? 0) >= rank) return undefined;
    return `weight ${constant.name} has axes [${constant.dims}], which would be missing from the product`;
  },
  rewrite: (node, place, settings) =>
    emitMatMulNBits(place, settings, {
      name: node.name,
      input: node.input[0]!,
      matrix: matrixBehind(place.scope, node.input[1]!)!,
      output: node.output[0]!,
    }),
};
