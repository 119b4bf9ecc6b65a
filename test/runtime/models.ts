import { toBinary } from '@bufbuild/protobuf';
import { DataType } from '../../src/model/enums.ts';
import { ModelProtoSchema } from '../../src/model/onnx_pb.ts';
import { bytesOf, graph, int64s, model, node, tensor, value } from '../support/onnx-builder.ts';

/** Adds until the end of days: Loop with 2^62 trips. `x` float32[1] → `y` float32[1]. */
export function hangingModel(): Uint8Array {
  const body = graph({
    nodes: [node('Identity', ['c'], ['c_out']), node('Add', ['a', 'a'], ['b'])],
    inputs: [value('i', [], DataType.INT64), value('c', [], DataType.BOOL), value('a', [1])],
    outputs: [value('c_out', [], DataType.BOOL), value('b', [1])],
  });
  const trips = tensor('trips', DataType.INT64, [], { rawData: bytesOf(BigInt64Array.of(2n ** 62n)) });
  const go = tensor('go', DataType.BOOL, [], { rawData: Uint8Array.of(1) });
  const loop = node('Loop', ['trips', 'go', 'x'], ['y'], { body });
  return bytes({ nodes: [loop], inputs: [value('x', [1])], outputs: [value('y', [1])], initializers: [trips, go] });
}

/** A node of an operator that does not exist. */
export const unknownOperatorModel = (): Uint8Array =>
  bytes({ nodes: [node('NoSuchOperator', ['x'], ['y'])], inputs: [value('x', [1])], outputs: [value('y', [1])] });

/** `x` float32[1] repeated `elements` times: a large output out of nothing. */
export const expandModel = (elements: number): Uint8Array =>
  bytes({
    nodes: [node('Expand', ['x', 'shape'], ['y'])],
    inputs: [value('x', [1])],
    outputs: [value('y', [elements])],
    initializers: [int64s('shape', [1], [elements])],
  });

/** A graph as the bytes of a model file. */
export const bytes = (parts: Parameters<typeof graph>[0]): Uint8Array =>
  toBinary(ModelProtoSchema, model(graph(parts)));
