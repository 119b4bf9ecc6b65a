import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import {
  addressOf,
  constantBehind,
  constantOf,
  DataType,
  indexGraphs,
  intOf,
  labelOf,
  opsetOf,
  placeOf,
  readModel,
  readsOf,
  SparseTensorProtoSchema,
  uniqueNames,
  usesBehind,
  usesOf,
  walkTensors,
} from '../../src/model/index.ts';
import { loadTensor } from '../support/load-tensor.ts';
import {
  bytesOf,
  constant,
  floats,
  graph,
  int64s,
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
  const index = indexGraphs(await readModel(saveModel(temp(), nested())));
  const scopes = [...index.scopes, ...index.functions];
  expect(scopes.map(({ path, kind }) => [path, kind])).toEqual([
    ['', 'main'],
    ['choose/then_branch', 'subgraph'],
    ['choose/else_branch', 'subgraph'],
    ['function local::F', 'function'],
  ]);
  expect(scopes.map((scope) => scope.opset())).toEqual([17, 17, 17, 13]);
  expect(scopes[1]!.opset('com.microsoft')).toBe(1);
  expect(scopes[3]!.opset('com.microsoft')).toBeUndefined();
});

test('a constant is found where it is captured, and a nearer one hides it', async () => {
  const [main, captures, shadows] = indexGraphs(await readModel(saveModel(temp(), nested()))).scopes;
  const valuesOf = (scope: typeof main) => [
    ...new Float32Array(Uint8Array.from(loadTensor(constantOf(scope!, 'W')!.ref!)).buffer),
  ];
  expect(valuesOf(captures)).toEqual([1, 2, 3, 4]);
  expect(constantOf(captures!, 'W')!.scope).toBe(main);
  expect(valuesOf(shadows)).toEqual([5, 6, 7, 8]);
  expect(constantOf(shadows!, 'W')!.node!.opType).toBe('Constant');
  expect(constantOf(captures!, 'x')).toBeUndefined();
  expect(constantOf(main!, 'a')).toBeUndefined();
});

test('uses count subgraphs that capture a value, and graph outputs', async () => {
  const [main, captures, shadows] = indexGraphs(await readModel(saveModel(temp(), nested()))).scopes;
  const places = (name: string, scope = main!) =>
    usesOf(scope, name).map((use) => [use.scope.path, use.node?.opType, use.index]);
  expect(places('W')).toEqual([['choose/then_branch', 'MatMul', 1]]);
  expect(places('W', shadows)).toEqual([['choose/else_branch', 'MatMul', 1]]);
  expect(places('x')).toHaveLength(2);
  expect(places('y')).toEqual([['', 'Gemm', 0]]);
  expect(places('z')).toEqual([['', undefined, 0]]);
  expect(places('a', captures)).toEqual([['choose/then_branch', undefined, 0]]);
  expect(main!.producers.get('y')!.name).toBe('choose');
});

test('an initializer that is an input may be overridden', async () => {
  const [main] = indexGraphs(await readModel(saveModel(temp(), nested()))).scopes;
  expect(constantOf(main!, 'V')!.overridable).toBe(true);
  expect(constantOf(main!, 'W')!.overridable).toBe(false);
  const old = nested();
  old.irVersion = 3n;
  const [before] = indexGraphs(await readModel(saveModel(temp(), old))).scopes;
  expect(constantOf(before!, 'V')!.overridable).toBe(false);
});

test('Constant nodes without a tensor have their bytes too', async () => {
  const [main] = indexGraphs(await readModel(saveModel(temp(), nested()))).scopes;
  const half = constantOf(main!, 'half')!;
  expect(half).toMatchObject({ tensor: undefined, ref: { dtype: DataType.FLOAT, dims: [], length: 4 } });
  expect(loadTensor(half.ref!)).toEqual(Buffer.from(bytesOf(Float32Array.of(0.5))));
  expect(constantOf(main!, 'list')!.ref).toMatchObject({ dtype: DataType.INT64, dims: [2], length: 16 });
});

test('attributes and operator sets have their defaults', async () => {
  const { proto } = await readModel(saveModel(temp(), nested()));
  const gemm = proto.graph!.node.find(({ opType }) => opType === 'Gemm')!;
  expect([intOf(gemm, 'transB', 0), intOf(gemm, 'transA', 0)]).toEqual([1, 0]);
  expect([opsetOf(proto), opsetOf(proto, 'ai.onnx'), opsetOf(proto, 'none')]).toEqual([17, 17, undefined]);
});

test('every weight of the speech model is found in its subgraphs', async () => {
  const model = await readModel(realModels.speech);
  const { scopes } = indexGraphs(model);
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

describe('what a constant is, for everybody who asks', () => {
  const sparse = create(SparseTensorProtoSchema, {
    values: floats('S', [2], [1, 2]),
    indices: int64s('', [2], [0, 3]),
    dims: [4n],
  });
  const proto = () => {
    const made = model(
      graph({
        nodes: [
          node('Constant', [], ['f'], { value_float: { float: 0.5 } }),
          node('Constant', [], ['fs'], { value_floats: { floats: [1, 2, 3] } }),
          node('Constant', [], ['none'], { value_floats: { floats: [] } }),
          node('Constant', [], ['i'], { value_int: 7 }),
          node('Constant', [], ['is'], { value_ints: { ints: [1, -1] } }),
          node('Constant', [], ['s'], { value_string: 'text' }),
          node('Constant', [], ['ss'], { value_strings: { strings: ['a', 'b'] } }),
          node('Constant', [], ['t'], { value: floats('inner', [2], [1, 2]) }, { domain: 'ai.onnx' }),
          node('Constant', [], ['foreign'], { value: floats('inner', [2], [1, 2]) }, { domain: 'other' }),
          node('Identity', ['x'], ['y']),
        ],
        inputs: [value('x', [4])],
        outputs: [value('y', [4])],
        initializers: [floats('W', [2], [1, 2])],
      }),
      { opset: 17 },
    );
    made.graph!.sparseInitializer = [sparse];
    return made;
  };

  test.each([
    ['f', DataType.FLOAT, [], bytesOf(Float32Array.of(0.5))],
    ['fs', DataType.FLOAT, [3], bytesOf(Float32Array.of(1, 2, 3))],
    ['none', DataType.FLOAT, [0], new Uint8Array()],
    ['i', DataType.INT64, [], bytesOf(BigInt64Array.of(7n))],
    ['is', DataType.INT64, [2], bytesOf(BigInt64Array.of(1n, -1n))],
    ['s', DataType.STRING, [], undefined],
    ['ss', DataType.STRING, [2], undefined],
    ['t', DataType.FLOAT, [2], bytesOf(Float32Array.of(1, 2))],
    ['W', DataType.FLOAT, [2], bytesOf(Float32Array.of(1, 2))],
    ['S', DataType.FLOAT, [4], undefined],
  ])('%s', async (name, dtype, dims, bytes) => {
    const { main } = indexGraphs(await readModel(saveModel(temp(), proto())));
    const found = constantOf(main, name)!;
    expect(found).toMatchObject({ name, dtype, dims });
    expect(found.ref && Buffer.from(loadTensor(found.ref))).toEqual(bytes && Buffer.from(bytes));
    const again = indexGraphs(await readModel(saveModel(temp(), proto())));
    expect(constantOf(again.main, name)!.holder).toEqual(found.holder);
  });

  test('a Constant of another domain, a fed value and an unknown name are none', async () => {
    const { main } = indexGraphs(await readModel(saveModel(temp(), proto())));
    for (const name of ['foreign', 'x', 'y', 'nowhere', '']) expect(constantOf(main, name)).toBeUndefined();
  });

  test('in a function, an attribute that the call gives is not known', () => {
    const given = node('Constant', [], ['c'], { value_float: { float: 0 } });
    given.attribute[0]!.refAttrName = 'alpha';
    const body = modelFunction({
      domain: 'local',
      name: 'F',
      inputs: ['i'],
      outputs: ['c'],
      nodes: [given],
      opset: 17,
    });
    const { functions } = indexGraphs({ proto: model(proto().graph!, { opset: 17, functions: [body] }) });
    expect(functions[0]!.path).toBe('function local::F');
    expect(constantOf(functions[0]!, 'c')).toBeUndefined();
    expect(usesOf(functions[0]!, 'c')).toHaveLength(1);
  });

  test('a list that stayed in the file is not looked into', async () => {
    const long = proto();
    long.graph!.node.unshift(node('Constant', [], ['long'], { value_ints: { ints: Array(70_000).fill(1) } }));
    const { main } = indexGraphs(await readModel(saveModel(temp(), long)));
    expect(constantOf(main, 'long')).toBeUndefined();
    expect(main.producers.get('long')!.opType).toBe('Constant');
  });

  test('of two with one name it is the last, as in ONNX Runtime', async () => {
    const twice = proto();
    twice.graph!.initializer.push(floats('W', [1], [9]), floats('t', [1], [8]));
    const { main } = indexGraphs(await readModel(saveModel(temp(), twice)));
    expect(constantOf(main, 'W')!.dims).toEqual([1]);
    expect(constantOf(main, 't')).toMatchObject({ node: undefined, dims: [1] });
  });
});

describe('looking through Identity', () => {
  /** W → a → b in the main graph; a branch passes `b` on as `c` and multiplies; the main graph gives `a` out. */
  function aliased() {
    const branch = graph({
      name: 'branch',
      nodes: [node('Identity', ['b'], ['c']), node('MatMul', ['x', 'c'], ['inside'])],
      outputs: [value('inside', [1, 2])],
    });
    return model(
      graph({
        nodes: [
          node('Identity', ['W'], ['a']),
          node('Identity', ['a'], ['b']),
          node('If', ['flag'], ['y'], { then_branch: branch, else_branch: branch }),
          node('Gemm', ['x', 'W'], ['z']),
          node('Identity', ['p'], ['q']),
          node('Identity', ['q'], ['p']),
        ],
        inputs: [value('x', [1, 2]), value('flag', [], DataType.BOOL)],
        outputs: [value('y', [1, 2]), value('z', [1, 2]), value('a', [2, 2])],
        initializers: [floats('W', [2, 2], [1, 2, 3, 4])],
      }),
      { opset: 17 },
    );
  }

  test('finds the constant through chains and from within subgraphs', async () => {
    const { main, scopes } = indexGraphs(await readModel(saveModel(temp(), aliased())));
    const W = constantOf(main, 'W');
    expect(constantBehind(main, 'W')).toBe(W);
    expect(constantBehind(main, 'b')).toBe(W);
    expect(constantBehind(scopes[1]!, 'c')).toBe(W);
    expect(constantBehind(main, 'x')).toBeUndefined();
    expect(constantBehind(main, 'p')).toBeUndefined();
    expect(constantOf(main, 'a')).toBeUndefined();
  });

  test('finds every reader, and the Identity itself is none', async () => {
    const { main } = indexGraphs(await readModel(saveModel(temp(), aliased())));
    const uses = usesBehind(main, 'W').map(({ scope, node, index }) => [scope.path, node?.opType, index]);
    expect(uses).toHaveLength(4);
    expect(uses).toEqual(
      expect.arrayContaining([
        ['', 'Gemm', 1],
        ['', undefined, 2],
        ['If → y/then_branch', 'MatMul', 1],
        ['If → y/else_branch', 'MatMul', 1],
      ]),
    );
    expect(usesBehind(main, 'p')).toEqual([]);
  });
});

test('names: of nodes for options and people, and new ones that differ from all', async () => {
  const index = indexGraphs(await readModel(saveModel(temp(), nested())));
  const [main, captures] = index.scopes;
  const [choose, half] = main!.graph.node;
  const inner = captures!.graph.node[0]!;
  expect([choose!, half!, inner].map(addressOf)).toEqual(['choose', 'half', 'a']);
  expect([choose!, half!, inner].map(labelOf)).toEqual(['choose', 'Constant → half', 'MatMul → a']);
  expect(placeOf({ node: inner, scope: captures! })).toBe('choose/then_branch/MatMul → a');
  expect(placeOf({ node: choose!, scope: main! })).toBe('choose');
  expect(readsOf(choose!)).toEqual(['flag', 'x', 'W', 'x']);
  expect([...index.names()]).toEqual(expect.arrayContaining(['x', 'a', 'choose', 'W', 'z', 'flag']));
  const unique = uniqueNames(index);
  expect(['W', 'W', 'new', 'new', 'W_1', 'W'].map(unique)).toEqual(['W_1', 'W_2', 'new', 'new_1', 'W_1_1', 'W_3']);
  expect(uniqueNames(index)('W')).toBe('W_1');
});

test('a chain of 50,000 Identity nodes is followed in linear time, a circle of them leads to nothing', () => {
  const count = 50_000;
  const nodes = Array.from({ length: count }, (_, i) => node('Identity', [i === 0 ? 'W' : `i${i - 1}`], [`i${i}`]));
  const circle = [node('Identity', ['b'], ['a']), node('Identity', ['a'], ['b'])];
  const main = graph({
    nodes: [...nodes, ...circle],
    inputs: [value('x', [1])],
    outputs: [value(`i${count - 1}`, [1])],
    initializers: [floats('W', [1], [1])],
  });
  const { main: scope } = indexGraphs({ proto: model(main) });
  // Without what is remembered of the chain this takes 1.25 billion steps.
  for (let i = 0; i < count; i++) expect(constantBehind(scope, `i${i}`)?.name === 'W').toBe(true);
  for (let i = count - 1; i >= 0; i--) expect(constantBehind(scope, `i${i}`)?.name === 'W').toBe(true);
  for (const name of ['a', 'b', 'a']) expect(constantBehind(scope, name)).toBeUndefined();
});
