import {
  DataType,
  floatTensor,
  intAttribute,
  makeNode,
  makeTensor,
  type NodeProto,
  type TensorProto,
} from '../../../../model/index.ts';
import { roundHalfEven } from '../../../../round.ts';
import { readFloats } from '../../../fold/mutable-graph.ts';
import { type Grid, LEVELS, levelTensor } from '../grids.ts';
import type { Product } from '../weights.ts';

/** A product, its weight on its levels, and the grid of its input, if that is on one. */
export interface Emulated {
  node: NodeProto;
  product: Product;
  grid: Grid | undefined;
}

/** Nodes and constants that compute in FLOAT what 8 bits will: values go through their levels and back. */
export class Emulation {
  readonly nodes: NodeProto[] = [];
  readonly initializers: TensorProto[] = [];

  /** Emits a weight that went through its levels, and returns its name. Reads it whole. */
  weight({ weight, axis, scales }: Product, prefix: string): string {
    const [q, scale, float] = names(prefix, 'weight', 'scale', 'weight-float');
    const levels = quantizeWeight(readFloats(weight.ref!), weight.dims, axis, scales);
    this.initializers.push(
      makeTensor(q, DataType.INT8, weight.dims, new Uint8Array(levels.buffer)),
      floatTensor(scale, [...scales]),
    );
    const attributes = [intAttribute('axis', axis)];
    this.nodes.push(makeNode('DequantizeLinear', [q, scale], [float], { attributes }));
    return float;
  }

  /** Emits a value that went through its grid, and returns its name. */
  through(value: string, grid: Grid, prefix: string): string {
    const [levels, float, scale, zeroPoint] = names(prefix, 'levels', 'on-grid', 'grid-scale', 'grid-zero-point');
    this.initializers.push(floatTensor(scale, [grid.scale], []), levelTensor(zeroPoint, grid.zeroPoint, grid.type));
    this.nodes.push(
      makeNode('QuantizeLinear', [value, scale, zeroPoint], [levels]),
      makeNode('DequantizeLinear', [levels, scale, zeroPoint], [float]),
    );
    return float;
  }
}

function names<Parts extends string[]>(prefix: string, ...parts: Parts): { [Part in keyof Parts]: string } {
  return parts.map((part) => `${prefix}::${part}`) as { [Part in keyof Parts]: string };
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
  const levels = new Int8Array(values.length);
  for (let start = 0, row = 0; start < values.length; start += inner, row += 1) {
    const scale = scales[row % scales.length]!;
    const end = Math.min(values.length, start + inner);
    for (let at = start; at < end; at += 1) {
      levels[at] = Math.min(high, Math.max(low, roundHalfEven(Math.fround(values[at]! / scale))));
    }
  }
  return levels;
}
