import { DataType } from '../../model/index.ts';
import { constantOf } from '../graph.ts';
import { intAttribute, makeNode } from '../protos.ts';
import type { ScopeRewriter } from '../rewrite.ts';
import type { Operator } from './operator.ts';

export const matMul: Operator = {
  key: 'MatMul',
  inputs: 2,
  weights: () => [
    { input: 1, rank: [1, 64], axis: (rank) => (rank > 1 ? rank - 1 : null) },
    { input: 0, rank: [1, 64], axis: (rank) => (rank > 1 ? rank - 2 : null) },
  ],
  dynamic: {
    becomes: 'MatMulInteger',
    refusal: (node, scope) => (constantOf(scope, node.input[1]!) ? undefined : 'its right-hand side is not a constant'),
    rewrite: (node, rewriter) =>
      emitMatMulInteger(rewriter, {
        name: node.name,
        activation: node.input[0]!,
        weight: node.input[1]!,
        output: node.output[0]!,
      }),
  },
};

export interface IntegerMatMul {
  /** Name of the node that it stands for; may be empty. */
  name: string;
  activation: string;
  weight: string;
  /** Transpose the weight on its way to the file. */
  transposed?: boolean;
  output: string;
}

/** DynamicQuantizeLinear → MatMulInteger → Cast → Mul, the form that ONNX Runtime fuses. */
export function emitMatMulInteger(rewriter: ScopeRewriter, matMul: IntegerMatMul): void {
  const { name, output } = matMul;
  const activation = rewriter.quantizeActivation(matMul.activation);
  const rank = constantOf(rewriter.scope, matMul.weight)!.dims.length;
  const weight = rewriter.quantizeWeight(matMul.weight, {
    target: rewriter.settings.weightType,
    reduceRange: true,
    // A vector has no columns.
    axis: rewriter.settings.perChannel && rank > 1 ? (matMul.transposed ? rank - 2 : rank - 1) : null,
    ...(matMul.transposed ? { permutation: [1, 0] } : {}),
    // MatMulInteger takes the parameters of a stack of matrices only in the stack's own shape.
    stacked: rank > 2,
  });
  const product = rewriter.unique(`${output}_output_quantized`);
  const float = rewriter.unique(`${product}_cast_output`);
  // Named after the node or its output: nodes that shared this Mul would not be fused.
  const scalesMul = rewriter.unique(`${name || output}_quant_scales_mul`);
  const scales = rewriter.unique(`${scalesMul}:0`);
  rewriter.emit(
    makeNode('MatMulInteger', [activation.q, weight.q, activation.zeroPoint, weight.zeroPoint], [product], {
      name: rewriter.unique(`${name || output}_quant`),
    }),
    makeNode('Cast', [product], [float], {
      name: rewriter.unique(`${product}_cast`),
      attributes: [intAttribute('to', DataType.FLOAT)],
    }),
    makeNode('Mul', [activation.scale, weight.scale], [scales], { name: scalesMul }),
    makeNode('Mul', [float, scales], [output], { name: rewriter.unique(`${name || output}_quant_output_scale_mul`) }),
  );
}
