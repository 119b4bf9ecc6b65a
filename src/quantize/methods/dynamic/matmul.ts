import { constantBehind, DataType, intAttribute, makeNode } from '../../../model/index.ts';
import type { Place } from '../../values/place.ts';
import type { DynamicWeights, OperatorForm } from './form.ts';
import { activation, rankOf, weight } from './operands.ts';

export const matMul: OperatorForm = {
  key: 'MatMul',
  becomes: 'MatMulInteger',
  refusal: (node, scope) =>
    constantBehind(scope, node.input[1]!) ? undefined : 'its right-hand side is not a constant',
  rewrite: (node, place, settings) =>
    emitMatMulInteger(place, settings, {
      name: node.name,
      input: node.input[0]!,
      weight: node.input[1]!,
      output: node.output[0]!,
    }),
};

export interface IntegerMatMul {
  /** Name of the node that it stands for; may be empty. */
  name: string;
  input: string;
  weight: string;
  /** Transpose the weight on its way to the file. */
  transposed?: boolean;
  output: string;
}

/** DynamicQuantizeLinear → MatMulInteger → Cast → Mul, the form that ONNX Runtime fuses. */
export function emitMatMulInteger(place: Place, settings: DynamicWeights, matMul: IntegerMatMul): void {
  const { graph } = place;
  const { output, transposed } = matMul;
  const name = matMul.name || output;
  const input = activation(matMul.input, place, settings);
  const rank = rankOf(matMul.weight, place);
  const quantized = weight(matMul.weight, place, settings, {
    // A vector has no columns.
    axis: settings.perChannel && rank > 1 ? (transposed ? rank - 2 : rank - 1) : null,
    ...(transposed ? { permutation: [1, 0] } : {}),
    // MatMulInteger takes the parameters of a stack of matrices only in the stack's own shape.
    stacked: rank > 2,
  });
  const product = graph.unique(`${output}_output_quantized`);
  const float = graph.unique(`${product}_cast_output`);
  // Named after the node or its output: nodes that shared this Mul would not be fused.
  const scalesMul = graph.unique(`${name}_quant_scales_mul`);
  const scales = graph.unique(`${scalesMul}:0`);
  graph.emit(
    makeNode('MatMulInteger', [input.q, quantized.q, input.zeroPoint, quantized.zeroPoint], [product], {
      name: graph.unique(`${name}_quant`),
    }),
    makeNode('Cast', [product], [float], {
      name: graph.unique(`${product}_cast`),
      attributes: [intAttribute('to', DataType.FLOAT)],
    }),
    makeNode('Mul', [input.scale, quantized.scale], [scales], { name: scalesMul }),
    makeNode('Mul', [float, scales], [output], { name: graph.unique(`${name}_quant_output_scale_mul`) }),
  );
}
