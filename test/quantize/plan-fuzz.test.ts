import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { clone, fromBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { InputError } from '../../src/errors.ts';
import {
  AttributeType,
  type GraphProto,
  type ModelProto,
  ModelProtoSchema,
  readModel,
  subgraphsOf,
} from '../../src/model/index.ts';
import { plan } from '../../src/quantize/index.ts';
import { saveModel } from '../support/onnx-builder.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const folder = path.join(import.meta.dirname, 'golden', 'models');
const models = readdirSync(folder).map((name) => fromBinary(ModelProtoSchema, readFileSync(path.join(folder, name))));
const OP_TYPES =
  'Attention Cast Concat Conv ConvTranspose Gather Gemm GRU Identity If LSTM MatMul Slice Transpose'.split(' ');

function* graphsOf(graph: GraphProto): Generator<GraphProto> {
  yield graph;
  for (const node of graph.node) for (const inner of subgraphsOf(node)) yield* graphsOf(inner.graph);
}

/** One way to break a model that still is one to protobuf. `a` and `b` choose where. */
const MUTATIONS: ((graph: GraphProto, a: number, b: number) => void)[] = [
  (graph, a, b) => at(graph.node, a)?.input.splice(b % 4, 1),
  (graph, a, b) => at(graph.node, a)?.output.splice(b % 3, 1),
  (graph, a) => at(graph.node, a)?.input.splice(0),
  (graph, a, b) => at(graph.node, a)?.attribute.splice(b % 3, 1),
  (graph, a, b) => {
    const node = at(graph.node, a);
    if (node) node.opType = at(OP_TYPES, b)!;
  },
  (graph, a, b) => {
    const node = at(graph.node, a);
    const name = at(graph.node, b)?.output[0] ?? '';
    if (node && node.input.length > 0) node.input[b % node.input.length] = name;
  },
  (graph, a, b) => {
    const node = at(graph.node, a);
    const tensor = at(graph.initializer, b);
    if (node && tensor) node.input[b % (node.input.length + 1)] = tensor.name;
  },
  (graph, a) => {
    const node = at(graph.node, a);
    if (node) node.domain = node.domain ? '' : 'com.microsoft';
  },
  (graph, a) => graph.initializer.splice(a % (graph.initializer.length + 1), 1),
  (graph, a) => {
    // The same bytes in another shape.
    const tensor = at(graph.initializer, a);
    if (tensor) tensor.dims = [tensor.dims.reduce((x, y) => x * y, 1n)];
  },
  (graph, a) => {
    const tensor = at(graph.initializer, a);
    if (tensor) tensor.dims = [1n, 1n, ...tensor.dims, 1n];
  },
  (graph, a) => {
    const tensor = at(graph.initializer, a);
    if (tensor) Object.assign(tensor, { dims: [0n], rawData: new Uint8Array() });
  },
  (graph, a, b) => {
    const from = at(graph.node, a);
    if (from) graph.node.splice(b % graph.node.length, 0, from);
  },
  (graph, a) => graph.output.splice(a % (graph.output.length + 1), 1),
  (graph, a, b) => {
    const tensor = at(graph.initializer, a);
    const output = at(graph.output, b);
    if (tensor && output) output.name = tensor.name;
  },
  (graph, a, b) => {
    const attribute = at(at(graph.node, a)?.attribute ?? [], b);
    if (attribute) attribute.type = b % 2 ? AttributeType.INT : AttributeType.GRAPH;
  },
];

function at<T>(list: readonly T[], index: number): T | undefined {
  return list[index % Math.max(1, list.length)];
}

function mutated(model: ModelProto, steps: readonly (readonly [number, number, number, number])[]): ModelProto {
  const copy = clone(ModelProtoSchema, model);
  for (const [kind, where, a, b] of steps) {
    const graphs = [...graphsOf(copy.graph!)];
    MUTATIONS[kind % MUTATIONS.length]!(at(graphs, where)!, a, b);
  }
  return copy;
}

it('plans any model that can be read, or says in one sentence why not', async () => {
  const directory = temp();
  const number = fc.nat(1000);
  const step = fc.tuple(number, number, number, number);
  await fc.assert(
    fc.asyncProperty(
      fc.nat(models.length - 1),
      fc.array(step, { minLength: 1, maxLength: 4 }),
      fc.constantFrom('dynamic', 'weight-only', 'fp16'),
      fc.boolean(),
      async (which, steps, method, named) => {
        const opTypes =
          named && method === 'dynamic' ? ['Conv', 'MatMul', 'Gemm', 'Gather', 'LSTM', 'Attention', 'Transpose'] : [];
        try {
          plan(await readModel(saveModel(directory, mutated(models[which]!, steps))), { method, opTypes });
        } catch (error) {
          expect(error).toBeInstanceOf(InputError);
          expect((error as InputError).message).toMatch(/^[^\n]+\.$/);
        }
      },
    ),
    { numRuns: Number(process.env.FUZZ_RUNS ?? 2500), seed: Number(process.env.FUZZ_SEED ?? 42) },
  );
});
