import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';

/**
 * The few tiny models that the runtime's tests need, written field by field: this room knows nothing of the model room.
 * Field numbers are those of onnx.proto.
 */

/** Adds until the end of days: Loop with 2^62 trips. `x` float32[1] → `y` float32[1]. */
export function hangingModel(): Uint8Array {
  const body = graph(
    [node('Identity', ['c'], ['c_out']), node('Add', ['a', 'a'], ['b'])],
    [value('i', INT64, []), value('c', BOOL, []), value('a', FLOAT, [1])],
    [value('c_out', BOOL, []), value('b', FLOAT, [1])],
  );
  const loop = node('Loop', ['trips', 'go', 'x'], ['y'], (writer) => writer.uint32(tag(5)).bytes(bodyAttribute(body)));
  const trips = int64Tensor('trips', [], [2n ** 62n]);
  const go = message((writer) =>
    writer
      .uint32(scalar(2))
      .int32(BOOL)
      .uint32(tag(8))
      .string('go')
      .uint32(tag(9))
      .bytes(new Uint8Array([1])),
  );
  return model(graph([loop], [value('x', FLOAT, [1])], [value('y', FLOAT, [1])], [trips, go]));
}

/** A node of an operator that does not exist. */
export const unknownOperatorModel = (): Uint8Array =>
  model(graph([node('NoSuchOperator', ['x'], ['y'])], [value('x', FLOAT, [1])], [value('y', FLOAT, [1])]));

/** `x` float32[1] repeated `elements` times: a large output out of nothing. */
export const expandModel = (elements: number): Uint8Array =>
  model(
    graph(
      [node('Expand', ['x', 'shape'], ['y'])],
      [value('x', FLOAT, [1])],
      [value('y', FLOAT, [elements])],
      [int64Tensor('shape', [1], [BigInt(elements)])],
    ),
  );

const FLOAT = 1;
const INT64 = 7;
const BOOL = 9;

const tag = (field: number): number => (field << 3) | WireType.LengthDelimited;
const scalar = (field: number): number => (field << 3) | WireType.Varint;

function message(write: (writer: BinaryWriter) => unknown): Uint8Array {
  const writer = new BinaryWriter();
  write(writer);
  return writer.finish();
}

const model = (graphBytes: Uint8Array): Uint8Array =>
  message((writer) =>
    writer
      .uint32(scalar(1))
      .int64(8)
      .uint32(tag(7))
      .bytes(graphBytes)
      .uint32(tag(8))
      .bytes(message((opset) => opset.uint32(scalar(2)).int64(17))),
  );

const graph = (
  nodes: Uint8Array[],
  inputs: Uint8Array[],
  outputs: Uint8Array[],
  tensors: Uint8Array[] = [],
): Uint8Array =>
  message((writer) => {
    for (const bytes of nodes) writer.uint32(tag(1)).bytes(bytes);
    writer.uint32(tag(2)).string('g');
    for (const bytes of tensors) writer.uint32(tag(5)).bytes(bytes);
    for (const bytes of inputs) writer.uint32(tag(11)).bytes(bytes);
    for (const bytes of outputs) writer.uint32(tag(12)).bytes(bytes);
  });

const node = (
  op: string,
  inputs: string[],
  outputs: string[],
  more: (writer: BinaryWriter) => unknown = () => undefined,
): Uint8Array =>
  message((writer) => {
    for (const name of inputs) writer.uint32(tag(1)).string(name);
    for (const name of outputs) writer.uint32(tag(2)).string(name);
    writer.uint32(tag(4)).string(op);
    more(writer);
  });

const bodyAttribute = (bytes: Uint8Array): Uint8Array =>
  message((writer) => writer.uint32(tag(1)).string('body').uint32(tag(6)).bytes(bytes).uint32(scalar(20)).int32(5));

const value = (name: string, type: number, dims: number[]): Uint8Array =>
  message((writer) => {
    const shape = message((inner) => {
      for (const size of dims) inner.uint32(tag(1)).bytes(message((dim) => dim.uint32(scalar(1)).int64(size)));
    });
    const tensor = message((inner) => inner.uint32(scalar(1)).int32(type).uint32(tag(2)).bytes(shape));
    writer
      .uint32(tag(1))
      .string(name)
      .uint32(tag(2))
      .bytes(message((inner) => inner.uint32(tag(1)).bytes(tensor)));
  });

const int64Tensor = (name: string, dims: number[], values: bigint[]): Uint8Array =>
  message((writer) => {
    for (const size of dims) writer.uint32(scalar(1)).int64(size);
    writer.uint32(scalar(2)).int32(INT64).uint32(tag(8)).string(name);
    writer.uint32(tag(9)).bytes(new Uint8Array(BigInt64Array.from(values).buffer));
  });
