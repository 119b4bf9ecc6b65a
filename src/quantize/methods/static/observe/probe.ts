import {
  DataType,
  floatTensor,
  intAttribute,
  type Model,
  makeNode,
  makeTensor,
  type NodeProto,
  operatorKey,
  type TensorProto,
  tapped,
  withGraph,
} from '../../../../model/index.ts';
import { roundHalfEven } from '../../../../round.ts';
import type { Samples, Session } from '../../../../runtime/index.ts';
import { readFloats } from '../../../fold/mutable-graph.ts';
import { type Grid, LEVELS } from '../grids.ts';
import type { Product } from '../weights.ts';
import { written } from './observe.ts';

/** What 8 bits do to one product that is fed the FLOAT model's own values, over all samples. */
export interface LayerError {
  /** Σ y² and Σ (y′ − y)² of its output y: input and weight on their grids; and the output on its grid as well. */
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

/** Weights beyond this are not probed: it takes them in the graph. Bytes of int8. */
const LARGEST_WEIGHT = 16 * 2 ** 20;

/** A product to be probed: its weight on its levels, and the grid of its input, if that is on one. */
export interface Probed {
  node: NodeProto;
  product: Product;
  grid: Grid | undefined;
}

/**
 * Measures the error that each product makes by itself: beside it stands one with its weight and input as they will be,
 * which reads the same FLOAT values; their difference is reduced in the graph, so that a few numbers come back. One run
 * for each sample.
 */
export async function probe(
  model: Model,
  probed: readonly Probed[],
  { samples, folder, openSession, progress }: ProbeOptions,
): Promise<Map<NodeProto, LayerError>> {
  const errors = new Map<NodeProto, LayerError>();
  const small = probed.filter(({ product }) => product.weight.ref!.length / 4 <= LARGEST_WEIGHT);
  if (small.length === 0) return errors;
  const probes = new Probes();
  for (const each of small) probes.add(each);
  const session = await openSession(await written(probes.model(model), folder, 'probed'));
  try {
    const taps = probes.outputs.map((name) => ({ name, values: true }));
    for (let i = 0; i < samples.length; i += 1) {
      const { observed } = await session.observe(await samples.get(i), taps);
      const found = new Map(observed.map(({ name, values }) => [name, values!]));
      for (const { node, product } of small) {
        const [output] = node.output as [string];
        const error = errors.get(node) ?? { signal: 0, noise: 0, means: [] };
        error.signal += found.get(`${output}::signal`)![0]!;
        error.noise += found.get(`${output}::noise`)![0]!;
        const means = found.get(`${output}::mean`);
        if (means) error.means.push(...rowsOf(means, product.scales.length));
        errors.set(node, error);
      }
      progress?.(i + 1, samples.length);
    }
  } finally {
    await session.close();
  }
  return errors;
}

/** How far a product's output is above the error of its weight and input, dB. */
export function decibelsOf({ signal, noise }: LayerError): number {
  return 10 * Math.log10(signal / noise);
}

/** What is added to the biases of convolutions so that their mean error vanishes, where that holds beyond the samples. */
export function correctionsOf(errors: ReadonlyMap<NodeProto, LayerError>): Map<NodeProto, Float64Array> {
  const corrections = new Map<NodeProto, Float64Array>();
  for (const [node, { means }] of errors) {
    if (means.length === 0) continue;
    const halves = [0, 1].map((half) => means.filter((_, index) => index % 2 === half));
    if (means.length > 1 && !halves.every((half, index) => helps(meanOf(half), halves[1 - index]!))) continue;
    corrections.set(
      node,
      meanOf(means).map((value) => -value),
    );
  }
  return corrections;
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
class Probes {
  readonly outputs: string[] = [];
  readonly #nodes: NodeProto[] = [];
  readonly #initializers: TensorProto[] = [];
  readonly #onGrid = new Map<string, string>();

  add({ node, product: { weight, axis, scales }, grid }: Probed): void {
    const [output] = node.output as [string];
    const own = (part: string) => `${output}::${part}`;
    const levels = quantizeWeight(readFloats(weight.ref!), weight.dims, axis, scales);
    this.#initializers.push(
      makeTensor(own('weight'), DataType.INT8, weight.dims, new Uint8Array(levels.buffer)),
      floatTensor(own('scale'), [...scales]),
    );
    const input = grid ? this.#through(node.input[0]!, grid) : node.input[0]!;
    const copy = makeNode(node.opType, [input, own('weight-float'), ...node.input.slice(2)], [own('product')], {
      attributes: node.attribute,
    });
    const reduced = (part: string, value: string) => makeNode('ReduceSumSquare', [value], [own(part)]);
    this.#nodes.push(
      makeNode('DequantizeLinear', [own('weight'), own('scale')], [own('weight-float')], {
        attributes: [intAttribute('axis', axis)],
      }),
      copy,
      makeNode('Sub', [own('product'), output], [own('error')]),
      reduced('signal', output),
      reduced('noise', own('error')),
    );
    this.outputs.push(own('signal'), own('noise'));
    if (operatorKey(node) !== 'Conv') return;
    this.#nodes.push(makeNode('GlobalAveragePool', [own('error')], [own('mean')]));
    this.outputs.push(own('mean'));
  }

  /** The model with the probes that were added. */
  model(model: Model): Model {
    const { initializer } = model.proto.graph!;
    const extended = withGraph(model, { initializer: [...initializer, ...this.#initializers] });
    return tapped(extended, this.outputs, this.#nodes);
  }

  /** A value after it went through its grid. */
  #through(name: string, grid: Grid): string {
    const known = this.#onGrid.get(name);
    if (known) return known;
    const [levels, float, scale, zeroPoint] = ['levels', 'on-grid', 'grid-scale', 'grid-zero-point'].map(
      (part) => `${name}::${part}`,
    ) as [string, string, string, string];
    this.#initializers.push(floatTensor(scale, [grid.scale], []), zeroPointTensor(zeroPoint, grid));
    this.#nodes.push(
      makeNode('QuantizeLinear', [name, scale, zeroPoint], [levels]),
      makeNode('DequantizeLinear', [levels, scale, zeroPoint], [float]),
    );
    this.#onGrid.set(name, float);
    return float;
  }
}

/** The zero point of a grid as a scalar. */
export function zeroPointTensor(name: string, { type, zeroPoint }: Grid): TensorProto {
  return makeTensor(name, type === 'uint8' ? DataType.UINT8 : DataType.INT8, [], Uint8Array.of(zeroPoint & 0xff));
}

/** A weight as int8 levels around zero. */
export function quantizeWeight(
  values: Float32Array,
  dims: readonly number[],
  axis: number,
  scales: Float32Array,
): Int8Array {
  const inner = dims.slice(axis + 1).reduce((product, size) => product * size, 1);
  const [low, high] = LEVELS.int8;
  return Int8Array.from(values, (value, at) => {
    const level = roundHalfEven(Math.fround(value / scales[Math.floor(at / inner) % scales.length]!));
    return Math.min(high, Math.max(low, level));
  });
}
