import { type Model, makeNode, operatorKey, tapped, withGraph } from '../../../../model/index.ts';
import type { Samples, Session } from '../../../../runtime/index.ts';
import type { ProductError } from '../measurements.ts';
import { type Emulated, Emulation } from './emulation.ts';
import { grouped, written } from './observe.ts';

/** What 8 bits do to one product that is fed the FLOAT model's own values, over all samples. */
interface Sums {
  /** Σ y² and Σ (y′ − y)² of its output y, with input and weight on their grids. */
  signal: number;
  noise: number;
  /** Mean of y′ − y by output channel, a row for each sample. Empty where it is no convolution. */
  means: Float32Array[];
}

export interface ProbeOptions {
  samples: Samples;
  folder: string;
  openSession: (model: string) => Promise<Session>;
  progress?: ((done: number, total: number) => void) | undefined;
}

/**
 * Measures the error that each product makes by itself: beside it stands one with its weight and input as they will be,
 * which reads the same FLOAT values; their difference is reduced in the graph, so that a few numbers come back. One run
 * for each sample, and for each group of weights that are held beside those of the model.
 */
export async function probe(
  model: Model,
  products: readonly Emulated[],
  { samples, folder, openSession, progress }: ProbeOptions,
): Promise<Map<Emulated, ProductError>> {
  const sums = new Map<Emulated, Sums>();
  const groups = heldTogether(products);
  let done = 0;
  for (const group of groups) {
    const probed = probedModel(model, group);
    const session = await openSession(await written(probed.model, folder, 'probed'));
    try {
      const taps = probed.outputs.map((name) => ({ name, values: true }));
      for (let i = 0; i < samples.length; i += 1) {
        const { observed } = await session.observe(await samples.get(i), taps);
        const found = new Map(observed.map(({ name, values }) => [name, values!]));
        for (const each of group) {
          const { node, product } = each;
          const [output] = node.output as [string];
          const sum = sums.get(each) ?? { signal: 0, noise: 0, means: [] };
          sum.signal += found.get(`${output}::signal`)![0]!;
          sum.noise += found.get(`${output}::noise`)![0]!;
          const means = found.get(`${output}::mean`);
          if (means) sum.means.push(...rowsOf(means, product.scales.length));
          sums.set(each, sum);
        }
        done += 1;
        progress?.(done, groups.length * samples.length);
      }
    } finally {
      await session.close();
    }
  }
  return new Map(
    [...sums].map(([each, sum]) => [each, { decibels: decibelsOf(sum), correction: correctionOf(sum.means) }]),
  );
}

/** Weights beyond this are not emulated. Bytes of int8. */
const LARGEST_WEIGHT = 16 * 2 ** 20;
/** Weights of one session together, bytes of int8: they are held beside those of the model. */
const HELD_BYTES = 32 * 2 ** 20;

/** Products in groups whose weights may be held at a time; those of too large weights are left out. */
export function heldTogether<Each extends Emulated>(products: readonly Each[]): Each[][] {
  const bytesOf = ({ product }: Emulated) => product.weight.ref!.length / 4;
  return grouped(
    products.filter((each) => bytesOf(each) <= LARGEST_WEIGHT),
    bytesOf,
    HELD_BYTES,
  );
}

/** How far a product's output is above its error, dB; as far as can be where there is none. */
function decibelsOf({ signal, noise }: Sums): number {
  const decibels = 10 * Math.log10(signal / noise);
  return Number.isNaN(decibels) ? FARTHEST : Math.min(FARTHEST, Math.max(-FARTHEST, decibels));
}

const FARTHEST = 999;

/** What is added to the bias of a convolution so that its mean error vanishes, where that holds beyond the samples. */
function correctionOf(means: readonly Float32Array[]): Float64Array | undefined {
  if (means.length === 0) return undefined;
  const halves = [0, 1].map((half) => means.filter((_, index) => index % 2 === half));
  if (means.length > 1 && !halves.every((half, index) => helps(meanOf(half), halves[1 - index]!))) return undefined;
  const correction = meanOf(means).map((value) => -value);
  return correction.every(Number.isFinite) ? correction : undefined;
}

/** Whether taking `expected` off makes the mean errors of other samples smaller. */
function helps(expected: Float64Array, others: readonly Float32Array[]): boolean {
  let [before, after] = [0, 0];
  for (const means of others) {
    for (const [channel, mean] of means.entries()) {
      before += mean ** 2;
      after += (mean - expected[channel]!) ** 2;
    }
  }
  return after < before;
}

function meanOf(rows: readonly Float32Array[]): Float64Array {
  const sums = new Float64Array(rows[0]!.length);
  for (const row of rows) for (const [index, value] of row.entries()) sums[index]! += value / rows.length;
  return sums;
}

/** One row for each image of a batch. */
function rowsOf(values: ArrayLike<number>, channels: number): Float32Array[] {
  const all = Float32Array.from(values);
  return Array.from({ length: all.length / channels }, (_, row) => all.subarray(row * channels, (row + 1) * channels));
}

/** The FLOAT graph with probes beside its products. */
function probedModel(model: Model, probed: readonly Emulated[]): { model: Model; outputs: string[] } {
  const emulation = new Emulation();
  const onGrid = new Map<string, string>();
  const outputs: string[] = [];
  for (const { node, product, grid } of probed) {
    const [x] = node.input as [string];
    const [output] = node.output as [string];
    const own = (part: string) => `${output}::${part}`;
    // Products that read the same value read it from the same grid.
    const input = grid ? (onGrid.get(x) ?? emulation.through(x, grid, x)) : x;
    if (grid) onGrid.set(x, input);
    const weight = emulation.weight(product, output);
    const reduced = (part: string, value: string) => makeNode('ReduceSumSquare', [value], [own(part)]);
    emulation.nodes.push(
      makeNode(node.opType, [input, weight, ...node.input.slice(2)], [own('product')], { attributes: node.attribute }),
      makeNode('Sub', [own('product'), output], [own('error')]),
      reduced('signal', output),
      reduced('noise', own('error')),
    );
    outputs.push(own('signal'), own('noise'));
    if (operatorKey(node) !== 'Conv') continue;
    emulation.nodes.push(makeNode('GlobalAveragePool', [own('error')], [own('mean')]));
    outputs.push(own('mean'));
  }
  const initializer = [...model.proto.graph!.initializer, ...emulation.initializers];
  return { model: tapped(withGraph(model, { initializer }), outputs, emulation.nodes), outputs };
}
