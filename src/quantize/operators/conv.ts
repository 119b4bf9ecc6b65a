import { DataType } from '../../model/index.ts';
import { constantOf } from '../graph.ts';
import { int64Tensor, intAttribute, makeNode } from '../protos.ts';
import type { Operator } from './operator.ts';

export const conv: Operator = {
  key: 'Conv',
  inputs: 2,
  weights: () => [{ input: 1, rank: [3, 5], axis: () => 0 }],
  dynamic: {
    becomes: 'ConvInteger',
    // 5 to 10 times slower than FP32 on ONNX Runtime's CPU provider, and some CNNs do not survive it.
    onlyWhenNamed: true,
    refusal: (node, scope) => (constantOf(scope, node.input[1]!) ? undefined : 'its weight is not a constant'),
    rewrite(node, rewriter) {
      const name = node.name || node.output[0]!;
      const output = node.output[0]!;
      const bias = node.input[2];
      const activation = rewriter.quantizeActivation(node.input[0]!);
      const weight = rewriter.quantizeWeight(node.input[1]!, {
        target: rewriter.settings.weightType,
        reduceRange: true,
        // ConvInteger on ONNX Runtime's CPU provider takes one zero point.
        axis: null,
      });
      const sum = rewriter.unique(`${output}_output_quantized`);
      const float = rewriter.unique(`${sum}_cast_output`);
      const scalesMul = rewriter.unique(`${name}_quant_scales_mul`);
      const scales = rewriter.unique(`${scalesMul}:0`);
      const scaled = bias ? rewriter.unique(`${output}quant_scaled_output`) : output;
      rewriter.emit(
        makeNode('ConvInteger', [activation.q, weight.q, activation.zeroPoint, weight.zeroPoint], [sum], {
          name: rewriter.unique(`${name}_quant`),
          attributes: node.attribute,
        }),
        makeNode('Cast', [sum], [float], {
          name: rewriter.unique(`${sum}_cast`),
          attributes: [intAttribute('to', DataType.FLOAT)],
        }),
        makeNode('Mul', [activation.scale, weight.scale], [scales], { name: scalesMul }),
        makeNode('Mul', [float, scales], [scaled], { name: rewriter.unique(`${name}_quant_output_scale_mul`) }),
      );
      if (!bias) return;
      const rank = constantOf(rewriter.scope, node.input[1]!)!.dims.length;
      const shape = int64Tensor(
        rewriter.unique(`${output}_bias_reshape_shape`),
        Array.from({ length: rank }, (_, axis) => (axis === 1 ? -1 : 1)),
      );
      const reshaped = rewriter.unique(`${output}_bias_reshape_output`);
      rewriter.addInitializer(shape);
      rewriter.keep(
        makeNode('Reshape', [bias, shape.name], [reshaped], { name: rewriter.unique(`${output}_bias_reshape`) }),
      );
      rewriter.emit(makeNode('Add', [scaled, reshaped], [output], { name: rewriter.unique(`${output}_bias_add`) }));
    },
  },
};

export const convTranspose: Operator = {
  key: 'ConvTranspose',
  inputs: 2,
  // Its weight is [inputs, outputs ÷ groups, …].
  weights: () => [{ input: 1, rank: [3, 5], axis: () => 1 }],
};
