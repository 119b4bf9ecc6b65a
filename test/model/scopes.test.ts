import { expect, test } from 'vitest';
import {
  DataType,
  findConstant,
  intOf,
  opsetOf,
  readModel,
  usesOf,
  walkGraphs,
  walkTensors,
} from '../../src/model/index.ts';
import { loadTensor } from '../support/load-tensor.ts';
import {
  bytesOf,
  constant,
  floats,
  graph,
  model,
  modelFunction,
  node,
  saveModel,
  value,
} from '../support/onnx-builder.ts';
import { realModels } from '../support/real-models.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

/** An If in the main graph uses `W` of the main graph; its other branch has a `W` of its own. */
function nested() {
  const captures = graph({
    name: 'captures',
    nodes: [node('MatMul', ['x', 'W'], ['a'])],
    outputs: [value('a', [1, 2])],
  });
  const shadows = graph({
    name: 'shadows',
    nodes: [constant(floats('W', [2, 2], [5, 6, 7, 8])), node('MatMul', ['x', 'W'], ['b'])],
    outputs: [value('b', [1, 2])],
  });
  return model(
    graph({
      nodes: [
        node('If', ['flag'], ['y'], { then_branch: captures, else_branch: shadows }, { name: 'choose' }),
        node('Constant', [], ['half'], { value_float: { float: 0.5 } }),
        node('Constant', [], ['list'], { value_ints: { ints: [1, -1] } }),
        node('Gemm', ['y', 'V', 'half'], ['z'], { transB: 1 }),
      ],
      inputs: [value('x', [1, 2]), value('flag', [], DataType.BOOL), value('V', [2, 2])],
      outputs: [value('z', [1, 2])],
      initializers: [floats('W', [2, 2], [1, 2, 3, 4]), floats('V', [2, 2], [1, 0, 0, 1])],
    }),
    {
      opset: 17,
      domains: { 'com.microsoft': 1 },
      functions: [
        modelFunction({
          domain: 'local',
          name: 'F',
          inputs: ['i'],
          outputs: ['o'],
          nodes: [node('Neg', ['i'], ['o'])],
          opset: 13,
        }),
      ],
    },
  );
}

test('graphs come before what is nested in them, each with a path', async () => {
  const scopes = walkGraphs(await readModel(saveModel(temp(), nested())));
  expect(scopes.map(({ path, kind }) => [path, kind])).toEqual([
    ['main', 'main'],
    ['main/choose.then_branch', 'subgraph'],
    ['main/choose.else_branch', 'subgraph'],
    ['function local::F', 'function'],
  ]);
  expect(scopes.map((scope) => scope.opset())).toEqual([17, 17, 17, 13]);
  expect(scopes[1]!.opset('com.microsoft')).toBe(1);
  expect(scopes[3]!.opset('com.microsoft')).toBeUndefined();
});

test('a constant is found where it is captured, and a nearer one hides it', async () => {
  const [main, captures, shadows] = walkGraphs(await readModel(saveModel(temp(), nested())));
  const valuesOf = (scope: typeof main) => [
    ...new Float32Array(Uint8Array.from(loadTensor(findConstant(scope!, 'W')!.ref!)).buffer),
  ];
  expect(valuesOf(captures)).toEqual([1, 2, 3, 4]);
  expect(findConstant(captures!, 'W')!.scope).toBe(main);
  expect(valuesOf(shadows)).toEqual([5, 6, 7, 8]);
  expect(findConstant(shadows!, 'W')!.node!.opType).toBe('Constant');
  expect(findConstant(captures!, 'x')).toBeUndefined();
  expect(findConstant(main!, 'a')).toBeUndefined();
});

test('uses count subgraphs that capture a value, and graph outputs', async () => {
  const [main, captures, shadows] = walkGraphs(await readModel(saveModel(temp(), nested())));
  const places = (name: string, scope = main!) =>
    usesOf(scope, name).map((use) => [use.scope.path, use.node?.opType, use.index]);
  expect(places('W')).toEqual([['main/choose.then_branch', 'MatMul', 1]]);
  expect(places('W', shadows)).toEqual([['main/choose.else_branch', 'MatMul', 1]]);
  expect(places('x')).toHaveLength(2);
  expect(places('y')).toEqual([['main', 'Gemm', 0]]);
  expect(places('z')).toEqual([['main', undefined, 0]]);
  expect(places('a', captures)).toEqual([['main/choose.then_branch', undefined, 0]]);
  expect(main!.producers.get('y')!.name).toBe('choose');
});

test('an initializer that is an input may be overridden', async () => {
  const [main] = walkGraphs(await readModel(saveModel(temp(), nested())));
  expect(findConstant(main!, 'V')!.overridable).toBe(true);
  expect(findConstant(main!, 'W')!.overridable).toBe(false);
  const old = nested();
  old.irVersion = 3n;
  const [before] = walkGraphs(await readModel(saveModel(temp(), old)));
  expect(findConstant(before!, 'V')!.overridable).toBe(false);
});

test('Constant nodes without a tensor have their bytes too', async () => {
  const [main] = walkGraphs(await readModel(saveModel(temp(), nested())));
  const half = findConstant(main!, 'half')!;
  expect(half).toMatchObject({ tensor: undefined, ref: { dtype: DataType.FLOAT, dims: [], length: 4 } });
  expect(loadTensor(half.ref!)).toEqual(Buffer.from(bytesOf(Float32Array.of(0.5))));
  expect(findConstant(main!, 'list')!.ref).toMatchObject({ dtype: DataType.INT64, dims: [2], length: 16 });
});

test('attributes and operator sets have their defaults', async () => {
  const { proto } = await readModel(saveModel(temp(), nested()));
  const gemm = proto.graph!.node.find(({ opType }) => opType === 'Gemm')!;
  expect([intOf(gemm, 'transB', 0), intOf(gemm, 'transA', 0)]).toEqual([1, 0]);
  expect([opsetOf(proto), opsetOf(proto, 'ai.onnx'), opsetOf(proto, 'none')]).toEqual([17, 17, undefined]);
});

test('every weight of the speech model is found in its subgraphs', async () => {
  const model = await readModel(realModels.speech);
  const scopes = walkGraphs(model);
  expect(scopes.length).toBeGreaterThan(10);
  const constants = scopes.flatMap((scope) => [...scope.constants.values()]);
  const places = [...walkTensors(model.proto)].filter(({ role }) => role === 'initializer' || role === 'constant');
  expect(new Set(constants.map(({ tensor }) => tensor))).toEqual(new Set(places.map(({ tensor }) => tensor)));
  for (const scope of scopes) {
    for (const each of scope.graph.node) {
      for (const name of each.input) if (name) expect(usesOf(scope, name).some(({ node }) => node === each)).toBe(true);
    }
  }
});
