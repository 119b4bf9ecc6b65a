import { type DescField, type DescMessage, type Message, ScalarType } from '@bufbuild/protobuf';
import { bytesOfText, unescapeInto } from './text.ts';
import { Wire } from './wire.ts';

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

/** Asked for every message, more than once, and answers the same each time; `undefined` for one to be encoded as it is. */
export type Splicer<S extends Span> = (message: Message) => Spliced<S> | undefined;

/** Bytes of an encoded message that are made anew whenever they are asked for. */
export interface EncodedBytes {
  readonly length: number;
  readonly bytes: Uint8Array;
}

/** Messages of more bytes are taken apart, so that no more than a few of so many bytes exist at a time. */
const PIECE_BYTES = 64 * 2 ** 10;

/** Bytes of a message as `encode` would lay it out, spans included. */
export function encodedSize<S extends Span>(schema: DescMessage, message: Message, splicer: Splicer<S>): number {
  return new Measure(splicer).sizeOf(planOf(schema), message);
}

/**
 * Lays a message out in protobuf's canonical form: fields in order of number, lists packed as the schema says, unknown
 * fields last. Spliced fields stand where their number puts them. Nothing is encoded yet: the pieces say how long they
 * are, and make their bytes when asked; the message must not change until then. Linear in the message.
 */
export function encode<S extends Span>(
  schema: DescMessage,
  message: Message,
  splicer: Splicer<S>,
): (EncodedBytes | S)[] {
  const measure = new Measure(splicer);
  const plan = planOf(schema);
  measure.sizeOf(plan, message);
  const layout = new Layout(splicer, measure);
  layout.add(plan, message);
  return layout.finish();
}

/** A length-delimited field's tag and length. */
export function fieldHeader(no: number, length: number): Uint8Array {
  const tag = tagOf(no, Wire.BYTES);
  const header = new Writer(tag.length + varintSize(length));
  header.raw(tag);
  header.varint(length);
  return header.bytes;
}

/** A message type, ready for encoding. */
interface Plan {
  /** In order of number. */
  fields: readonly FieldPlan[];
  numbers: ReadonlySet<number>;
}

interface FieldPlan {
  no: number;
  name: string;
  /** The property that holds the field's value and case, where it is one of several. */
  oneof: string | undefined;
  list: boolean;
  packed: boolean;
  scalar: ScalarType | undefined;
  /** The type of its messages, where it holds such. */
  inner: Plan | undefined;
  /** Of the field, or of each element of a list that is not packed. */
  tag: Uint8Array;
}

/** `known` has the types that are already planned: they nest in one another. */
function planOf(schema: DescMessage, known = new Map<DescMessage, Plan>()): Plan {
  const planned = known.get(schema);
  if (planned) return planned;
  const plan: Plan = { fields: [], numbers: new Set(schema.fields.map(({ number }) => number)) };
  known.set(schema, plan);
  plan.fields = schema.fields.map((field) => fieldPlan(field, known)).sort((a, b) => a.no - b.no);
  return plan;
}

function fieldPlan(field: DescField, known: Map<DescMessage, Plan>): FieldPlan {
  const { number: no, localName: name, message, scalar } = field;
  const list = field.fieldKind === 'list';
  const packed = list && field.packed;
  if (!message && (scalar === undefined || !WIRES.has(scalar))) {
    throw new Error(`onnx.proto has a type in ${field.toString()} that encode.ts does not write`);
  }
  const wire = message || packed ? Wire.BYTES : WIRES.get(scalar!)!;
  const inner = message && planOf(message, known);
  return { no, name, oneof: field.oneof?.localName, list, packed, scalar, inner, tag: tagOf(no, wire) };
}

/** The scalar types that the schema uses. */
const WIRES = new Map<ScalarType, number>([
  [ScalarType.STRING, Wire.BYTES],
  [ScalarType.BYTES, Wire.BYTES],
  [ScalarType.FLOAT, Wire.BITS32],
  [ScalarType.DOUBLE, Wire.BITS64],
  [ScalarType.INT32, Wire.VARINT],
  [ScalarType.INT64, Wire.VARINT],
  [ScalarType.UINT64, Wire.VARINT],
]);

function tagOf(no: number, wire: number): Uint8Array {
  const tag = new Writer(varintSize(no * 8 + wire));
  tag.varint(no * 8 + wire);
  return tag.bytes;
}

/** What a field holds, `undefined` where it is not set. Explicit presence is an own property, as in protobuf-es. */
function fieldValue(message: Message, { name, oneof, list }: FieldPlan): unknown {
  const slots = message as unknown as Record<string, unknown>;
  if (oneof !== undefined) {
    const chosen = slots[oneof] as { case?: string; value?: unknown };
    return chosen.case === name ? chosen.value : undefined;
  }
  if (list) return (slots[name] as unknown[]).length > 0 ? slots[name] : undefined;
  return Object.hasOwn(message, name) ? slots[name] : undefined;
}

/** Finds sizes. */
class Measure<S extends Span> {
  readonly #splicer: Splicer<S>;
  /** Size of messages that are large or have spans in them: those that `Layout` takes apart. */
  readonly large = new Map<Message, number>();
  /** Spans seen so far. */
  #spans = 0;

  constructor(splicer: Splicer<S>) {
    this.#splicer = splicer;
  }

  sizeOf(plan: Plan, message: Message): number {
    const before = this.#spans;
    const { message: image, splices } = this.#splicer(message) ?? { message, splices: NONE };
    let size = unknownSize(image);
    for (const { header, span } of splices) size += header.length + span.length;
    this.#spans += splices.length;
    for (const field of plan.fields) {
      const value = fieldValue(image, field);
      if (value === undefined) continue;
      const { inner } = field;
      if (!inner) size += scalarSize(field, value);
      else {
        for (const child of childrenOf(field, value)) {
          const length = this.sizeOf(inner, child);
          size += field.tag.length + varintSize(length) + length;
        }
      }
    }
    if (size > PIECE_BYTES || this.#spans > before) this.large.set(message, size);
    return size;
  }
}

const NONE: readonly never[] = [];

function childrenOf({ list }: FieldPlan, value: unknown): readonly Message[] {
  return list ? (value as Message[]) : [value as Message];
}

/** Messages of a field, or a scalar field of one message, as they stand behind one another. */
type Part = { field: FieldPlan; children: readonly Message[]; from: number; to: number } | { bytes: Uint8Array };

/** Cuts an encoded message into pieces. */
class Layout<S extends Span> {
  readonly #splicer: Splicer<S>;
  readonly #measure: Measure<S>;
  readonly #pieces: (EncodedBytes | S)[] = [];
  #parts: Part[] = [];
  #length = 0;

  constructor(splicer: Splicer<S>, measure: Measure<S>) {
    this.#splicer = splicer;
    this.#measure = measure;
  }

  finish(): (EncodedBytes | S)[] {
    this.#close();
    return this.#pieces;
  }

  /** Adds a message that is large or has spans. */
  add(plan: Plan, message: Message): void {
    const { message: image, splices } = this.#splicer(message) ?? { message, splices: NONE };
    for (const field of plan.fields) {
      for (const splice of splices) if (splice.no === field.no) this.#addSpan(splice);
      const value = fieldValue(image, field);
      if (value === undefined) continue;
      if (!field.inner) this.#addBytes(scalarBytes(field, value));
      else this.#addChildren(field, field.inner, childrenOf(field, value));
    }
    this.#addBytes(unknownBytes(image));
    for (const splice of splices) if (!plan.numbers.has(splice.no)) this.#addSpan(splice);
  }

  #addChildren(field: FieldPlan, plan: Plan, children: readonly Message[]): void {
    const { large } = this.#measure;
    for (const [i, child] of children.entries()) {
      const size = large.get(child);
      if (size === undefined) this.#addChild(field, plan, children, i);
      else {
        this.#addBytes(fieldHeader(field.no, size));
        this.add(plan, child);
      }
    }
  }

  /** Adds a small message, to the part that has its neighbours. */
  #addChild(field: FieldPlan, plan: Plan, children: readonly Message[], index: number): void {
    const size = this.#measure.sizeOf(plan, children[index]!);
    const last = this.#parts.at(-1);
    if (last && 'children' in last && last.children === children && last.to === index) last.to = index + 1;
    else this.#parts.push({ field, children, from: index, to: index + 1 });
    this.#grow(field.tag.length + varintSize(size) + size);
  }

  #addBytes(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#parts.push({ bytes });
    this.#grow(bytes.length);
  }

  #addSpan({ header, span }: Splice<S>): void {
    this.#addBytes(header);
    this.#close();
    this.#pieces.push(span);
  }

  #grow(length: number): void {
    this.#length += length;
    if (this.#length >= PIECE_BYTES) this.#close();
  }

  #close(): void {
    if (this.#length > 0) this.#pieces.push(new Run(this.#splicer, this.#parts, this.#length));
    this.#parts = [];
    this.#length = 0;
  }
}

/** Parts that become bytes together. No message in them has spans. */
class Run<S extends Span> implements EncodedBytes {
  readonly length: number;
  readonly #splicer: Splicer<S>;
  readonly #parts: readonly Part[];

  constructor(splicer: Splicer<S>, parts: readonly Part[], length: number) {
    this.length = length;
    this.#splicer = splicer;
    this.#parts = parts;
  }

  get bytes(): Uint8Array {
    const writer = new Writer(this.length);
    for (const part of this.#parts) {
      if ('bytes' in part) writer.raw(part.bytes);
      else {
        const { field, children, from, to } = part;
        for (let i = from; i < to; i++) new SmallMessage(this.#splicer).write(writer, field, children[i]!);
      }
    }
    if (writer.position !== this.length) throw new Error('a message changed while it was written');
    return writer.bytes;
  }
}

/** Encodes a message without spans: finds all sizes in it first, then writes. */
class SmallMessage<S extends Span> {
  readonly #splicer: Splicer<S>;
  /** Size and image of each message in it, in the order in which they are met. */
  readonly #sizes: number[] = [];
  readonly #images: Message[] = [];
  #next = 0;

  constructor(splicer: Splicer<S>) {
    this.#splicer = splicer;
  }

  write(writer: Writer, field: FieldPlan, message: Message): void {
    this.#measure(field.inner!, message);
    this.#write(writer, field);
  }

  #measure(plan: Plan, message: Message): number {
    const image = this.#splicer(message)?.message ?? message;
    const at = this.#sizes.push(0) - 1;
    this.#images.push(image);
    let size = unknownSize(image);
    for (const field of plan.fields) {
      const value = fieldValue(image, field);
      if (value === undefined) continue;
      const { inner } = field;
      if (!inner) size += scalarSize(field, value);
      else {
        for (const child of childrenOf(field, value)) {
          const length = this.#measure(inner, child);
          size += field.tag.length + varintSize(length) + length;
        }
      }
    }
    this.#sizes[at] = size;
    return size;
  }

  /** Writes the next message, which `of` holds. */
  #write(writer: Writer, of: FieldPlan): void {
    const image = this.#images[this.#next]!;
    writer.raw(of.tag);
    writer.varint(this.#sizes[this.#next++]!);
    for (const field of of.inner!.fields) {
      const value = fieldValue(image, field);
      if (value === undefined) continue;
      if (!field.inner) writeScalars(writer, field, value);
      else for (let left = childrenOf(field, value).length; left > 0; left--) this.#write(writer, field);
    }
    writeUnknown(writer, image);
  }
}

function unknownSize({ $unknown }: Message): number {
  let size = 0;
  for (const { no, wireType, data } of $unknown ?? NONE) size += varintSize(no * 8 + wireType) + data.length;
  return size;
}

function writeUnknown(writer: Writer, { $unknown }: Message): void {
  for (const { no, wireType, data } of $unknown ?? NONE) {
    writer.varint(no * 8 + wireType);
    writer.raw(data);
  }
}

function unknownBytes(message: Message): Uint8Array {
  const writer = new Writer(unknownSize(message));
  writeUnknown(writer, message);
  return writer.bytes;
}

function scalarBytes(field: FieldPlan, value: unknown): Uint8Array {
  const writer = new Writer(scalarSize(field, value));
  writeScalars(writer, field, value);
  return writer.bytes;
}

/** Bytes of a field of scalars, tags included. */
function scalarSize({ tag, scalar, list, packed }: FieldPlan, value: unknown): number {
  if (!list) return tag.length + sizeOf(scalar!, value);
  const values = value as readonly unknown[];
  let size = 0;
  for (const each of values) size += sizeOf(scalar!, each);
  return packed ? tag.length + varintSize(size) + size : values.length * tag.length + size;
}

function writeScalars(writer: Writer, { tag, scalar, list, packed }: FieldPlan, value: unknown): void {
  const values = list ? (value as readonly unknown[]) : [value];
  if (packed) {
    let size = 0;
    for (const each of values) size += sizeOf(scalar!, each);
    writer.raw(tag);
    writer.varint(size);
  }
  for (const each of values) {
    if (!packed) writer.raw(tag);
    writer.scalar(scalar!, each);
  }
}

function sizeOf(scalar: ScalarType, value: unknown): number {
  switch (scalar) {
    case ScalarType.STRING:
      return lengthDelimited(bytesOfText(value as string));
    case ScalarType.BYTES:
      return lengthDelimited((value as Uint8Array).length);
    case ScalarType.FLOAT:
      return 4;
    case ScalarType.DOUBLE:
      return 8;
    default:
      return varintSize(unsigned(value as number | bigint));
  }
}

/** An integer as its varint has it: negative ones as their 64-bit complement, and as a number where one can hold it. */
function unsigned(value: number | bigint): number | bigint {
  if (value < 0) return BigInt.asUintN(64, BigInt(value));
  return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
}

function lengthDelimited(length: number): number {
  return varintSize(length) + length;
}

/** Bytes of an unsigned varint; a bigint is beyond 2^53. */
function varintSize(value: number | bigint): number {
  if (typeof value === 'bigint') return value >> 63n ? 10 : value >> 56n ? 9 : 8;
  let size = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) size++;
  return size;
}

/** Fills a buffer of known size. */
class Writer {
  readonly bytes: Uint8Array;
  position = 0;
  readonly #view: DataView;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
    this.#view = new DataView(this.bytes.buffer);
  }

  raw(bytes: Uint8Array): void {
    this.bytes.set(bytes, this.position);
    this.position += bytes.length;
  }

  /** An unsigned varint; a bigint is beyond 2^53. */
  varint(value: number | bigint): void {
    let rest = value;
    if (typeof rest === 'bigint') {
      for (; rest >= 128n; rest >>= 7n) this.bytes[this.position++] = Number(rest & 127n) | 128;
    } else {
      for (; rest >= 128; rest = Math.floor(rest / 128)) this.bytes[this.position++] = (rest % 128) | 128;
    }
    this.bytes[this.position++] = Number(rest);
  }

  scalar(scalar: ScalarType, value: unknown): void {
    if (scalar === ScalarType.STRING) this.#text(value as string);
    else if (scalar === ScalarType.BYTES) {
      this.varint((value as Uint8Array).length);
      this.raw(value as Uint8Array);
    } else if (scalar === ScalarType.FLOAT) {
      this.#view.setFloat32(this.position, value as number, true);
      this.position += 4;
    } else if (scalar === ScalarType.DOUBLE) {
      this.#view.setFloat64(this.position, value as number, true);
      this.position += 8;
    } else this.varint(unsigned(value as number | bigint));
  }

  #text(text: string): void {
    const length = bytesOfText(text);
    this.varint(length);
    unescapeInto(text, this.bytes.subarray(this.position, this.position + length));
    this.position += length;
  }
}
