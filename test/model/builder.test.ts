import { expect, test } from 'vitest';
import {
  constant,
  floats,
  graph,
  model,
  modelFunction,
  node,
  saveExternalModel,
  saveModel,
  value,
} from '../support/onnx-builder.ts';
import { ortRun } from '../support/ort-run.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

function multiply(x: number[], weights: Float32Array, columns: number): number[] {
  return Array.from({ length: columns }, (_, column) =>
    x.reduce((sum, each, row) => sum + each * weights[row * columns + column]!, 0),
  );
}

test('a built model runs in onnxruntime: initializer, Constant, function, subgraph', async () => {
  const random = seeded(1);
  const first = random.floats(12);
  const second = random.floats(8);
  const branch = (name: string, op: string) =>
    graph({ nodes: [node(op, ['u'], [name])], outputs: [value(name, [1, 2])], name });
  const proto = model(
    graph({
      nodes: [
        node('MatMul', ['x', 'W'], ['t']),
        constant(floats('V', [4, 2], second)),
        node('Twice', ['t'], ['d'], {}, { domain: 'local' }),
        node('MatMul', ['d', 'V'], ['u']),
        node('If', ['flag'], ['y'], { then_branch: branch('a', 'Neg'), else_branch: branch('b', 'Identity') }),
      ],
      inputs: [value('x', [1, 3]), value('flag', [], 9)],
      outputs: [value('y', [1, 2])],
      initializers: [floats('W', [3, 4], first)],
    }),
    {
      domains: { local: 1 },
      functions: [
        modelFunction({
          domain: 'local',
          name: 'Twice',
          inputs: ['i'],
          outputs: ['o'],
          nodes: [node('Add', ['i', 'i'], ['o'])],
        }),
      ],
    },
  );
  proto.graph!.input.pop();
  proto.graph!.initializer.push({ ...floats('flag', [], []), dataType: 9, rawData: Uint8Array.of(1) });
  const x = [0.5, -1, 2];
  const expected = multiply(
    multiply(x, first, 4).map((each) => each * 2),
    second,
    2,
  ).map((each) => -each);

  for (const save of [saveModel, saveExternalModel]) {
    const { y } = await ortRun(save(temp(), proto), { x: { dims: [1, 3], data: Float32Array.from(x) } });
    expect([...y!.data].map(Number)).toEqual(expected.map((each) => expect.closeTo(each, 4)));
  }
});
