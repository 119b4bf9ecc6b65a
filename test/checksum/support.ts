import path from 'node:path';
import { floats, graph, model, node, saveExternalModel, value } from '../support/onnx-builder.ts';

/** A model of two files, `<name>` and `<name>.data`, in `folder`; `seed` changes its weights. */
export function saveModelPair(folder: string, name = 'm.onnx', side = 8, seed = 0): string {
  const weights = floats(
    'w',
    [side, side],
    Array.from({ length: side * side }, (_, index) => index / 10 + seed),
  );
  const parts = {
    inputs: [value('x', [1, side])],
    outputs: [value('y', [1, side])],
    nodes: [node('MatMul', ['x', 'w'], ['y'])],
    initializers: [weights],
  };
  return saveExternalModel(path.join(folder, path.dirname(name)), model(graph(parts)), path.basename(name));
}
