import { type DescField, type DescMessage, isFieldSet, type Message, ScalarType } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { unescapeText } from './text.ts';

/** Bytes that are not in memory but have a place in the encoded message. */
export interface Span {
  length: number;
}

/** A field to be put into an encoded message: `header` is its tag and length, or empty where `span` has them. */
export interface Splice<S extends Span> {
  no: number;
  header: Uint8Array;
  span: S;
}

/** What to encode for a message: often itself, and fields that are not in it. */
export interface Spliced<S extends Span> {
  message: Message;
  splices: Splice<S>[];
}

/**
 * Encodes a message in protobuf's canonical form: fields in order of number, lists packed as the schema says, unknown
 * fields last. `splice` is asked for every message and returns `undefined` for one to be encoded as it is. Spliced
 * fields stand where their number puts them; their bytes are never loaded.
 */
export function encode<S extends Span>(
  schema: DescMessage,
  message: Message,
  splice: (message: Message) => Spliced<S> | undefined,
): (Uint8Array | S)[] {
  const encoder: Encoder<S> = { special: new Map(), fields: new Map() };
  findSpecial(encoder, schema, message, splice);
  const out = new PieceWriter<S>();
  writeMessage(encoder, out, schema, message);
  return out.finish();
}

interface Encoder<S extends Span> {
  /** Messages with splices, and those around them. */
  special: Map<Message, Spliced<S>>;
  /** Fields in order of number, by message type. */
  fields: Map<DescMessage, readonly DescField[]>;
}

function findSpecial<S extends Span>(
  encoder: Encoder<S>,
  schema: DescMessage,
  message: Message,
  splice: (message: Message) => Spliced<S> | undefined,
): boolean {
  const own = splice(message);
  let special = own !== undefined;
  for (const field of fieldsOf(encoder, schema)) {
    if (!field.message || !isFieldSet(message, field)) continue;
    for (const child of messagesOf(message, field)) {
      if (findSpecial(encoder, field.message, child, splice)) special = true;
    }
  }
  if (special) encoder.special.set(message, own ?? { message, splices: [] });
  return special;
}

function writeMessage<S extends Span>(
  encoder: Encoder<S>,
  out: PieceWriter<S>,
  schema: DescMessage,
  message: Message,
): void {
  const { message: image, splices } = encoder.special.get(message) ?? { message, splices: [] };
  const fields = fieldsOf(encoder, schema);
  const waiting = splices.filter(({ no }) => schema.fields.some(({ number }) => number === no));
  for (const field of fields) {
    for (const each of waiting) if (each.no === field.number) out.splice(each);
    if (isFieldSet(image, field)) writeField(encoder, out, field, image);
  }
  for (const { no, wireType, data } of image.$unknown ?? []) out.writer.tag(no, wireType).raw(data);
  for (const each of splices) if (!waiting.includes(each)) out.splice(each);
}

/** A length-delimited field's tag and length. */
export function fieldHeader(no: number, length: number): Uint8Array {
  return new BinaryWriter().tag(no, WireType.LengthDelimited).uint32(length).finish();
}

function writeField<S extends Span>(
  encoder: Encoder<S>,
  out: PieceWriter<S>,
  field: DescField,
  message: Message,
): void {
  const { number: no, message: schema, scalar } = field;
  if (schema) {
    for (const child of messagesOf(message, field)) {
      if (encoder.special.has(child)) {
        const inner = new PieceWriter<S>();
        writeMessage(encoder, inner, schema, child);
        out.nested(no, inner.finish());
      } else {
        out.writer.tag(no, WireType.LengthDelimited).fork();
        writeMessage(encoder, out, schema, child);
        out.writer.join();
      }
    }
  } else if (scalar !== undefined && field.fieldKind === 'list') {
    writeList(out.writer, no, scalar, fieldValue(message, field) as unknown[], field.packed);
  } else if (scalar !== undefined) {
    writeScalar(out.writer.tag(no, wireOf(scalar)), scalar, fieldValue(message, field));
  }
}

function messagesOf(message: Message, field: DescField): Message[] {
  const value = fieldValue(message, field);
  return field.fieldKind === 'list' ? (value as Message[]) : [value as Message];
}

function fieldsOf<S extends Span>({ fields }: Encoder<S>, schema: DescMessage): readonly DescField[] {
  let sorted = fields.get(schema);
  if (!sorted) {
    sorted = [...schema.fields].sort((a, b) => a.number - b.number);
    fields.set(schema, sorted);
  }
  return sorted;
}

function writeList(writer: BinaryWriter, no: number, scalar: ScalarType, values: unknown[], packed: boolean): void {
  if (packed) {
    writer.tag(no, WireType.LengthDelimited).fork();
    for (const value of values) writeScalar(writer, scalar, value);
    writer.join();
  } else {
    for (const value of values) writeScalar(writer.tag(no, wireOf(scalar)), scalar, value);
  }
}

/** The scalar types that the schema uses. */
function writeScalar(writer: BinaryWriter, scalar: ScalarType, value: unknown): void {
  if (scalar === ScalarType.STRING) writer.bytes(unescapeText(value as string));
  else if (scalar === ScalarType.BYTES) writer.bytes(value as Uint8Array);
  else if (scalar === ScalarType.FLOAT) writer.float(value as number);
  else if (scalar === ScalarType.DOUBLE) writer.double(value as number);
  else if (scalar === ScalarType.INT32) writer.int32(value as number);
  else if (scalar === ScalarType.INT64) writer.int64(value as bigint);
  else if (scalar === ScalarType.UINT64) writer.uint64(value as bigint);
  else throw new Error(`onnx.proto uses scalar type ${scalar}, which encode.ts does not write`);
}

function wireOf(scalar: ScalarType): WireType {
  if (scalar === ScalarType.STRING || scalar === ScalarType.BYTES) return WireType.LengthDelimited;
  if (scalar === ScalarType.FLOAT) return WireType.Bit32;
  return scalar === ScalarType.DOUBLE ? WireType.Bit64 : WireType.Varint;
}

function fieldValue(message: Message, field: DescField): unknown {
  const slots = message as unknown as Record<string, unknown>;
  if (!field.oneof) return slots[field.localName];
  return (slots[field.oneof.localName] as { value: unknown }).value;
}

/** Collects bytes and spans; consecutive bytes become one piece. */
class PieceWriter<S extends Span> {
  readonly writer = new BinaryWriter();
  readonly #pieces: (Uint8Array | S)[] = [];

  splice({ header, span }: Splice<S>): void {
    this.writer.raw(header);
    this.#add(span);
  }

  nested(no: number, pieces: (Uint8Array | S)[]): void {
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    this.writer.tag(no, WireType.LengthDelimited).uint32(length);
    for (const piece of pieces) {
      if (piece instanceof Uint8Array) this.writer.raw(piece);
      else this.#add(piece);
    }
  }

  finish(): (Uint8Array | S)[] {
    const bytes = this.writer.finish();
    if (bytes.length > 0) this.#pieces.push(bytes);
    return this.#pieces;
  }

  #add(span: S): void {
    const bytes = this.writer.finish();
    if (bytes.length > 0) this.#pieces.push(bytes);
    this.#pieces.push(span);
  }
}
