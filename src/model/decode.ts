import { create, type DescField, type DescMessage, type Message, ScalarType } from '@bufbuild/protobuf';
import { leanMaker } from './lean.ts';
import { AttributeProtoSchema, type ModelProto, ModelProtoSchema, TensorProtoSchema } from './onnx_pb.ts';
import { textOf } from './text.ts';
import type { OmittedField } from './types.ts';
import { MAX_DEPTH, Wire, WireError, type WireFile } from './wire.ts';

/** A tensor's data fields of at least this many bytes stay in the file. */
export const LARGE_TENSOR_BYTES = 1024;
/** So do an attribute's lists and strings, and unknown fields of any message, of at least this many bytes. */
const LARGE_FIELD_BYTES = 64 * 2 ** 10;

/** Fields that may hold a model's bulk, by message. All are leaves. */
const BULK_FIELDS: Record<string, { numbers: ReadonlySet<number>; threshold: number }> = {
  [TensorProtoSchema.typeName]: { numbers: new Set([4, 5, 6, 7, 9, 10, 11]), threshold: LARGE_TENSOR_BYTES },
  [AttributeProtoSchema.typeName]: { numbers: new Set([4, 7, 8, 9]), threshold: LARGE_FIELD_BYTES },
};

/** What a decoded graph may take, so that a hostile file cannot take more; the costs are estimates, in bytes. */
const MAX_DECODED_BYTES = 512 * 2 ** 20;
const MESSAGE_COST = 160;
const FIELD_COST = 32;
const UNKNOWN_FIELD_COST = 320;
/** Bytes of memory for a byte of text, and for a byte of packed numbers, each of which may become a bigint. */
const TEXT_COST = 4;
const PACKED_COST = 48;

/**
 * Decodes a model without its bulk. Large fields (weights, above all) are not read: `omitted` says where they are in
 * the file. Everything else, unknown fields and names that are not UTF-8 included, is in `proto`.
 * The messages are those of protobuf-es, made to take less memory: equal texts are one, lists have room for what is in
 * them and no more, and the empty ones are a single frozen list: set another in its place, do not push.
 *
 * @throws WireError if the file is not a protobuf of this shape, nests too deeply or has an unreasonably large graph.
 */
export function decodeModel(file: WireFile): { proto: ModelProto; omitted: Map<object, OmittedField[]> } {
  const decoder: Decoder = { file, omitted: new Map(), fields: new Map(), texts: new Map(), integers: [], cost: 0 };
  const proto = create(ModelProtoSchema);
  decodeInto(decoder, ModelProtoSchema, proto, file.size, 1);
  return { proto, omitted: decoder.omitted };
}

interface Decoder {
  file: WireFile;
  omitted: Map<object, OmittedField[]>;
  fields: Map<DescMessage, Fields>;
  /** Texts and small integers that were met, so that each exists once. */
  texts: Map<string, string>;
  integers: bigint[];
  cost: number;
}

/** The fields of a message type. */
interface Fields {
  byNumber: ReadonlyMap<number, DescField>;
  lists: readonly string[];
  create(): Message;
}

/** Decodes the message that lies between the file's position and `end`. */
function decodeInto(decoder: Decoder, schema: DescMessage, message: Message, end: number, depth: number): void {
  const { file } = decoder;
  if (depth > MAX_DEPTH) throw new WireError(`messages nest more than ${MAX_DEPTH} deep`, file.position);
  charge(decoder, MESSAGE_COST);
  const fields = fieldsOf(decoder, schema);
  const bulk: OmittedField[] = [];
  while (file.position < end) {
    const start = file.position;
    const { no, wire } = file.tag(end);
    const field = fields.byNumber.get(no);
    if (field?.message && wire === Wire.BYTES) {
      const length = file.length(end);
      const child = childOf(decoder, message, field, field.message);
      decodeInto(decoder, field.message, child, file.position + length, depth + 1);
    } else decodeLeaf(decoder, message, bulk, { schema, field, no, wire, start, end });
  }
  for (const { no, offset, length } of splitBulk(decoder, schema, message, bulk)) {
    charge(decoder, FIELD_COST + PACKED_COST * length);
    file.position = offset;
    while (file.position < offset + length) {
      decodeValue(decoder, message, fields.byNumber.get(no)!, file.tag(end).wire, offset + length);
    }
  }
  file.position = end;
  trimLists(fields, message);
}

/** Decodes the field whose tag was just read and that no message is, or notes its place. */
function decodeLeaf(
  decoder: Decoder,
  message: Message,
  bulk: OmittedField[],
  at: { schema: DescMessage; field: DescField | undefined; no: number; wire: number; start: number; end: number },
): void {
  const { file } = decoder;
  const { schema, no, wire, start, end } = at;
  const field = at.field && fitsWire(at.field, wire) ? at.field : undefined;
  const content = file.position;
  file.skip(no, wire, end);
  const after = file.position;
  if (isBulk(schema, field?.number, after - content)) {
    extendRuns(decoder, bulk, no, start, after);
    return;
  }
  charge(decoder, leafCost(field, after - start));
  if (field) {
    file.position = content;
    decodeValue(decoder, message, field, wire, after);
  } else keepUnknown(message, no, wire, file.slice(content, after));
}

/** Decodes a known field's content, one value or a packed list, which ends at or before `end`. */
function decodeValue(decoder: Decoder, message: Message, field: DescField, wire: number, end: number): void {
  const { file } = decoder;
  const scalar = field.scalar!;
  if (field.fieldKind !== 'list') setField(message, field, decodeScalar(decoder, scalar, end));
  else if (wire !== Wire.BYTES || !isNumeric(field)) append(message, field, decodeScalar(decoder, scalar, end));
  else {
    const length = file.length(end);
    const stop = file.position + length;
    while (file.position < stop) append(message, field, decodeScalar(decoder, scalar, stop));
  }
}

function decodeScalar(decoder: Decoder, scalar: ScalarType, end: number): unknown {
  const { file } = decoder;
  switch (scalar) {
    case ScalarType.STRING: {
      const { from, to } = contentHere(file, end);
      const text = textOf(file.peek(from, to));
      const known = decoder.texts.get(text);
      if (known === undefined) decoder.texts.set(text, text);
      return known ?? text;
    }
    case ScalarType.BYTES: {
      const { from, to } = contentHere(file, end);
      return file.slice(from, to);
    }
    case ScalarType.FLOAT:
      return file.float32(end);
    case ScalarType.DOUBLE:
      return file.float64(end);
    case ScalarType.INT32: {
      const value = file.varint(end);
      return typeof value === 'number' ? value | 0 : Number(BigInt.asIntN(32, value));
    }
    default: {
      const value = file.varint(end);
      if (typeof value === 'bigint') return scalar === ScalarType.INT64 ? BigInt.asIntN(64, value) : value;
      if (value >= SMALL_INTEGERS) return BigInt(value);
      decoder.integers[value] ??= BigInt(value);
      return decoder.integers[value];
    }
  }
}

/** Sizes and indices, above all, are small and come again and again. */
const SMALL_INTEGERS = 8192;

/** Where a length-delimited field's content lies; the position is moved behind it. */
function contentHere(file: WireFile, end: number): { from: number; to: number } {
  const length = file.length(end);
  const from = file.position;
  file.position = from + length;
  return { from, to: file.position };
}

function setField(message: Message, { localName, oneof }: DescField, value: unknown): void {
  const slots = message as unknown as Record<string, unknown>;
  if (oneof) slots[oneof.localName] = { case: localName, value };
  else slots[localName] = value;
}

function append(message: Message, { localName }: DescField, value: unknown): void {
  const slots = message as unknown as Record<string, unknown[]>;
  const list = slots[localName]!;
  // The empty list may be the frozen one.
  if (list.length === 0) slots[localName] = [value];
  else list.push(value);
}

/** Longer lists waste little; and a message that comes in many pieces is trimmed at each. */
const TRIMMED = 8;

/** A list that grew has room for sixteen more. */
function trimLists({ lists }: Fields, message: Message): void {
  const slots = message as unknown as Record<string, unknown[]>;
  for (const name of lists) {
    const { length } = slots[name]!;
    if (length > 1 && length <= TRIMMED) slots[name] = slots[name]!.slice();
  }
}

/** Whether a field's place is noted instead of its content: any data field of a tensor, and any large unknown field. */
function isBulk(schema: DescMessage, knownNumber: number | undefined, length: number): boolean {
  if (knownNumber === undefined) return length >= LARGE_FIELD_BYTES;
  return BULK_FIELDS[schema.typeName]?.numbers.has(knownNumber) ?? false;
}

/** Joins consecutive occurrences of one field, as unpacked lists have them, to one run. */
function extendRuns(decoder: Decoder, runs: OmittedField[], no: number, start: number, end: number): void {
  const last = runs.at(-1);
  if (last?.no === no && last.offset + last.length === start) {
    last.length = end - last.offset;
    return;
  }
  charge(decoder, MESSAGE_COST);
  runs.push({ no, offset: start, length: end - start });
}

/** Notes the runs that stay in the file and returns those that are small enough to be decoded. */
function splitBulk(decoder: Decoder, schema: DescMessage, message: Message, runs: OmittedField[]): OmittedField[] {
  const threshold = BULK_FIELDS[schema.typeName]?.threshold ?? 0;
  const totals = new Map<number, number>();
  for (const { no, length } of runs) totals.set(no, (totals.get(no) ?? 0) + length);
  const large = runs.filter(({ no }) => totals.get(no)! >= threshold);
  // A message may come in several pieces, which protobuf merges.
  if (large.length > 0) {
    const known = decoder.omitted.get(message);
    if (known) known.push(...large);
    else decoder.omitted.set(message, large);
  }
  return runs.filter(({ no }) => totals.get(no)! < threshold);
}

function charge(decoder: Decoder, cost: number): void {
  decoder.cost += cost;
  if (decoder.cost <= MAX_DECODED_BYTES) return;
  const limit = MAX_DECODED_BYTES / 2 ** 20;
  const message = `its graph without the weights would take more than ${limit} MiB of memory`;
  throw new WireError(message, decoder.file.position, 'too large');
}

function leafCost(field: DescField | undefined, length: number): number {
  if (!field) return UNKNOWN_FIELD_COST + TEXT_COST * length;
  const packed = field.fieldKind === 'list' && isNumeric(field) && length > MAX_SCALAR_BYTES;
  return FIELD_COST + (packed ? PACKED_COST : TEXT_COST) * length;
}

/** A tag and a ten-byte varint. */
const MAX_SCALAR_BYTES = 15;

/** A known field with the wrong wire type is unknown, as in other protobuf libraries. */
function keepUnknown(message: Message, no: number, wireType: number, data: Uint8Array): void {
  message.$unknown ??= [];
  message.$unknown.push({ no, wireType, data });
}

/** The message a nested message is decoded into: a new element of a list, or what the field already holds. */
function childOf(decoder: Decoder, parent: Message, field: DescField, schema: DescMessage): Message {
  const slots = parent as unknown as Record<string, unknown>;
  const make = fieldsOf(decoder, schema).create;
  if (field.fieldKind === 'list') {
    const child = make();
    append(parent, field, child);
    return child;
  }
  if (field.oneof) {
    const current = slots[field.oneof.localName] as { case?: string; value?: Message };
    if (current.case === field.localName && current.value) return current.value;
    const child = make();
    slots[field.oneof.localName] = { case: field.localName, value: child };
    return child;
  }
  slots[field.localName] ??= make();
  return slots[field.localName] as Message;
}

function fieldsOf({ fields }: Decoder, schema: DescMessage): Fields {
  let known = fields.get(schema);
  if (!known) {
    const byNumber = new Map(schema.fields.map((field) => [field.number, field]));
    const lists = schema.fields.filter(({ fieldKind }) => fieldKind === 'list').map(({ localName }) => localName);
    known = { byNumber, lists, create: leanMaker(schema) };
    fields.set(schema, known);
  }
  return known;
}

function fitsWire(field: DescField, wire: number): boolean {
  if (field.message) return wire === Wire.BYTES;
  if (wire === Wire.BYTES && field.fieldKind === 'list') return true;
  if (field.scalar === ScalarType.STRING || field.scalar === ScalarType.BYTES) return wire === Wire.BYTES;
  if (field.scalar === ScalarType.FLOAT) return wire === Wire.BITS32;
  if (field.scalar === ScalarType.DOUBLE) return wire === Wire.BITS64;
  return wire === Wire.VARINT;
}

function isNumeric(field: DescField): boolean {
  return field.scalar !== undefined && field.scalar !== ScalarType.STRING && field.scalar !== ScalarType.BYTES;
}
