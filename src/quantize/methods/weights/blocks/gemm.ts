import { constantBehind, floatOf, type GraphScope, intOf, makeNode, type NodeProto } from '../../../../model/index.ts';
import type { BlockOperator } from './form.ts';
import { emitMatMulNBits, type Matrix, matrixBehind, matrixRefusal, weightOf } from './matrix.ts';

export const gemm: BlockOperator = {
  key: 'Gemm',
  becomes: 'MatMulNBits',
  weights: ({ node, scope }) => weightOf(matrixOf(node, scope)),
  refusal({ node }, weights) {
    if (floatOf(node, 'alpha', 1) !== 1 || floatOf(node, 'beta', 1) !== 1) return 'its alpha or beta is not 1';
    return intOf(node, 'transA', 0) ? 'its left-hand side is transposed' : matrixRefusal(weights);
  },
  rewrite(node, place, settings) {
    const [input, , bias] = node.input;
    const output = node.output[0]!;
    const matrix = matrixOf(node, place.scope)!;
    // The operator adds a vector itself; other shapes of C need a node.
    const vector = bias && constantBehind(place.scope, bias)?.dims.length === 1 && sizeOf(bias, place.scope) !== 1;
    const product = { name: node.name, input: input!, matrix };
    if (!bias || vector) emitMatMulNBits(place, settings, { ...product, bias, output });
    else {
      const sum = place.graph.unique(`${output}_MatMul`);
      emitMatMulNBits(place, settings, { ...product, output: sum });
      place.keep(makeNode('Add', [sum, bias], [output], { name: node.name && `${node.name}_Add` }));
    }
  },
};

function matrixOf(node: NodeProto, scope: GraphScope): Matrix | undefined {
  const matrix = matrixBehind(scope, node.input[1]!);
  if (!matrix || !intOf(node, 'transB', 0)) return matrix;
  return { ...matrix, along: matrix.along === 'rows' ? 'columns' : 'rows' };
}

function sizeOf(name: string, scope: GraphScope): number {
  return constantBehind(scope, name)!.dims[0]!;
}
