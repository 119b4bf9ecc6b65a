import { type Constant, constantOf, DataType, type GraphScope, producerOf } from '../model/index.ts';
import { viewAs } from '../runtime/index.ts';

/** A constant, seen through what does not change its shape. Not far: a broken graph may go in circles. */
export function constantAt(scope: GraphScope, name: string | undefined): Constant | undefined {
  let at: { scope: GraphScope; name: string | undefined } = { scope, name };
  for (let steps = 0; at.name && steps < 8; steps++) {
    const constant = constantOf(at.scope, at.name);
    if (constant) return constant;
    const producer = producerOf(at.scope, at.name);
    if (!producer || !/^(Cast|Identity|DequantizeLinear)$/.test(producer.node.opType)) return undefined;
    at = { scope: producer.scope, name: producer.node.input[0] };
  }
  return undefined;
}

/** The numbers of a small constant of integers that lies in the graph itself. */
export function numbersOf(constant: Constant | undefined): number[] | undefined {
  const { ref } = constant ?? {};
  if (ref?.source.kind !== 'bytes') return undefined;
  if (ref.dtype === DataType.INT64) return Array.from(viewAs('int64', ref.source.bytes) as BigInt64Array, Number);
  if (ref.dtype === DataType.INT32) return Array.from(viewAs('int32', ref.source.bytes) as Int32Array);
  return undefined;
}
