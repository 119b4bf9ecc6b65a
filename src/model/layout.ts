import path from 'node:path';
import { create, isFieldSet } from '@bufbuild/protobuf';
import { InputError } from '../errors.ts';
import { LARGE_TENSOR_BYTES } from './decode.ts';
import { encode, encodedSize, fieldHeader, type Span, type Splice, type Splicer } from './encode.ts';
import { DataLocation } from './enums.ts';
import { shallowCopy } from './make.ts';
import { ModelProtoSchema, StringStringEntryProtoSchema, type TensorProto, TensorProtoSchema } from './onnx_pb.ts';
import { MAX_PROTOBUF_BYTES } from './read.ts';
import type { FileLayout, JobContent, Model, Segment } from './types.ts';
import { type TensorPlace, walkTensors } from './walk.ts';

/** Tensors in external data begin at multiples of this, so that a runtime can map them. */
export const DATA_ALIGNMENT = 4096;

export interface LayoutOptions<Job> {
  /** Path of the graph file to be written; its data file is `<output>.data`. */
  output: string;
  /**
   * Whether large tensors go to the data file. `auto` (default): if they came from one, or if the graph file would
   * pass 2 GiB.
   */
  external?: 'auto' | 'always' | 'never';
  /** Tensors of `model.proto` whose bytes are made while writing: their own data fields are ignored. */
  contents?: ReadonlyMap<TensorProto, JobContent<Job>>;
}

/** The files of a model to be written. */
export interface ModelLayout<Job> {
  /** The external data file, or `undefined` if there is none. */
  data: FileLayout<Job> | undefined;
  /** The graph file; it names the data file `location` (default: the name in `data.path`). */
  graph(location?: string): FileLayout<Job>;
}

/**
 * Lays out a model as files: which bytes come from where. Reads nothing and changes nothing; large tensors are ranges
 * of the source's files or the caller's jobs. A tensor that a caller put into the proto as bytes stays in the graph.
 * The same model gives the same layout.
 *
 * @throws InputError if the graph file would pass 2 GiB.
 */
export function layoutModel<Job = never>(model: Model, options: LayoutOptions<Job>): ModelLayout<Job> {
  const { output, external = 'auto', contents = new Map<TensorProto, JobContent<Job>>() } = options;
  const placed = new Map<TensorProto, Placed<Job>>();
  for (const place of walkTensors(model.proto)) {
    const content = contentOf(model, contents, place);
    if (content) placed.set(place.tensor, content);
  }
  const inlineBytes = [...placed.values()].reduce((sum, { content }) => sum + content.length, 0);
  const fits = inlineBytes <= MAX_PROTOBUF_BYTES;
  const inside = splicerOf(model, placed, new Map<TensorProto, number>(), '');
  const separate =
    external === 'always' ||
    (external === 'auto' &&
      (model.externalFiles.length > 0 ||
        !fits ||
        encodedSize(ModelProtoSchema, model.proto, inside) > MAX_PROTOBUF_BYTES));
  if (!separate) {
    if (!fits) throw tooLarge(output, ADVICE);
    return { data: undefined, graph: () => checkSize(layoutGraph(model, output, inside), ADVICE) };
  }
  const { data, offsets } = layoutData(output, placed);
  const graph = (location = path.basename(data?.path ?? '')) =>
    checkSize(
      layoutGraph(model, output, splicerOf(model, placed, offsets, location)),
      'it holds too much besides weights',
    );
  return { data, graph };
}

const ADVICE = 'let the weights lie in external data';

function checkSize<Job>(file: FileLayout<Job>, advice: string): FileLayout<Job> {
  if (file.size > MAX_PROTOBUF_BYTES) throw tooLarge(file.path, advice);
  return file;
}

function tooLarge(output: string, advice: string): InputError {
  return new InputError(`The graph file "${output}" would pass the 2 GiB that ONNX files end at: ${advice}.`);
}

/** Bytes for a tensor that are not encoded with it. */
type Content<Job> = FileContent | { kind: 'job'; job: Job; length: number };

interface FileContent {
  kind: 'file';
  path: string;
  sourceOffset: number;
  length: number;
}

interface Placed<Job> {
  content: Content<Job>;
  /** Whether the bytes are this tensor's own fields of the source's graph file, to be kept as they are. */
  asOmitted: boolean;
  /** Whether the tensor may lie in external data. */
  movable: boolean;
}

function contentOf<Job>(
  model: Model,
  contents: ReadonlyMap<TensorProto, JobContent<Job>>,
  { tensor, role, inFunction }: TensorPlace,
): Placed<Job> | undefined {
  const made = contents.get(tensor);
  const source = model.tensors.get(tensor)?.source;
  const wasExternal = tensor.dataLocation === DataLocation.EXTERNAL;
  const content: Content<Job> | undefined = made
    ? { kind: 'job', ...made }
    : source?.kind === 'file'
      ? { kind: 'file', path: source.path, sourceOffset: source.offset, length: source.length }
      : undefined;
  if (!content) return undefined;
  // Runtimes expand function bodies and read operators' attributes by themselves: only what was external there stays so.
  const suited = wasExternal || (!inFunction && (role === 'initializer' || role === 'constant'));
  return { content, asOmitted: !made && !wasExternal, movable: suited && content.length >= LARGE_TENSOR_BYTES };
}

function layoutData<Job>(output: string, placed: Map<TensorProto, Placed<Job>>) {
  const segments: Segment<Job>[] = [];
  const offsets = new Map<TensorProto, number>();
  const shared = new Map<string, number>();
  let size = 0;
  for (const [tensor, { content, movable }] of placed) {
    if (!movable) continue;
    // Tensors that share a range of the source share it here too.
    const key = content.kind === 'file' ? `${content.sourceOffset}+${content.length}:${content.path}` : undefined;
    let offset = key === undefined ? undefined : shared.get(key);
    if (offset === undefined) {
      offset = Math.ceil(size / DATA_ALIGNMENT) * DATA_ALIGNMENT;
      if (offset > size) segments.push({ offset: size, length: offset - size, kind: 'zeros' });
      segments.push({ offset, ...content });
      size = offset + content.length;
      if (key !== undefined) shared.set(key, offset);
    }
    offsets.set(tensor, offset);
  }
  const data: FileLayout<Job> | undefined = size > 0 ? { path: `${output}.data`, size, segments } : undefined;
  return { data, offsets };
}

/** What stands in the graph file in place of each tensor's bytes. */
function splicerOf<Job>(
  model: Model,
  placed: Map<TensorProto, Placed<Job>>,
  offsets: Map<TensorProto, number>,
  location: string,
): Splicer<GraphContent<Job>> {
  return (message) => {
    const tensor = message as TensorProto;
    const place = placed.get(tensor);
    if (!place) {
      if (message.$typeName === TensorProtoSchema.typeName && tensor.rawData.length >= LARGE_TENSOR_BYTES) {
        // What a caller put there goes into the file from where it is, not through the encoded message.
        const bytes = tensor.rawData;
        const raw = rawData<MemoryContent>({ kind: 'bytes', bytes, length: bytes.length });
        return { message: without(shallowCopy(tensor), 'rawData'), splices: [raw, ...omittedFields(model, tensor)] };
      }
      return model.omitted.has(message) ? { message, splices: omittedFields(model, message) } : undefined;
    }
    const offset = offsets.get(tensor);
    if (offset !== undefined) {
      return {
        message: externalImage(tensor, place, location, offset),
        splices: omittedFields(model, tensor, isNoData),
      };
    }
    if (place.asOmitted) return { message, splices: omittedFields(model, message) };
    return {
      message: withoutData(tensor),
      splices: [rawData(place.content), ...omittedFields(model, tensor, isNoData)],
    };
  };
}

function layoutGraph<Job>(model: Model, output: string, splicer: Splicer<GraphContent<Job>>): FileLayout<Job> {
  const segments: Segment<Job>[] = [];
  let size = 0;
  for (const piece of encode(ModelProtoSchema, model.proto, splicer)) {
    const offset = size;
    size += piece.length;
    if ('kind' in piece) {
      if (piece.length > 0) segments.push({ offset, ...piece });
    } else
      segments.push({
        offset,
        length: piece.length,
        kind: 'bytes',
        get bytes() {
          return piece.bytes;
        },
      });
  }
  return { path: output, size, segments };
}

interface MemoryContent {
  kind: 'bytes';
  bytes: Uint8Array;
  length: number;
}

type GraphContent<Job> = Content<Job> | MemoryContent;

function rawData<S extends Span>(span: S): Splice<S> {
  const no = TensorProtoSchema.field.rawData.number;
  return { no, header: fieldHeader(no, span.length), span };
}

function omittedFields(
  model: Model,
  message: object,
  wanted: (no: number) => boolean = () => true,
): Splice<FileContent>[] {
  const fields = (model.omitted.get(message) ?? []).filter(({ no }) => wanted(no));
  return fields.map(({ no, offset, length }) => ({
    no,
    header: new Uint8Array(),
    span: { kind: 'file', path: model.path, sourceOffset: offset, length },
  }));
}

/** The tensor as the graph file describes it when its bytes lie elsewhere. */
function externalImage<Job>(tensor: TensorProto, place: Placed<Job>, location: string, offset: number): TensorProto {
  const image = withoutData(tensor);
  const entry = (key: string, value: string) => create(StringStringEntryProtoSchema, { key, value });
  image.externalData = [
    entry('location', location),
    entry('offset', String(offset)),
    entry('length', String(place.content.length)),
  ];
  image.dataLocation = DataLocation.EXTERNAL;
  return image;
}

const DATA_FIELDS = ['floatData', 'int32Data', 'stringData', 'int64Data', 'doubleData', 'uint64Data'] as const;

function isNoData(no: number): boolean {
  const { rawData } = TensorProtoSchema.field;
  return no !== rawData.number && DATA_FIELDS.every((field) => TensorProtoSchema.field[field].number !== no);
}

/** A shallow copy without data fields and external data. */
function withoutData(tensor: TensorProto): TensorProto {
  const image = shallowCopy(tensor);
  for (const field of DATA_FIELDS) image[field] = [];
  image.externalData = [];
  return without(without(image, 'rawData'), 'dataLocation');
}

function without(tensor: TensorProto, field: 'rawData' | 'dataLocation'): TensorProto {
  if (isFieldSet(tensor, TensorProtoSchema.field[field])) Reflect.deleteProperty(tensor, field);
  return tensor;
}
