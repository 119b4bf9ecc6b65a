import { floats, graph, model, node, value } from './onnx-builder.ts';
import { seeded } from './random.ts';

/** Two MatMuls with a Relu between them: x [batch, 64] → y [batch, 32]. `spoil` may change the weights. */
export function smallModel(spoil: (weights: Float32Array) => unknown = () => undefined) {
  const random = seeded(7);
  const first = random.floats(64 * 128, 0.1);
  spoil(first);
  return model(
    graph({
      nodes: [
        node('MatMul', ['x', 'W1'], ['h'], {}, { name: 'first' }),
        node('Relu', ['h'], ['r'], {}, { name: 'relu' }),
        node('MatMul', ['r', 'W2'], ['y'], {}, { name: 'second' }),
      ],
      inputs: [value('x', ['batch', 64])],
      outputs: [value('y', ['batch', 32])],
      initializers: [floats('W1', [64, 128], first), floats('W2', [128, 32], random.floats(128 * 32, 0.1))],
    }),
  );
}
