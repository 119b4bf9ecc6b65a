import { constantBehind, DataType, int64Tensor, intAttribute, makeNode } from '../../../model/index.ts';
import type { OperatorForm } from './form.ts';
import { activation, rankOf, weight } from './operands.ts';

export const conv: OperatorForm = {
  key: 'Conv',
  becomes: 'ConvInteger',
  // 5 to 10 times slower than FP32 on ONNX Runtime's CPU provider, and some CNNs do not survive it.
  onlyWhenNamed: true,
  refusal: (node, scope) => (constantBehind(scope, node.input[1]!) ? undefined : 'its weight is not a constant'),
  rewrite(node, place, settings) {
    const { graph } = place;
    const name = node.name || node.output[0]!;
    const output = node.output[0]!;
    const bias = node.input[2];
    const input = activation(node.input[0]!, place, settings);
    // ConvInteger on ONNX Runtime's CPU provider takes one zero point.
    const quantized = weight(node.input[1]!, place, settings, { axis: null });
    const sum = graph.unique(`${output}_output_quantized`);
    const float = graph.unique(`${sum}_cast_output`);
    const scalesMul = graph.unique(`${name}_quant_scales_mul`);
    const scales = graph.unique(`${scalesMul}:0`);
    const scaled = bias ? graph.unique(`${output}quant_scaled_output`) : output;
    graph.emit(
      makeNode('ConvInteger', [input.q, quantized.q, input.zeroPoint, quantized.zeroPoint], [sum], {
        name: graph.unique(`${name}_quant`),
        attributes: node.attribute,
      }),
      makeNode('Cast', [sum], [float], {
        name: graph.unique(`${sum}_cast`),
        attributes: [intAttribute('to', DataType.FLOAT)],
      }),
      makeNode('Mul', [input.scale, quantized.scale], [scales], { name: scalesMul }),
      makeNode('Mul', [float, scales], [scaled], { name: graph.unique(`${name}_quant_output_scale_mul`) }),
    );
    if (!bias) return;
    const rank = rankOf(node.input[1]!, place);
    const shape = int64Tensor(
      graph.unique(`${output}_bias_reshape_shape`),
      Array.from({ length: rank }, (_, axis) => (axis === 1 ? -1 : 1)),
    );
    const reshaped = graph.unique(`${output}_bias_reshape_output`);
    graph.addInitializer(shape);
    place.keep(makeNode('Reshape', [bias, shape.name], [reshaped], { name: graph.unique(`${output}_bias_reshape`) }));
    graph.emit(makeNode('Add', [scaled, reshaped], [output], { name: graph.unique(`${output}_bias_add`) }));
  },
};
