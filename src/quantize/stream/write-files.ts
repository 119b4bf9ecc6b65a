import { type FileHandle, open, rm } from 'node:fs/promises';
import { CHUNK_BYTES, rootOf } from '../../model/digest.ts';
import type { Segment } from '../../model/types.ts';
import { channelsOf, exchangeOf } from './geometry.ts';
import { elementBytes, inputOf, sendable } from './input.ts';
import type { Pool } from './pool.ts';
import type { WritePiece, WriteTask } from './tasks.ts';
import type { StreamJob, StreamLayout, WeightParameters, WrittenFile } from './types.ts';
import { BlockWriter, type Present } from './write-blocks.ts';

/**
 * Pass 2: writes files chunk by chunk, each chunk by one worker that reads, quantizes, hashes and writes it. Close it,
 * whatever happened: files that `sync` has not seen through to the disk are removed then.
 */
export class FileWriter {
  readonly #pool: Pool;
  readonly #options: WriteOptions;
  readonly #blocks = new BlockWriter();
  #files: OutputFile[] = [];

  constructor(pool: Pool, options: WriteOptions = {}) {
    this.#pool = pool;
    this.#options = options;
  }

  /**
   * Writes a new file (an existing path is an error). `onBytes` hears how many more bytes were written.
   *
   * @throws InputError for a source that cannot be read; what the file system says about the output (a full disk) as
   * the error it is, with `code` and `syscall`.
   */
  async write(layout: StreamLayout, onBytes: (bytes: number) => void = () => {}): Promise<WrittenFile> {
    const file = await OutputFile.create(layout);
    this.#files.push(file);
    const { digests = true } = this.#options;
    const written = (bytes: number) => {
      file.writeBehind();
      onBytes(bytes);
    };
    const segments = await this.#blocks.write(layout.segments, file.handle.fd, this.#pool, written);
    const chunks: string[] = [];
    await this.#pool.runAll(tasks(file, segments, this.#pool, digests), ({ index, fresh }, digest) => {
      chunks[index] = digest;
      written(fresh);
    });
    return { path: layout.path, size: layout.size, chunks, root: rootOf(chunks) };
  }

  /** Waits until all that was written is on the disk. The processor is free meanwhile. */
  async sync(): Promise<void> {
    await Promise.all(this.#files.map((file) => file.sync()));
    const done = this.#files;
    this.#files = [];
    for (const file of done) await file.close();
  }

  /** Removes what is not synced. */
  async close(): Promise<void> {
    if (this.#files.length === 0) return;
    // Whatever went wrong, no worker may still write to what is about to be removed.
    await this.#pool.stop();
    for (const file of this.#files) {
      await file.close();
      await file.remove();
    }
    this.#files = [];
  }
}

export interface WriteOptions {
  /** False leaves the digests empty: for measuring what they cost. */
  digests?: boolean;
}

/** A file on its way to the disk. */
class OutputFile {
  readonly layout: StreamLayout;
  readonly handle: FileHandle;
  #flushing: Promise<void> | undefined;

  private constructor(layout: StreamLayout, handle: FileHandle) {
    this.layout = layout;
    this.handle = handle;
  }

  static async create(layout: StreamLayout): Promise<OutputFile> {
    return new OutputFile(layout, await open(layout.path, 'wx+'));
  }

  /** Starts the disk on what is written already, while the workers go on; one flush at a time. */
  writeBehind(): void {
    if (this.#flushing) return;
    const flushing = this.handle.datasync().then(() => {
      this.#flushing = undefined;
    });
    // A failed flush stays for `sync` to report: the kernel tells of lost pages once.
    flushing.catch(() => {});
    this.#flushing = flushing;
  }

  async sync(): Promise<void> {
    await this.#flushing;
    await this.handle.sync();
  }

  async remove(): Promise<void> {
    await rm(this.layout.path, { force: true });
  }

  async close(): Promise<void> {
    await this.#flushing?.catch(() => {});
    await this.handle.close();
  }
}

interface Chunk {
  index: number;
  /** Bytes of it that were not there before. */
  fresh: number;
}

type FileSegment = Segment<StreamJob | Present>;

/** What a worker gets at a time, so that neither side holds a model of many small tensors at once. */
const STEP_PIECES = 256;
const STEP_BYTES = 2 ** 20;

function* tasks(
  { layout: { size }, handle: { fd } }: OutputFile,
  segments: readonly FileSegment[],
  pool: Pool,
  digest: boolean,
): Generator<[Iterable<WriteTask>, Chunk]> {
  let first = 0;
  for (let index = 0, position = 0; position < size; index++, position += CHUNK_BYTES) {
    const length = Math.min(CHUNK_BYTES, size - position);
    while (endOf(segments[first]!) <= position) first++;
    const chunk = { fd, position, length, digest };
    yield [steps(chunk, piecesOf(segments, first, chunk, pool)), { index, fresh: freshBytes(segments, first, chunk) }];
  }
}

/** Pieces of a chunk, as many as are fit for one message. */
function* steps(chunk: Omit<WriteTask, 'kind' | 'pieces' | 'more'>, made: Iterable<WritePiece>): Generator<WriteTask> {
  let pieces: WritePiece[] = [];
  let bytes = 0;
  for (const piece of made) {
    const inline = inlineBytes(piece);
    if (pieces.length >= STEP_PIECES || (bytes > 0 && bytes + inline > STEP_BYTES)) {
      yield { kind: 'write', ...chunk, pieces, more: true };
      pieces = [];
      bytes = 0;
    }
    pieces.push(piece);
    bytes += inline;
  }
  yield { kind: 'write', ...chunk, pieces, more: false };
}

/** Bytes that travel with a piece. */
function inlineBytes(piece: WritePiece): number {
  const input = piece.kind === 'copy' ? piece.input : 'floats' in piece ? piece.floats.input : undefined;
  return input && 'bytes' in input && !(input.bytes.buffer instanceof SharedArrayBuffer) ? input.bytes.length : 0;
}

/** A chunk's pieces, from the segment that it begins in; bytes in memory at most a step at a time. */
function* piecesOf(
  segments: readonly FileSegment[],
  first: number,
  { position, length }: Pick<WriteTask, 'position' | 'length'>,
  pool: Pool,
): Generator<WritePiece> {
  const end = position + length;
  for (let i = first; i < segments.length && segments[i]!.offset < end; i++) {
    const segment = segments[i]!;
    const until = Math.min(end, endOf(segment));
    const most = segment.kind === 'bytes' ? STEP_BYTES : length;
    for (let from = Math.max(position, segment.offset); from < until; from += most) {
      yield pieceOf(segment, from - segment.offset, Math.min(most, until - from), pool);
    }
  }
}

function endOf({ offset, length }: FileSegment): number {
  return offset + length;
}

/** Bytes of a chunk that are not in the file yet. */
function freshBytes(
  segments: readonly FileSegment[],
  first: number,
  { position, length }: Pick<WriteTask, 'position' | 'length'>,
): number {
  const end = position + length;
  let fresh = length;
  for (let i = first; i < segments.length && segments[i]!.offset < end; i++) {
    const segment = segments[i]!;
    if (segment.kind !== 'job' || segment.job.kind !== 'present') continue;
    fresh -= Math.min(end, endOf(segment)) - Math.max(position, segment.offset);
  }
  return fresh;
}

/** `length` bytes of a segment, `skip` bytes after its start, as a worker makes them. */
function pieceOf(segment: FileSegment, skip: number, length: number, pool: Pool): WritePiece {
  switch (segment.kind) {
    case 'zeros':
      return { kind: 'zeros', length };
    case 'bytes':
      return { kind: 'copy', length, input: { bytes: sendable(segment.bytes, skip, length), from: 0 } };
    case 'file': {
      const fd = pool.sources.fd(segment.path);
      return { kind: 'copy', length, input: { fd, path: segment.path, offset: segment.sourceOffset + skip } };
    }
    case 'job':
      return jobPiece(segment.job, skip, length, pool);
  }
}

function jobPiece(job: StreamJob | Present, skip: number, length: number, pool: Pool): WritePiece {
  if (job.kind === 'present') return { kind: 'present', length };
  if (job.kind === 'blocks') throw new Error(`${job.part} of ${job.job.source.name} are not made yet`);
  if (job.kind === 'float16') {
    const { source } = job;
    const start = Math.floor(skip / 2);
    const size = elementBytes(source);
    const elements = Math.ceil((skip + length) / 2) - start;
    const input = inputOf(source.source, start * size, elements * size, pool);
    return { kind: 'float16', length, floats: { input, dtype: source.dtype }, start, skip: skip % 2 ? 1 : 0 };
  }
  const { source, axis, permutation, target } = job.job;
  const exchange = permutation && exchangeOf(source.dims, permutation);
  const size = elementBytes(source);
  // Exchanged rows and columns come from anywhere in the source.
  const [from, bytes] = exchange ? [0, source.length] : [skip * size, length * size];
  return {
    kind: 'quantize',
    length,
    floats: { input: inputOf(source.source, from, bytes, pool), dtype: source.dtype },
    start: skip,
    kernel: kernelOf(target, job.parameters),
    ...channelsOf(source.dims, axis),
    scales: job.parameters.scales,
    zeroPoints: job.parameters.zeroPoints,
    exchange,
  };
}

function kernelOf(target: 'int8' | 'uint8', { nonFinite }: WeightParameters) {
  if (nonFinite > 0) return target === 'uint8' ? 'quantizeAnyUint8' : 'quantizeAnyInt8';
  return target === 'uint8' ? 'quantizeUint8' : 'quantizeInt8';
}
