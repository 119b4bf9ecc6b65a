import { create } from '@bufbuild/protobuf';
import {
  DataType,
  floatTensor,
  intAttribute,
  type Model,
  makeNode,
  makeTensor,
  type NodeProto,
  type TensorProto,
  ValueInfoProtoSchema,
  withGraph,
} from '../../../../model/index.ts';
import type { Feeds, Observed } from '../../../../runtime/index.ts';
import { readFloats } from '../../../fold/mutable-graph.ts';
import type { Grid } from '../grids.ts';
import { written } from './observe.ts';
import { type Probed, type ProbeOptions, quantizeWeight, zeroPointTensor } from './probe.ts';

/** A product with the grid of its output and its bias as it will be. */
export interface Switched extends Probed {
  output: Grid;
  bias: Float32Array | undefined;
}

/** Samples that are enough to tell a harmful layer from a harmless one. */
const SAMPLES = 4;
/** Outputs are compared here: those of more bytes together are not asked for. */
const LARGEST_OUTPUTS = 64 * 2 ** 20;

/**
 * The error that each product in 8 bits makes in the model's outputs, relative to them: the larger one of all elements
 * together and of the mean channel (axis 1). A model in which each can be switched is run once for each and for few samples.
 * Empty where the outputs are too large to be compared.
 */
export async function sensitivities(
  model: Model,
  switched: readonly Switched[],
  { samples, folder, openSession, progress }: ProbeOptions,
): Promise<Map<NodeProto, number>> {
  const found = new Map<NodeProto, number>();
  if (switched.length < 2) return found;
  const session = await openSession(await written(switchable(model, switched), folder, 'switchable'));
  try {
    const outputs = session.load.outputs.filter(({ dtype }) => dtype === 'float32');
    const taps = outputs.map(({ name }) => ({ name, values: true }));
    const count = Math.min(SAMPLES, samples.length);
    for (let i = 0; i < count; i += 1) {
      const feeds = await samples.get(Math.floor((i * samples.length) / count));
      const run = async (on: NodeProto | undefined) =>
        (await session.observe({ ...feeds, ...flags(switched, on) }, taps)).observed;
      const reference = await run(undefined);
      const bytes = reference.reduce((sum, { values }) => sum + (values?.byteLength ?? 0), 0);
      if (bytes > LARGEST_OUTPUTS) return new Map();
      for (const [index, { node }] of switched.entries()) {
        const observed = await run(node);
        const error = Math.max(0, ...observed.map((each, at) => errorOf(reference[at]!, each)));
        found.set(node, (found.get(node) ?? 0) + error / count);
        progress?.(i * switched.length + index + 1, count * switched.length);
      }
    }
  } finally {
    await session.close();
  }
  return found;
}

function flags(switched: readonly Switched[], on: NodeProto | undefined): Feeds {
  return Object.fromEntries(
    switched.map(({ node }) => [
      flagOf(node),
      { dtype: 'bool' as const, dims: [], data: Uint8Array.of(node === on ? 1 : 0) },
    ]),
  );
}

const flagOf = (node: NodeProto) => `${node.output[0]}::on`;

/** The model in which a flag for each product says whether its output is that of 8 bits. */
function switchable(model: Model, switched: readonly Switched[]): Model {
  const graph = model.proto.graph!;
  const byNode = new Map(switched.map((each) => [each.node, each]));
  const initializers: TensorProto[] = [];
  const node = graph.node.flatMap((each) => {
    const own = byNode.get(each);
    return own ? switchOf(own, initializers) : [each];
  });
  const input = switched.map((each) => {
    const tensorType = { elemType: DataType.BOOL, shape: { dim: [] } };
    return create(ValueInfoProtoSchema, {
      name: flagOf(each.node),
      type: { value: { case: 'tensorType', value: tensorType } },
    });
  });
  return withGraph(model, {
    node,
    input: [...graph.input, ...input],
    initializer: [...graph.initializer, ...initializers],
  });
}

function switchOf({ node, product, grid, output, bias }: Switched, initializers: TensorProto[]): NodeProto[] {
  const [name] = node.output as [string];
  const own = (part: string) => `${name}::${part}`;
  const { weight, axis, scales } = product;
  const levels = quantizeWeight(readFloats(weight.ref!), weight.dims, axis, scales);
  initializers.push(
    makeTensor(own('weight'), DataType.INT8, weight.dims, new Uint8Array(levels.buffer)),
    floatTensor(own('scale'), [...scales]),
  );
  const [x] = node.input as [string];
  const nodes: NodeProto[] = [];
  const through = (value: string, on: Grid, part: string): string => {
    const [scale, zeroPoint] = [own(`${part}-scale`), own(`${part}-zero-point`)];
    initializers.push(floatTensor(scale, [on.scale], []), zeroPointTensor(zeroPoint, on));
    nodes.push(
      makeNode('QuantizeLinear', [value, scale, zeroPoint], [own(`${part}-levels`)]),
      makeNode('DequantizeLinear', [own(`${part}-levels`), scale, zeroPoint], [own(`${part}-float`)]),
    );
    return own(`${part}-float`);
  };
  const input = grid ? through(x, grid, 'input') : x;
  const inputs = [input, own('weight-float')];
  if (bias) {
    initializers.push(floatTensor(own('bias'), [...bias]));
    inputs.push(own('bias'));
  }
  nodes.push(
    makeNode('DequantizeLinear', [own('weight'), own('scale')], [own('weight-float')], {
      attributes: [intAttribute('axis', axis)],
    }),
    makeNode(node.opType, inputs, [own('product')], { attributes: node.attribute }),
  );
  const result = through(own('product'), output, 'output');
  nodes.push(
    makeNode(node.opType, node.input, [own('float')], { attributes: node.attribute }),
    makeNode('Where', [flagOf(node), result, own('float')], [name]),
  );
  return nodes;
}

/** Σ (x − y)² ÷ Σ x², of all elements or of the mean channel, whichever is more; a channel counts 1 at most. */
function errorOf({ values: x, dims }: Observed, { values: y }: Observed): number {
  if (!x || !y || x.length !== y.length) return 0;
  const channels = dims.length > 1 ? dims[1]! : 1;
  const inner = dims.slice(2).reduce((product, size) => product * size, 1);
  const signal = new Float64Array(channels);
  const noise = new Float64Array(channels);
  for (let at = 0; at < x.length; at += 1) {
    const channel = Math.floor(at / inner) % channels;
    signal[channel]! += x[at]! ** 2;
    noise[channel]! += (x[at]! - y[at]!) ** 2;
  }
  const sum = (values: Float64Array) => values.reduce((total, value) => total + value, 0);
  const most = Math.max(...signal);
  if (most === 0) return 0;
  let [counted, total] = [0, 0];
  for (let channel = 0; channel < channels; channel += 1) {
    if (signal[channel]! < 1e-12 * most) continue;
    counted += 1;
    total += Math.min(1, noise[channel]! / signal[channel]!);
  }
  return Math.max(sum(noise) / sum(signal), total / counted);
}
