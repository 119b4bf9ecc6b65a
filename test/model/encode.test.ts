import { create, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encode, encodedSize, fieldHeader } from '../../src/model/encode.ts';
import {
  AttributeProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  readModel,
  TensorProtoSchema,
} from '../../src/model/index.ts';
import { floats, graph, model, node, value } from '../support/onnx-builder.ts';
import { realModels } from '../support/real-models.ts';

const plain = () => undefined;
const joined = (proto: ModelProto) =>
  Buffer.concat(
    encode(ModelProtoSchema, proto, plain).map((piece) => ('bytes' in piece ? piece.bytes : Buffer.alloc(0))),
  );

/** A model of nodes whose parts have every kind of field. */
const protos = fc
  .array(
    fc.record({
      name: fc.string({ unit: 'grapheme', maxLength: 8 }),
      i: fc.option(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), { nil: undefined }),
      f: fc.option(fc.float(), { nil: undefined }),
      ints: fc.array(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), { maxLength: 4 }),
      int32: fc.array(fc.integer(), { maxLength: 4 }),
      uint64: fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { maxLength: 4 }),
      doubles: fc.array(fc.double(), { maxLength: 4 }),
      strings: fc.array(fc.uint8Array({ maxLength: 5 }), { maxLength: 3 }),
      type: fc.integer({ min: -5, max: 20 }),
      dim: fc.oneof(fc.integer({ min: 0, max: 300 }), fc.string({ maxLength: 3 })),
      unknown: fc.option(fc.integer({ min: 1000, max: 2 ** 29 - 1 }), { nil: undefined }),
    }),
    { maxLength: 6 },
  )
  .map((parts) => {
    const nodes = parts.map((part, index) => {
      const made = node('Op', [part.name, ''], [`v${index}`]);
      const tensor = create(TensorProtoSchema, {
        name: part.name,
        int32Data: part.int32,
        uint64Data: part.uint64,
        doubleData: part.doubles,
      });
      const { name, ints, strings, type } = part;
      const attribute = create(AttributeProtoSchema, { name, ints, strings, type, t: tensor, tensors: [tensor] });
      if (part.i !== undefined) attribute.i = part.i;
      if (part.f !== undefined) attribute.f = part.f;
      if (part.unknown !== undefined) {
        attribute.$unknown = [{ no: part.unknown, wireType: 2, data: Uint8Array.of(2, 7, 7) }];
      }
      made.attribute = [attribute];
      return made;
    });
    const inputs = parts.map(({ name, dim }) => value(name, [dim]));
    return model(graph({ nodes, inputs, outputs: [value('y', [1])], initializers: [floats('W', [2], [1, 2])] }));
  });

test('any message has the bytes that protobuf-es gives it, and the size that was said', () => {
  fc.assert(
    fc.property(protos, (proto) => {
      const bytes = joined(proto);
      expect(bytes.equals(toBinary(ModelProtoSchema, proto))).toBe(true);
      expect(encodedSize(ModelProtoSchema, proto, plain)).toBe(bytes.length);
    }),
    { numRuns: 500 },
  );
});

test.each(Object.entries(realModels))('%s too, and large graphs come in pieces', async (_, file) => {
  const { proto } = await readModel(file);
  expect(joined(proto).equals(toBinary(ModelProtoSchema, proto))).toBe(true);
});

test('a long list comes in pieces that are made when asked for, each time anew', () => {
  const nodes = Array.from({ length: 20_000 }, (_, i) => node('Relu', [`value${i}`], [`value${i + 1}`]));
  const proto = model(graph({ nodes, outputs: [value('y', [1])] }));
  const pieces = encode(ModelProtoSchema, proto, plain);
  expect(pieces.length).toBeGreaterThan(5);
  for (const piece of pieces) {
    if (!('bytes' in piece)) throw new Error('there are no spans here');
    expect(piece.bytes.length).toBe(piece.length);
    expect(piece.length).toBeLessThan(2 ** 17);
    expect(piece.bytes).not.toBe(piece.bytes);
  }
  expect(joined(proto).equals(toBinary(ModelProtoSchema, proto))).toBe(true);
});

test('spans stand where their number puts them, in messages however deep', () => {
  const proto = model(graph({ nodes: [], outputs: [], initializers: [floats('W', [2], [1, 2])] }));
  const tensor = proto.graph!.initializer[0]!;
  const span = { length: 5, what: 'span' };
  const pieces = encode(ModelProtoSchema, proto, (message) => {
    if (message !== tensor) return undefined;
    const image = create(TensorProtoSchema, { name: 'W', dims: [2n], dataType: 1 });
    return { message: image, splices: [{ no: 9, header: fieldHeader(9, 5), span }] };
  });
  const bytes = pieces.map((piece) => ('bytes' in piece ? piece.bytes : Buffer.from('12345')));
  const expected = create(TensorProtoSchema, { name: 'W', dims: [2n], dataType: 1, rawData: Buffer.from('12345') });
  proto.graph!.initializer = [expected];
  expect(Buffer.concat(bytes).equals(toBinary(ModelProtoSchema, proto))).toBe(true);
  expect(pieces).toContain(span);
});

test('a field header is what protobuf-es writes', () => {
  for (const [no, length] of [
    [1, 0],
    [9, 127],
    [16, 128],
    [2 ** 29 - 1, 2 ** 31 - 1],
  ] as const) {
    expect(Buffer.from(fieldHeader(no, length))).toEqual(
      Buffer.from(new BinaryWriter().tag(no, 2).uint32(length).finish()),
    );
  }
});
