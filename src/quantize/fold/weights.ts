import { closeSync, fstatSync, openSync, writeSync } from 'node:fs';
import {
  DataLocation,
  DataType,
  floatTensor,
  intOf,
  makeTensor,
  type NodeProto,
  operatorKey,
  type TensorRef,
} from '../../model/index.ts';
import { type MutableGraph, readFloats } from './mutable-graph.ts';

/**
 * What is to become of a convolution: y = outScale × (conv(inScale × x + inShift) + bias) + outShift, by channel.
 * Kept in float64 until all is known, so that each weight is rounded once.
 */
export interface Convolution {
  /** Channels of its input and output, and axes of both. */
  inputs: number;
  outputs: number;
  rank: number;
  inScale: Float64Array;
  inShift: Float64Array;
  outScale: Float64Array;
  outShift: Float64Array;
}

/** The convolutions of a graph whose weights change. */
export class Weights {
  readonly #known = new Map<NodeProto, Convolution | undefined>();
  readonly #changed = new Set<NodeProto>();

  /** Undefined where a node is no convolution with a weight and bias of its own to change. */
  of(graph: MutableGraph, node: NodeProto): Convolution | undefined {
    if (!this.#known.has(node)) this.#known.set(node, describe(graph, node));
    return this.#known.get(node);
  }

  change(node: NodeProto): void {
    this.#changed.add(node);
  }

  get size(): number {
    return this.#changed.size;
  }

  /**
   * Computes the changed weights, one tensor at a time, and appends them to a file that they are streamed from later.
   * Takes the memory of the largest of them twice.
   */
  write(graph: MutableGraph, file: string): void {
    const changed = [...this.#changed].filter((node) => graph.has(node));
    if (changed.length === 0) return;
    const descriptor = openSync(file, 'a');
    try {
      for (const node of changed) this.#writeOne(graph, node, this.#known.get(node)!, { descriptor, file });
    } finally {
      closeSync(descriptor);
    }
  }

  #writeOne(
    graph: MutableGraph,
    node: NodeProto,
    convolution: Convolution,
    { descriptor, file }: { descriptor: number; file: string },
  ): void {
    const { outputs, inScale, inShift, outScale, outShift } = convolution;
    const [x, weight, biasName] = node.input as [string, string, string | undefined];
    const { ref } = graph.constant(weight)!;
    const values = readFloats(ref);
    const bias = biasName ? graph.floats(biasName)!.values : new Float32Array(outputs);
    const sums = new Float64Array(outputs);
    const transposed = operatorKey(node) === 'ConvTranspose';
    const groups = intOf(node, 'group', 1);
    const [rows, columns] = ref.dims as [number, number];
    const kernel = values.length / (rows * columns);
    for (let row = 0; row < rows; row += 1) {
      for (let column = 0; column < columns; column += 1) {
        // Conv: [outputs, inputs ÷ groups, …]. ConvTranspose: [inputs, outputs ÷ groups, …].
        const group = Math.floor(row / (rows / groups));
        const other = group * columns + column;
        const [output, input] = transposed ? [other, row] : [row, other];
        const factor = outScale[output]! * inScale[input]!;
        const start = (row * columns + column) * kernel;
        for (let at = start; at < start + kernel; at += 1) {
          sums[output]! += values[at]! * inShift[input]!;
          values[at] = values[at]! * factor;
        }
      }
    }
    const newBias = Array.from(sums, (sum, o) => outScale[o]! * (bias[o]! + sum) + outShift[o]!);
    const weightName = graph.unique(`${weight}_folded`);
    const position = fstatSync(descriptor).size;
    const bytes = new Uint8Array(values.buffer, 0, ref.length);
    for (let done = 0; done < bytes.length; ) done += writeSync(descriptor, bytes, done);
    const moved: TensorRef = {
      name: weightName,
      dtype: DataType.FLOAT,
      dims: ref.dims,
      length: ref.length,
      source: { kind: 'file', path: file, offset: position, length: ref.length },
    };
    const tensor = makeTensor(weightName, DataType.FLOAT, ref.dims, new Uint8Array());
    tensor.dataLocation = DataLocation.EXTERNAL;
    graph.addConstant(tensor, moved);
    const input = [x, weightName];
    const plain = newBias.every((value) => value === 0);
    if (biasName || !plain) {
      const name = graph.unique(`${node.output[0]}_bias`);
      graph.addConstant(floatTensor(name, newBias));
      input.push(name);
    }
    graph.rewire(node, { input });
  }
}

function describe(graph: MutableGraph, node: NodeProto): Convolution | undefined {
  const kind = operatorKey(node);
  if (kind !== 'Conv' && kind !== 'ConvTranspose') return undefined;
  const [, weight, bias] = node.input;
  const ref = graph.constant(weight)?.ref;
  if (ref?.dtype !== DataType.FLOAT || ref.dims.length < 3 || ref.length === 0) return undefined;
  // A weight with another reader would be stored twice.
  if (graph.readers(weight!).length !== 1) return undefined;
  if (bias && !graph.floats(bias)) return undefined;
  const groups = intOf(node, 'group', 1);
  const [rows, columns] = ref.dims as [number, number];
  const [outputs, inputs] = kind === 'Conv' ? [rows, columns * groups] : [columns * groups, rows];
  return {
    inputs,
    outputs,
    rank: ref.dims.length,
    inScale: new Float64Array(inputs).fill(1),
    inShift: new Float64Array(inputs),
    outScale: new Float64Array(outputs).fill(1),
    outShift: new Float64Array(outputs),
  };
}
