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
 * fields last. Spliced fields stand where their number puts them; their bytes are never loaded.
 */
export function encode<S extends Span>(
  schema: DescMessage,
  message: Message,
  splice: (message: Message) => Spliced<S>,
): (Uint8Array | S)[] {
  const out = new PieceWriter<S>();
  const { message: image, splices } = splice(message);
  const numbers = new Set(schema.fields.map(({ number }) => number));
  const parts: { no: number; write(): void }[] = [];
  for (const field of schema.fields) {
    if (isFieldSet(image, field)) parts.push({ no: field.number, write: () => writeField(out, field, image, splice) });
  }
  for (const unknown of image.$unknown ?? []) {
    const write = () => out.writer.tag(unknown.no, unknown.wireType).raw(unknown.data);
    parts.push({ no: Number.POSITIVE_INFINITY, write });
  }
  for (const each of splices) {
    parts.push({ no: numbers.has(each.no) ? each.no : Number.POSITIVE_INFINITY, write: () => out.splice(each) });
  }
  for (const { write } of parts.sort((a, b) => (a.no === b.no ? 0 : a.no - b.no))) write();
  return out.finish();
}

/** A length-delimited field's tag and length. */
export function fieldHeader(no: number, length: number): Uint8Array {
  return new BinaryWriter().tag(no, WireType.LengthDelimited).uint32(length).finish();
}

function writeField<S extends Span>(
  out: PieceWriter<S>,
  field: DescField,
  message: Message,
  splice: (message: Message) => Spliced<S>,
): void {
  const value = fieldValue(message, field);
  if (field.message) {
    const children = field.fieldKind === 'list' ? (value as Message[]) : [value as Message];
    for (const child of children) out.nested(field.number, encode(field.message, child, splice));
  } else if (field.scalar !== undefined && field.fieldKind === 'list') {
    writeList(out.writer, field.number, field.scalar, value as unknown[], field.packed);
  } else if (field.scalar !== undefined) {
    writeScalar(out.writer.tag(field.number, wireOf(field.scalar)), field.scalar, value);
  }
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
