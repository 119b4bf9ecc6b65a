import { create } from '@bufbuild/protobuf';
import {
  DataType,
  floatTensor,
  type Model,
  makeNode,
  type NodeProto,
  ValueInfoProtoSchema,
  withGraph,
} from '../../../../model/index.ts';
import type { Feeds, Observed } from '../../../../runtime/index.ts';
import type { Grid } from '../grids.ts';
import { type Emulated, Emulation } from './emulation.ts';
import { written } from './observe.ts';
import { heldTogether, type ProbeOptions } from './probe.ts';

/** A product with the grid of its output and its bias as it will be. */
export interface Switched extends Emulated {
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
  products: readonly Switched[],
  { samples, folder, openSession, progress }: ProbeOptions,
): Promise<Map<Switched, number>> {
  const found = new Map<Switched, Spread[]>();
  const groups = heldTogether(products);
  const count = Math.min(SAMPLES, samples.length);
  const total = count * groups.reduce((sum, { length }) => sum + length, 0);
  let done = 0;
  for (const group of groups) {
    const session = await openSession(await written(switchable(model, group), folder, 'switchable'));
    try {
      const outputs = session.load.outputs.filter(({ dtype }) => dtype === 'float32');
      const taps = outputs.map(({ name }) => ({ name, values: true }));
      for (let i = 0; i < count; i += 1) {
        const feeds = await samples.get(Math.floor((i * samples.length) / count));
        const run = async (on: NodeProto | undefined) =>
          (await session.observe({ ...feeds, ...flags(group, on) }, taps)).observed;
        const reference = await run(undefined);
        const bytes = reference.reduce((sum, { values }) => sum + (values?.byteLength ?? 0), 0);
        if (bytes > LARGEST_OUTPUTS) return new Map();
        for (const each of group) {
          const observed = await run(each.node);
          const spreads = found.get(each) ?? observed.map(() => ({ signal: [], noise: [] }));
          found.set(each, spreads);
          for (const [at, output] of observed.entries()) gather(spreads[at]!, reference[at]!, output);
          done += 1;
          progress?.(done, total);
        }
      }
    } finally {
      await session.close();
    }
  }
  return new Map([...found].map(([each, spreads]) => [each, Math.max(0, ...spreads.map(errorOf))]));
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
  const switches = new Map(switched.map((each) => [each.node, switchOf(each)]));
  const flagged = [...switches.keys()].map((node) => {
    const tensorType = { elemType: DataType.BOOL, shape: { dim: [] } };
    return create(ValueInfoProtoSchema, {
      name: flagOf(node),
      type: { value: { case: 'tensorType', value: tensorType } },
    });
  });
  return withGraph(model, {
    node: graph.node.flatMap((node) => switches.get(node)?.nodes ?? [node]),
    input: [...graph.input, ...flagged],
    initializer: [...graph.initializer, ...[...switches.values()].flatMap(({ initializers }) => initializers)],
  });
}

/** What takes the place of a product: itself, itself in 8 bits, and the choice between them. */
function switchOf({ node, product, grid, output, bias }: Switched): Emulation {
  const [name] = node.output as [string];
  const own = (part: string) => `${name}::${part}`;
  const emulation = new Emulation();
  const x = grid ? emulation.through(node.input[0]!, grid, own('input')) : node.input[0]!;
  const inputs = [x, emulation.weight(product, name)];
  if (bias) {
    emulation.initializers.push(floatTensor(own('bias'), [...bias]));
    inputs.push(own('bias'));
  }
  emulation.nodes.push(makeNode(node.opType, inputs, [own('product')], { attributes: node.attribute }));
  const result = emulation.through(own('product'), output, own('output'));
  emulation.nodes.push(
    makeNode(node.opType, node.input, [own('float')], { attributes: node.attribute }),
    makeNode('Where', [flagOf(node), result, own('float')], [name]),
  );
  return emulation;
}

/** Σ x² and Σ (x − y)² of an output by channel, over all samples: one that is all but empty tells little of the others. */
interface Spread {
  signal: number[];
  noise: number[];
}

function gather({ signal, noise }: Spread, { values: x, dims }: Observed, { values: y }: Observed): void {
  if (!x || !y || x.length !== y.length) return;
  const channels = dims.length > 1 ? dims[1]! : 1;
  const inner = dims.slice(2).reduce((product, size) => product * size, 1);
  for (let start = 0, row = 0; start < x.length; start += inner, row += 1) {
    let [square, difference] = [0, 0];
    for (let at = start; at < start + inner; at += 1) {
      square += x[at]! ** 2;
      difference += (x[at]! - y[at]!) ** 2;
    }
    const channel = row % channels;
    signal[channel] = (signal[channel] ?? 0) + square;
    // What became NaN is lost whole.
    noise[channel] = (noise[channel] ?? 0) + (Number.isNaN(difference) ? square : difference);
  }
}

/** Σ (x − y)² ÷ Σ x², of all elements or of the mean channel, whichever is more; a channel counts 1 at most. */
function errorOf({ signal, noise }: Spread): number {
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const most = signal.reduce((greatest, value) => Math.max(greatest, value), 0);
  if (!(most > 0)) return 0;
  let [counted, total] = [0, 0];
  for (const [channel, square] of signal.entries()) {
    if (square < 1e-12 * most) continue;
    counted += 1;
    total += Math.min(1, noise[channel]! / square);
  }
  return Math.max(sum(noise) / sum(signal), total / counted);
}
