import type { Operator } from './operator.ts';

export const transpose: Operator = {
  key: 'Transpose',
  inputs: 1,
  weights: () => [],
  follow(node, rewriter) {
    const input = rewriter.quantizedValue(node.input[0]!);
    // Columns would not be where the scales expect them.
    if (!input || input.axis !== null) return false;
    const output = node.output[0]!;
    const moved = rewriter.copy(node);
    moved.input[0] = input.q;
    moved.output[0] = rewriter.unique(`${output}_quantized`);
    rewriter.emit(moved);
    rewriter.define(output, { ...input, q: moved.output[0] });
    return true;
  },
};
