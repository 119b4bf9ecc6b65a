import { createHash, type Hash } from 'node:crypto';
import fs from 'node:fs';
import { BlockBench } from './block-bench.ts';
import { BLOCK, Desk, FIRST_OF_PAIR, FLOATS, FLUSH, OUT, RAW, SECOND_OF_PAIR, STAGE, TILE, WINDOW } from './desk.ts';
import { type Channels, type Exchange, kernelInner, phaseOf } from './geometry.ts';
import type { Input, Outcome, PieceRange, RangePiece, Task, WritePiece, WriteTask } from './tasks.ts';

/** Rows up to this many elements are read whole, even where few columns are wanted: cheaper than a read per row. */
const WHOLE_ROW = 4096;
/** Fewer columns than this are not worth a read per row: better write the tile row by row as well. */
const NARROWEST_STRIP = 256;

/** What one worker does at its desk: it reads, quantizes, hashes and writes blocks. */
export class Workbench {
  readonly #desk: Desk;
  readonly #blocks: BlockBench;
  /** The chunk that further steps will go on with. */
  #open: Output | undefined;

  constructor(module: WebAssembly.Module) {
    this.#desk = new Desk(module);
    this.#blocks = new BlockBench(this.#desk);
  }

  run(task: Task): Outcome {
    if (task.kind === 'range') return task.pieces.map((piece) => this.#range(piece));
    if (task.kind === 'blocks') return this.#blocks.run(task);
    return task.kind === 'digest' ? this.#digest(task.input, task.length) : this.#write(task);
  }

  #range(piece: RangePiece): PieceRange {
    const all = touched(piece, piece.start, piece.count);
    if (piece.symmetric) {
      const max = new Float32Array(all.count);
      const [magnitude, symmetric] = [this.#desk.kernels.magnitude, [{ values: max, at: SECOND_OF_PAIR }]];
      this.#overChannels(piece, all.first, symmetric, (...block) => magnitude(...block, SECOND_OF_PAIR));
      const min = max.map((value) => -value);
      if (max.every(Number.isFinite)) return { first: all.first, min, max, nonFinite: 0, nan: 0 };
    }
    // The values are not all finite, or their signs matter.
    const [min, max] = [new Float32Array(all.count), new Float32Array(all.count)];
    const ranges = [
      { values: min, at: FIRST_OF_PAIR },
      { values: max, at: SECOND_OF_PAIR },
    ];
    let [nonFinite, nan] = [0, 0];
    this.#overChannels(piece, all.first, ranges, (...block) => {
      const odd = this.#desk.kernels.range(...block, FIRST_OF_PAIR, SECOND_OF_PAIR);
      nonFinite += odd;
      if (odd > 0) nan += this.#countNaN(block[0], block[1]);
    });
    return { first: all.first, min, max, nonFinite, nan };
  }

  #countNaN(source: number, count: number): number {
    const floats = this.#desk.f32.subarray(source / 4, source / 4 + count);
    return floats.reduce((sum, value) => sum + Number(Number.isNaN(value)), 0);
  }

  /** Gives each block of a piece to a kernel while the values of its channels, from `first` on, lie at their places. */
  #overChannels(
    piece: RangePiece,
    first: number,
    tables: readonly { values: Float32Array; at: number }[],
    kernel: (...block: Block) => void,
  ): void {
    for (const { start, count, window } of windowed(piece, piece.start, piece.count)) {
      const from = window.first - first;
      for (const { values, at } of tables) this.#desk.f32.set(values.subarray(from, from + window.count), at / 4);
      for (const block of blocks(start, count)) {
        const source = this.#desk.loadFloats(piece.floats, block.start, block.count, FLOATS);
        const { channel, left } = phaseOf(piece, block.start);
        kernel(source, block.count, channel - window.first, left, piece.channels, kernelInner(piece));
      }
      for (const { values, at } of tables) values.set(this.#desk.f32.subarray(at / 4, at / 4 + window.count), from);
    }
  }

  #digest(input: Input, length: number): string {
    const hash = createHash('sha256');
    for (const { start, count } of blocks(0, length, FLUSH)) {
      this.#desk.load(input, start, count, OUT);
      hash.update(this.#desk.bytes.subarray(OUT, OUT + count));
    }
    return hash.digest('hex');
  }

  #write(task: WriteTask): string {
    const out = this.#open ?? new Output(this.#desk.bytes, task);
    for (const piece of task.pieces) {
      if (piece.kind === 'zeros') this.#zeros(piece.length, out);
      else if (piece.kind === 'copy') this.#copy(piece.input, piece.length, out);
      else if (piece.kind === 'present') out.readBack(piece.length);
      else if (piece.kind === 'float16') this.#float16(piece, out);
      else if (piece.exchange) this.#exchange(piece, piece.exchange, out);
      else this.#quantize(piece, out);
    }
    this.#open = task.more ? out : undefined;
    return task.more ? '' : out.finish();
  }

  #zeros(length: number, out: Output): void {
    for (const { count } of blocks(0, length)) {
      const target = out.reserve(count);
      this.#desk.bytes.fill(0, target, target + count);
      out.commit(count);
    }
  }

  #copy(input: Input, length: number, out: Output): void {
    for (const { start, count } of blocks(0, length, FLUSH)) {
      this.#desk.load(input, start, count, out.reserve(count));
      out.commit(count);
    }
  }

  #float16(piece: Extract<WritePiece, { kind: 'float16' }>, out: Output): void {
    let { start, skip, length } = piece;
    while (length > 0) {
      const count = Math.min(BLOCK, Math.ceil((skip + length) / 2));
      const made = Math.min(2 * count - skip, length);
      const source = this.#desk.loadFloats(piece.floats, start, count, FLOATS);
      if (skip) {
        // Half an element: made aside, because the byte before it is already in the output.
        this.#desk.kernels.float16FromFloat32(source, RAW, count);
        this.#desk.bytes.copyWithin(out.reserve(made), RAW + skip, RAW + skip + made);
      } else {
        this.#desk.kernels.float16FromFloat32(source, out.reserve(made), count);
      }
      out.commit(made);
      start += count;
      length -= made;
      skip = 0;
    }
  }

  #quantize(piece: QuantizePiece, out: Output): void {
    for (const { start, count, window } of windowed(piece, piece.start, piece.length)) {
      this.#loadScales(piece, window);
      for (const block of blocks(start, count)) {
        const source = this.#desk.loadFloats(piece.floats, block.start, block.count, FLOATS);
        this.#quantizeBlock(piece, window, source, out.reserve(block.count), block.start, block.count);
        out.commit(block.count);
      }
    }
  }

  /** Quantizes elements that lie at `source`; `start` is the first one's index in the tensor. */
  #quantizeBlock(piece: QuantizePiece, window: Window, source: number, target: number, start: number, count: number) {
    const { channel, left } = phaseOf(piece, start);
    this.#desk.kernels[piece.kernel](
      source,
      target,
      count,
      channel - window.first,
      left,
      piece.channels,
      kernelInner(piece),
      FIRST_OF_PAIR,
      SECOND_OF_PAIR,
    );
  }

  #loadScales(piece: QuantizePiece, { first, count }: Window): void {
    this.#desk.f32.set(piece.scales.subarray(first, first + count), FIRST_OF_PAIR / 4);
    this.#desk.i16.set(piece.zeroPoints.subarray(first, first + count), SECOND_OF_PAIR / 2);
  }

  /** Quantizes and exchanges rows and columns; the piece may begin and end anywhere in the exchanged tensor. */
  #exchange(piece: QuantizePiece, exchange: Exchange, out: Output): void {
    const { rows, columns } = exchange;
    const matrix = rows * columns;
    const end = piece.start + piece.length;
    for (let at = piece.start; at < end; ) {
      const batch = Math.floor(at / matrix);
      const until = Math.min(end, (batch + 1) * matrix);
      this.#exchangeMatrix({ piece, rows, columns, origin: batch * matrix }, at, until, out);
      at = until;
    }
  }

  /** Makes the output elements [from, until) of one matrix: whole strips of columns, or tiles where those are narrow. */
  #exchangeMatrix(matrix: Matrix, from: number, until: number, out: Output): void {
    const { rows, origin } = matrix;
    const firstColumn = Math.floor((from - origin) / rows);
    const lastColumn = Math.ceil((until - origin) / rows);
    const width = lastColumn - firstColumn;
    const strip = Math.min(width, Math.floor(TILE / rows), BLOCK);
    const wholeStrips = strip === width || strip >= NARROWEST_STRIP;
    const tileColumns = wholeStrips ? strip : Math.min(width, NARROWEST_STRIP);
    const tileRows = wholeStrips ? rows : Math.floor(TILE / tileColumns);
    const tile = out.flush();
    for (let column = firstColumn; column < lastColumn; column += tileColumns) {
      const taken = Math.min(tileColumns, lastColumn - column);
      for (let row = 0; row < rows; row += tileRows) {
        const height = Math.min(tileRows, rows - row);
        this.#fillTile(matrix, { row, column, rows: height, columns: taken }, tile);
        if (wholeStrips) {
          const start = origin + column * rows;
          out.put(tile + Math.max(from - start, 0), tile + Math.min(until - start, taken * rows));
          continue;
        }
        for (let i = 0; i < taken; i++) {
          const start = origin + (column + i) * rows + row;
          const skipped = Math.max(from - start, 0);
          const kept = Math.min(until - start, height);
          if (kept > skipped) out.write(tile + i * height + skipped, tile + i * height + kept, start + skipped - from);
        }
      }
    }
    if (!wholeStrips) out.readBack(until - from);
  }

  /** Reads, quantizes and exchanges a rectangle of the source. In the tile its columns are rows, without gaps. */
  #fillTile(matrix: Matrix, area: Area, tile: number): void {
    const { piece, columns, origin } = matrix;
    const whole = columns <= WHOLE_ROW;
    const pitch = whole ? columns : area.columns;
    const batch = Math.floor(BLOCK / pitch);
    for (let row = 0; row < area.rows; row += batch) {
      const count = Math.min(batch, area.rows - row);
      const start = origin + (area.row + row) * columns;
      const source = whole ? this.#desk.loadFloats(piece.floats, start, count * columns, FLOATS) : FLOATS;
      for (let i = 0; i < count; i++) {
        const first = start + i * columns + area.column;
        const at = whole
          ? source + 4 * (i * columns + area.column)
          : this.#desk.loadFloats(piece.floats, first, area.columns, FLOATS);
        for (const part of windowed(piece, first, area.columns)) {
          this.#loadScales(piece, part.window);
          const done = part.start - first;
          const target = STAGE + i * area.columns + done;
          this.#quantizeBlock(piece, part.window, at + 4 * done, target, part.start, part.count);
        }
      }
      this.#desk.kernels.transposeBytes(STAGE, tile + row, count, area.columns, area.columns, area.rows);
    }
  }
}

/** The arguments that the range kernels share: source, count, channel, left, channels, inner. */
type Block = [number, number, number, number, number, number];

type QuantizePiece = Extract<WritePiece, { kind: 'quantize' }>;

/** One source matrix of a weight; `origin` is its first element. */
interface Matrix extends Exchange {
  piece: QuantizePiece;
  origin: number;
}

interface Area {
  row: number;
  column: number;
  rows: number;
  columns: number;
}

/** Consecutive channels. */
interface Window {
  first: number;
  count: number;
}

/** An output chunk on its way: a buffer that is hashed and written whenever it is full enough. */
class Output {
  readonly #bytes: Uint8Array;
  readonly #task: WriteTask;
  readonly #hash: Hash | undefined;
  #position: number;
  #filled = 0;

  constructor(bytes: Uint8Array, task: WriteTask) {
    this.#bytes = bytes;
    this.#task = task;
    this.#hash = task.digest ? createHash('sha256') : undefined;
    this.#position = task.position;
  }

  /** Where the next `length` ≤ FLUSH bytes go. */
  reserve(length: number): number {
    if (this.#filled + length > FLUSH) this.flush();
    return OUT + this.#filled;
  }

  /** Takes over what was made at the reserved place. */
  commit(length: number): void {
    this.#filled += length;
  }

  /** Hashes and writes what is in the buffer; afterwards all of it (TILE bytes) is free. Says where it begins. */
  flush(): number {
    const filled = this.#filled;
    this.#filled = 0;
    if (filled > 0) this.put(OUT, OUT + filled);
    return OUT;
  }

  /** Hashes and writes [from, until) of the memory as the chunk's next bytes. */
  put(from: number, until: number): void {
    this.#hash?.update(this.#bytes.subarray(from, until));
    this.write(from, until, 0);
    this.#position += until - from;
  }

  /** Writes [from, until) of the memory `ahead` bytes behind the chunk's next byte, to be hashed by `readBack`. */
  write(from: number, until: number, ahead: number): void {
    for (let at = from; at < until; ) {
      at += fs.writeSync(this.#task.fd, this.#bytes, at, until - at, this.#position + ahead + at - from);
    }
  }

  /** Hashes the next `length` bytes, which were put into the file out of order. */
  readBack(length: number): void {
    this.flush();
    for (const { count } of blocks(0, length, FLUSH)) {
      const read = fs.readSync(this.#task.fd, this.#bytes, OUT, count, this.#position);
      if (read !== count) throw new Error(`${count - read} of ${count} bytes just written are missing`);
      this.#hash?.update(this.#bytes.subarray(OUT, OUT + count));
      this.#position += count;
    }
  }

  finish(): string {
    this.flush();
    const made = this.#position - this.#task.position;
    if (made !== this.#task.length) throw new Error(`A chunk of ${this.#task.length} bytes came out with ${made}`);
    return this.#hash?.digest('hex') ?? '';
  }
}

/** Cuts [start, start + count) into blocks of at most `longest`. */
function* blocks(start: number, count: number, longest = BLOCK): Generator<{ start: number; count: number }> {
  const end = start + count;
  for (let at = start; at < end; at += longest) yield { start: at, count: Math.min(longest, end - at) };
}

/**
 * Cuts a range of elements so that each part's channels fit the window and, where they are not all of the tensor's, do
 * not start over within it.
 */
function* windowed(
  geometry: Channels,
  start: number,
  count: number,
): Generator<{ start: number; count: number; window: Window }> {
  const { channels, inner } = geometry;
  const all = touched(geometry, start, count);
  if (all.count <= WINDOW) {
    yield { start, count, window: all };
    return;
  }
  const end = start + count;
  for (let at = start; at < end; ) {
    const run = Math.floor(at / inner);
    const round = Math.floor(run / channels);
    const until = Math.min(end, (round + 1) * channels * inner, (run + WINDOW) * inner);
    yield { start: at, count: until - at, window: touched(geometry, at, until - at) };
    at = until;
  }
}

/** The channels of a range of elements; all of them where they start over within it. */
function touched({ channels, inner }: Channels, start: number, count: number): Window {
  const firstRun = Math.floor(start / inner);
  const runs = Math.floor((start + count - 1) / inner) - firstRun + 1;
  const first = firstRun % channels;
  return first + runs > channels ? { first: 0, count: channels } : { first, count: runs };
}
