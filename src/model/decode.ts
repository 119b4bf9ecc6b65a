import {
  create,
  type DescField,
  type DescMessage,
  type Message,
  mergeFromBinary,
  ScalarType,
} from '@bufbuild/protobuf';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { messageOf } from '../errors.ts';
import { AttributeProtoSchema, type ModelProto, ModelProtoSchema, TensorProtoSchema } from './onnx_pb.ts';
import { escapeText } from './text.ts';
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
const MESSAGE_COST = 320;
const FIELD_COST = 64;
const UNKNOWN_FIELD_COST = 240;
/** Bytes of memory for a byte of text, and for a byte of packed numbers, each of which may become a bigint. */
const TEXT_COST = 4;
const PACKED_COST = 48;

/**
 * Decodes a model without its bulk. Large fields (weights, above all) are not read: `omitted` says where they are in
 * the file. Everything else, unknown fields and names that are not UTF-8 included, is in `proto`.
 * protobuf-es decodes every leaf; only the nesting of messages is walked here, because that is what lets bytes be
 * skipped.
 *
 * @throws WireError if the file is not a protobuf of this shape, nests too deeply or has an unreasonably large graph.
 */
export function decodeModel(file: WireFile): { proto: ModelProto; omitted: Map<object, OmittedField[]> } {
  const decoder: Decoder = { file, omitted: new Map(), fields: new Map(), cost: 0 };
  const proto = create(ModelProtoSchema);
  decodeInto(decoder, ModelProtoSchema, proto, file.size, 1);
  return { proto, omitted: decoder.omitted };
}

interface Decoder {
  file: WireFile;
  omitted: Map<object, OmittedField[]>;
  /** Fields by number, by message type. */
  fields: Map<DescMessage, Map<number, DescField>>;
  cost: number;
}

/** Decodes the message that lies between the file's position and `end`. */
function decodeInto(decoder: Decoder, schema: DescMessage, message: Message, end: number, depth: number): void {
  const { file } = decoder;
  if (depth > MAX_DEPTH) throw new WireError(`messages nest more than ${MAX_DEPTH} deep`, file.position);
  charge(decoder, MESSAGE_COST);
  const fields = fieldsOf(decoder, schema);
  const parts: Parts = { leaves: [], bulk: [] };
  while (file.position < end) {
    const start = file.position;
    const { no, wire } = file.tag(end);
    const field = fields.get(no);
    if (field?.message && wire === Wire.BYTES) {
      const length = file.length(end);
      const child = childOf(message, field, field.message);
      decodeInto(decoder, field.message, child, file.position + length, depth + 1);
    } else {
      const content = file.position;
      file.skip(no, wire, end);
      keepField(decoder, message, parts, { schema, field, no, wire, start, content });
    }
  }
  for (const run of splitBulk(decoder, schema, message, parts.bulk)) {
    charge(decoder, FIELD_COST + PACKED_COST * run.length);
    keepLeaf(parts.leaves, run.offset, run.offset + run.length);
  }
  mergeLeaves(file, schema, message, parts.leaves);
}

/** What a message holds besides messages. */
interface Parts {
  /** Fields that protobuf-es decodes: ranges of the file as they are, or bytes in their place. */
  leaves: ({ start: number; end: number } | { bytes: Uint8Array })[];
  /** Fields that may stay in the file. */
  bulk: OmittedField[];
}

/** Keeps the field that ends at the file's position and no message is. */
function keepField(
  decoder: Decoder,
  message: Message,
  { leaves, bulk }: Parts,
  at: { schema: DescMessage; field: DescField | undefined; no: number; wire: number; start: number; content: number },
): void {
  const { file } = decoder;
  const { schema, no, wire, start, content } = at;
  const field = at.field && fitsWire(at.field, wire) ? at.field : undefined;
  if (isBulk(schema, field?.number, file.position - content)) {
    extendRuns(decoder, bulk, no, start, file.position);
    return;
  }
  charge(decoder, leafCost(field, file.position - start));
  const escaped = field?.scalar === ScalarType.STRING ? escapedField(file, start, content) : undefined;
  if (at.field && !field) keepUnknown(message, no, wire, file.slice(content, file.position));
  else if (escaped) leaves.push({ bytes: escaped });
  else keepLeaf(leaves, start, file.position);
}

/** Consecutive fields become one range. */
function keepLeaf(leaves: Parts['leaves'], start: number, end: number): void {
  const last = leaves.at(-1);
  if (last && 'start' in last && last.end === start) last.end = end;
  else leaves.push({ start, end });
}

function mergeLeaves(file: WireFile, schema: DescMessage, message: Message, leaves: Parts['leaves']): void {
  if (leaves.length === 0) return;
  const pieces = leaves.map((leaf) => ('bytes' in leaf ? leaf.bytes : file.slice(leaf.start, leaf.end)));
  try {
    mergeFromBinary(schema, message, pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces));
  } catch (cause) {
    throw new WireError(`a ${schema.name} does not decode: ${messageOf(cause)}`, file.position);
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
  if (large.length > 0) decoder.omitted.set(message, [...(decoder.omitted.get(message) ?? []), ...large]);
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

/** A string field whose text is not UTF-8, escaped; `undefined` for any other. */
function escapedField(file: WireFile, start: number, content: number): Uint8Array | undefined {
  const end = file.position;
  file.position = content;
  const length = file.length(end);
  file.position = end;
  const text = file.slice(end - length, end);
  const escaped = escapeText(text);
  return escaped === text ? undefined : new BinaryWriter().raw(file.slice(start, content)).bytes(escaped).finish();
}

/** A known field with the wrong wire type is unknown, as in other protobuf libraries. */
function keepUnknown(message: Message, no: number, wireType: number, data: Uint8Array): void {
  message.$unknown ??= [];
  message.$unknown.push({ no, wireType, data });
}

/** The message a nested message is decoded into: a new element of a list, or what the field already holds. */
function childOf(parent: Message, field: DescField, schema: DescMessage): Message {
  const slots = parent as unknown as Record<string, unknown>;
  if (field.fieldKind === 'list') {
    const child = create(schema);
    (slots[field.localName] as Message[]).push(child);
    return child;
  }
  if (field.oneof) {
    const current = slots[field.oneof.localName] as { case?: string; value?: Message };
    if (current.case === field.localName && current.value) return current.value;
    const child = create(schema);
    slots[field.oneof.localName] = { case: field.localName, value: child };
    return child;
  }
  slots[field.localName] ??= create(schema);
  return slots[field.localName] as Message;
}

function fieldsOf({ fields }: Decoder, schema: DescMessage): Map<number, DescField> {
  let table = fields.get(schema);
  if (!table) {
    table = new Map(schema.fields.map((field) => [field.number, field]));
    fields.set(schema, table);
  }
  return table;
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
