import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/errors.ts';
import {
  assertNamesUnique,
  DataType,
  type GraphProto,
  indexGraphs,
  type Model,
  type NodeProto,
  readModel,
  readsOf,
  sorted,
  writeModel,
} from '../../src/model/index.ts';
import { constant, floats, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { realModels } from '../support/real-models.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

const sort = (read: Model) => sorted(read, indexGraphs(read));
const outputsOf = (nodes: readonly NodeProto[]) => nodes.map(({ output }) => output[0]);
const readGraph = (parts: GraphProto) => readModel(saveModel(temp(), model(parts)));

/** Whether every node stands behind what it and its subgraphs read. */
function isSorted({ node }: GraphProto): boolean {
  const producers = new Set(node.flatMap(({ output }) => output));
  const made = new Set<string>();
  return node.every((each) => {
    const fits = readsOf(each).every((name) => made.has(name) || !producers.has(name));
    for (const name of each.output) made.add(name);
    return fits;
  });
}

describe('sorting a graph', () => {
  test.each(Object.entries(realModels))('%s is sorted and stays the same object', async (_, file) => {
    const read = await readModel(file);
    expect(sort(read)).toBe(read);
  });

  test('only what must move moves', async () => {
    const read = await readGraph(
      graph({
        nodes: [
          node('Relu', ['x'], ['a']),
          node('Add', ['d', 'a'], ['b']),
          node('Relu', ['a'], ['c']),
          node('Relu', ['c'], ['d']),
          node('Relu', ['x'], ['e']),
        ],
        inputs: [value('x', [1])],
        outputs: [value('b', [1])],
      }),
    );
    const done = sort(read);
    expect(outputsOf(done.proto.graph!.node)).toEqual(['a', 'c', 'd', 'b', 'e']);
    expect(outputsOf(read.proto.graph!.node)).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(sort(done)).toBe(done);
  });

  test('what a subgraph captures comes first, and a name of its own is no capture', async () => {
    const branch = graph({
      nodes: [node('Add', ['inner', 'captured'], ['out']), node('Relu', ['x'], ['inner'])],
      outputs: [value('out', [1])],
    });
    const hides = graph({
      nodes: [constant(floats('late', [1], [1])), node('Relu', ['late'], ['out2'])],
      outputs: [value('out2', [1])],
    });
    const read = await readGraph(
      graph({
        nodes: [
          node('If', ['flag'], ['y'], { then_branch: branch, else_branch: hides }),
          node('Relu', ['x'], ['captured']),
          node('Relu', ['y'], ['late']),
        ],
        inputs: [value('x', [1]), value('flag', [], DataType.BOOL)],
        outputs: [value('late', [1])],
      }),
    );
    const { node: nodes } = sort(read).proto.graph!;
    expect(outputsOf(nodes)).toEqual(['captured', 'y', 'late']);
    expect(nodes[1]!.attribute.map(({ g }) => outputsOf(g!.node))).toEqual([
      ['inner', 'out'],
      ['late', 'out2'],
    ]);
  });

  test('what stayed in the file is still written after sorting', async () => {
    const long = node('Relu', ['b'], ['y'], { note: { ints: Array(70_000).fill(5) } });
    const read = await readGraph(
      graph({ nodes: [long, node('Relu', ['x'], ['b'])], inputs: [value('x', [1])], outputs: [value('y', [1])] }),
    );
    const output = path.join(temp(), 'out.onnx');
    await writeModel(sort(read), output);
    const again = await readModel(output);
    expect(again.size).toBe(read.size);
    expect(again.omitted.size).toBe(1);
  });

  test('a node that depends on itself is refused', async () => {
    const read = await readGraph(
      graph({
        nodes: [node('Relu', ['b'], ['a']), node('Relu', ['a'], ['b'], {}, { name: 'second' })],
        outputs: [value('a', [1])],
      }),
    );
    expect(() => sort(read)).toThrow(InputError);
    expect(() => sort(read)).toThrow(
      /has a cycle: node "Relu → a" depends on its own output; export the model again\.$/,
    );
  });

  test('any shuffled graph comes out sorted, with the same nodes; deep chains take no stack', () => {
    const chain = Array.from({ length: 50_000 }, (_, i) => node('Relu', [`v${i}`], [`v${i + 1}`])).reverse();
    const deep = { proto: model(graph({ nodes: chain, outputs: [value('v50000', [1])] })) };
    const made = sorted({ ...deep, omitted: new Map() } as unknown as Model, indexGraphs(deep));
    expect(isSorted(made.proto.graph!)).toBe(true);
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.nat(), { maxLength: 3 }), { maxLength: 30 }),
        fc.infiniteStream(fc.nat()),
        (reads, random) => {
          const nodes = reads.map((from, i) =>
            node(
              'Op',
              from.map((each) => (i === 0 ? 'x' : `v${each % i}`)),
              [`v${i}`],
            ),
          );
          const shuffled = nodes
            .map((each) => [random.next().value, each] as const)
            .sort(([a], [b]) => a - b)
            .map(([, each]) => each);
          const proto = model(graph({ nodes: shuffled, inputs: [value('x', [1])], outputs: [] }));
          const result = sorted({ proto, omitted: new Map() } as unknown as Model, indexGraphs({ proto })).proto.graph!;
          expect(isSorted(result)).toBe(true);
          expect(new Set(result.node)).toEqual(new Set(shuffled));
          expect(result.node).toHaveLength(shuffled.length);
        },
      ),
    );
  });
});

describe('one name for two values is refused', () => {
  const W = () => floats('W', [1], [1]);
  const check = async (parts: GraphProto) => {
    const read = await readGraph(parts);
    assertNamesUnique(read.path, indexGraphs(read));
  };
  const base = { inputs: [value('x', [1])], outputs: [value('y', [1])] };
  const add = node('Add', ['x', 'W'], ['y']);

  test.each([
    ['two initializers', graph({ ...base, nodes: [add], initializers: [W(), floats('V', [1], [1]), W()] })],
    ['an initializer and a node output', graph({ ...base, nodes: [constant(W()), add], initializers: [W()] })],
  ])('%s', async (what, parts) => {
    await expect(check(parts)).rejects.toThrow(InputError);
    await expect(check(parts)).rejects.toThrow(`has ${what} called "W", and no two tools agree`);
  });

  test('in a subgraph too, but not across graphs', async () => {
    const branch = (initializers: ReturnType<typeof W>[]) =>
      graph({ nodes: [node('Add', ['x', 'W'], ['out'])], outputs: [value('out', [1])], initializers });
    const outer = (inner: GraphProto) =>
      graph({
        ...base,
        nodes: [node('If', ['flag'], ['y'], { then_branch: inner, else_branch: branch([W()]) })],
        initializers: [W()],
      });
    await expect(check(outer(branch([W(), W()])))).rejects.toThrow('two initializers called "W"');
    await expect(check(outer(branch([W()])))).resolves.toBeUndefined();
  });
});
