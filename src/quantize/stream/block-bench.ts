import fs from 'node:fs';
import { ROUNDINGS } from '../kernels/kernels.ts';
import { type BlockGeometry, type BlockPart, blockGeometry } from './block-geometry.ts';
import { BLOCK, type Desk, FIRST_OF_PAIR, FLOATS, OUT, RAW, SECOND_OF_PAIR, STAGE, TILE } from './desk.ts';
import type { BlockOutcome, BlocksTask } from './tasks.ts';

const [MIN, MAX] = [FIRST_OF_PAIR, SECOND_OF_PAIR];
/** Blocks whose parameters are at hand at a time: those of 64 Ki weights in blocks of 16. */
const AT_HAND = BLOCK / 16;
/** Free between two loads: parameters of the blocks at hand, and their codes packed. */
const SCALES = RAW;
const FACTORS = SCALES + 4 * AT_HAND + 64;
const ZERO_POINTS = FACTORS + 4 * AT_HAND + 64;
const PACKED = ZERO_POINTS + 4 * AT_HAND + 64;

/** Finds scales and zero points of blocks and quantizes with them, while the weights are at hand: one pass. */
export class BlockBench {
  readonly #desk: Desk;
  readonly #tile: Tile;

  constructor(desk: Desk) {
    this.#desk = desk;
    this.#tile = new Tile(desk);
  }

  /** Makes units [first, first + count) of a job's result and puts each part where the task wants it. */
  run(task: BlocksTask): BlockOutcome {
    const geometry = blockGeometry(task);
    const sink = new Sink(task, geometry);
    if (task.layout === 'source') return { nonFinite: this.#inPlace(task, geometry, sink), collected: sink.collected };
    let nonFinite = 0;
    for (const area of areasOf(task, geometry)) {
      const tile = this.#tile;
      tile.begin(task, geometry, area);
      nonFinite +=
        task.along === 'columns' ? this.#columns(task, geometry, area, tile) : this.#rows(task, geometry, area, tile);
      sink.take(area, tile);
    }
    return { nonFinite, collected: sink.collected };
  }

  /** Blocks that run down the source's columns: one of each of the area's columns at a time. */
  #columns(task: BlocksTask, { rows: columns, depth }: BlockGeometry, area: Area, tile: Tile): number {
    const { kernels } = this.#desk;
    const { block, bits } = task;
    let nonFinite = 0;
    for (let b = 0; b < area.blocks; b++) {
      const top = (area.block + b) * block;
      const height = Math.min(block, depth - top);
      nonFinite += this.#codesOfColumns(task, columns, { top, height, column: area.row, width: area.rows });
      let [from, lines] = [STAGE, height];
      if (bits === 4) {
        lines = Math.ceil(height / 2);
        if (height % 2) this.#fillHalfByte(area, b, height, block);
        kernels.packRows(STAGE, PACKED, lines, area.rows);
        from = PACKED;
      }
      kernels.transposeBytes(from, tile.codes + (b * block * bits) / 8, lines, area.rows, area.rows, tile.pitch);
      tile.keepParameters(0, area.rows, b, 1);
    }
    return nonFinite;
  }

  /** Reads a rectangle of the source whose columns are (parts of) blocks and makes their codes, row by row in STAGE. */
  #codesOfColumns(task: BlocksTask, columns: number, { top, height, column, width }: Rectangle): number {
    const { kernels } = this.#desk;
    let source = FLOATS;
    if (width === columns) source = this.#desk.loadFloats(task.floats, top * columns, height * columns, FLOATS);
    else {
      for (let i = 0; i < height; i++) {
        this.#desk.loadFloats(task.floats, (top + i) * columns + column, width, FLOATS + 4 * i * width);
      }
    }
    const count = height * width;
    const finite = kernels.rangesOfColumns(source, height, width, MIN, MAX) === 0;
    const nonFinite = finite ? 0 : kernels.range(source, count, 0, count, 1, count, MIN, MAX);
    this.#parameters(task, width);
    const { bits, rounding } = task;
    kernels.codesOfColumns(source, STAGE, height, width, FACTORS, ZERO_POINTS, levelsOf(bits), ROUNDINGS[rounding]);
    return nonFinite;
  }

  /** Blocks that stay where their weights are: one of every column at a time, in strips that fit the memory for floats. */
  #inPlace(task: BlocksTask, { rows: columns, depth, blocks }: BlockGeometry, sink: Sink): number {
    const { kernels, bytes, f32 } = this.#desk;
    const { block, bits, symmetric } = task;
    const strip = Math.floor(BLOCK / block);
    const scales = new Float32Array(columns);
    const zeroPoints = new Uint8Array(symmetric ? 0 : 2 * columns);
    let nonFinite = 0;
    for (let b = 2 * task.first; b < Math.min(2 * (task.first + task.count), blocks); b++) {
      const top = b * block;
      const height = Math.min(block, depth - top);
      for (let column = 0; column < columns; column += strip) {
        const width = Math.min(strip, columns - column);
        nonFinite += this.#codesOfColumns(task, columns, { top, height, column, width });
        for (let i = 0; i < height; i++) {
          bytes.copyWithin(OUT + i * columns + column, STAGE + i * width, STAGE + (i + 1) * width);
        }
        scales.set(f32.subarray(SCALES / 4, SCALES / 4 + width), column);
        if (!symmetric) {
          zeroPoints.set(f32.subarray(ZERO_POINTS / 4, ZERO_POINTS / 4 + width), (b % 2) * columns + column);
        }
      }
      const made = this.#packed(OUT, height * columns, bits);
      if (symmetric) kernels.xorBytes(OUT, made, bits === 4 ? 0x88 : 0x80);
      // Half a byte may be left over at the very end.
      if (symmetric && bits === 4 && (height * columns) % 2) bytes[OUT + made - 1]! &= 0x0f;
      sink.put('codes', (top * columns * bits) / 8, bytes.subarray(OUT, OUT + made));
      sink.put('scales', 4 * b * columns, new Uint8Array(scales.buffer));
      if (symmetric || (b % 2 === 0 && b + 1 < blocks)) continue;
      const count = (1 + (b % 2)) * columns;
      bytes.set(zeroPoints.subarray(0, count), OUT);
      const length = this.#packed(OUT, count, bits);
      sink.put('zeroPoints', ((b - (b % 2)) * columns * bits) / 8, bytes.subarray(OUT, OUT + length));
    }
    return nonFinite;
  }

  /** Packs codes of 4 bits where they lie; says how many bytes they then take. */
  #packed(at: number, count: number, bits: 4 | 8): number {
    if (bits === 8) return count;
    this.#desk.bytes[at + count] = 0;
    this.#desk.kernels.packPairs(at, at, count + (count % 2));
    return Math.ceil(count / 2);
  }

  /**
   * The row of codes behind an odd last one, which nobody reads. onnxruntime quantizes two blocks at a time and leaves
   * there what it last had in the other half of a byte; so that its bytes are equalled, so does this.
   */
  #fillHalfByte(area: Area, b: number, height: number, block: number): void {
    const { bytes } = this.#desk;
    const target = STAGE + height * area.rows;
    const second = (area.block + b) % 2 === 1;
    const from = height > 1 ? height - 2 : second ? block - 1 : undefined;
    if (from === undefined) bytes.fill(0, target, target + area.rows);
    else bytes.copyWithin(target, STAGE + from * area.rows, STAGE + (from + 1) * area.rows);
  }

  /** Blocks that run along the source's rows: those of one row at a time. */
  #rows(task: BlocksTask, { depth }: BlockGeometry, area: Area, tile: Tile): number {
    const { kernels, bytes, f32 } = this.#desk;
    const { block, bits } = task;
    const end = Math.min((area.block + area.blocks) * block, depth);
    let nonFinite = 0;
    for (let i = 0; i < area.rows; i++) {
      for (let at = area.block * block; at < end; at += BLOCK) {
        const count = Math.min(BLOCK, end - at);
        const blocks = Math.ceil(count / block);
        const done = at - area.block * block;
        const source = this.#desk.loadFloats(task.floats, (area.row + i) * depth + at, count, FLOATS);
        f32.fill(0, MIN / 4, MIN / 4 + blocks);
        f32.fill(0, MAX / 4, MAX / 4 + blocks);
        nonFinite += kernels.range(source, count, 0, block, blocks, block, MIN, MAX);
        this.#parameters(task, blocks);
        const target = tile.codes + i * tile.pitch + (done * bits) / 8;
        kernels.codesOfRow(source, STAGE, count, block, FACTORS, ZERO_POINTS, levelsOf(bits), ROUNDINGS[task.rounding]);
        bytes.fill(0, STAGE + count, STAGE + count + 1);
        const length = Math.ceil((count * bits) / 8);
        // Made aside: kernels write whole vectors, and the next row's bytes may be there already.
        if (bits === 4) kernels.packPairs(STAGE, PACKED, 2 * length);
        bytes.copyWithin(target, bits === 4 ? PACKED : STAGE, (bits === 4 ? PACKED : STAGE) + length);
        tile.keepParameters(i, 1, done / block, blocks);
      }
    }
    return nonFinite;
  }

  #parameters(task: BlocksTask, count: number): void {
    const { symmetric, bits } = task;
    this.#desk.kernels.blockParameters(
      MIN,
      MAX,
      count,
      levelsOf(bits),
      symmetric,
      ROUNDINGS[task.rounding],
      SCALES,
      FACTORS,
      ZERO_POINTS,
    );
  }
}

/** Rows and columns of the source. */
interface Rectangle {
  top: number;
  height: number;
  column: number;
  width: number;
}

/** A part of the result that is made at a time: whole blocks of some rows. */
interface Area {
  row: number;
  rows: number;
  block: number;
  blocks: number;
}

/** Cuts a task's rows into areas whose codes fit the tile, and one block of which fits the memory for floats. */
function* areasOf(task: BlocksTask, { blocks, depth }: BlockGeometry): Generator<Area> {
  const { block, bits } = task;
  const end = task.first + task.count;
  const blockBytes = (block * bits) / 8;
  const most = task.along === 'columns' ? BLOCK / block : Math.max(1, Math.floor(TILE / (blocks * blockBytes)));
  for (let row = task.first; row < end; row += most) {
    const rows = Math.min(most, end - row);
    // Two blocks' zero points of 4 bits share a byte.
    const fit = 2 * Math.max(1, Math.floor(TILE / (2 * rows * blockBytes)));
    for (let first = 0; first < Math.ceil(depth / block); first += fit) {
      yield { row, rows, block: first, blocks: Math.min(fit, blocks - first) };
    }
  }
}

/** An area on the desk. Its arrays are used again for the next one. */
class Tile {
  /** Where the codes begin, and the bytes from one row of them to the next. */
  readonly codes = OUT;
  pitch = 0;
  readonly #desk: Desk;
  #area: Area = { row: 0, rows: 0, block: 0, blocks: 0 };
  #bits = 8;
  #scales = new Float32Array(0);
  #zeroPoints = new Uint8Array(0);
  #zeroPointBytes = 0;

  constructor(desk: Desk) {
    this.#desk = desk;
  }

  begin({ block, bits, symmetric }: BlocksTask, { depth }: BlockGeometry, area: Area): void {
    this.#area = area;
    this.#bits = bits;
    this.pitch = (area.blocks * block * bits) / 8;
    const count = area.rows * area.blocks;
    if (this.#scales.length < count) this.#scales = new Float32Array(count);
    const row = Math.ceil((area.blocks * bits) / 8);
    this.#zeroPointBytes = symmetric ? 0 : area.rows * row;
    if (this.#zeroPoints.length < this.#zeroPointBytes) this.#zeroPoints = new Uint8Array(this.#zeroPointBytes);
    this.#zeroPoints.fill(0, 0, this.#zeroPointBytes);
    // Zero points of 4 bits are or-ed in; behind an odd number of them onnxruntime has an 8.
    if (bits === 4 && area.blocks % 2) {
      for (let i = row - 1; i < this.#zeroPointBytes; i += row) this.#zeroPoints[i] = 0x80;
    }
    if ((area.block + area.blocks) * block > depth) this.#desk.bytes.fill(0, OUT, OUT + area.rows * this.pitch);
  }

  /** Takes over the parameters at hand: those of `blocks` blocks from `block` on of `rows` rows from `row` on. */
  keepParameters(row: number, rows: number, block: number, blocks: number): void {
    const { f32 } = this.#desk;
    const perRow = this.#area.blocks;
    const zeroPointRow = Math.ceil((perRow * this.#bits) / 8);
    for (let i = 0; i < rows; i++) {
      for (let b = 0; b < blocks; b++) {
        this.#scales[(row + i) * perRow + block + b] = f32[SCALES / 4 + i * blocks + b]!;
        if (this.#zeroPointBytes === 0) continue;
        const zeroPoint = f32[ZERO_POINTS / 4 + i * blocks + b]!;
        const at = block + b;
        if (this.#bits === 8) this.#zeroPoints[(row + i) * zeroPointRow + at] = zeroPoint;
        else this.#zeroPoints[(row + i) * zeroPointRow + (at >> 1)]! |= at % 2 ? zeroPoint << 4 : zeroPoint;
      }
    }
  }

  /** The rows of a part, one behind the other. */
  part(part: BlockPart): Uint8Array {
    if (part === 'codes') return this.#desk.bytes.subarray(OUT, OUT + this.#area.rows * this.pitch);
    if (part === 'zeroPoints') return this.#zeroPoints.subarray(0, this.#zeroPointBytes);
    return new Uint8Array(this.#scales.buffer, 0, 4 * this.#area.rows * this.#area.blocks);
  }
}

/** Where the parts of a task go: to places in a file, or into memory. */
class Sink {
  readonly collected: Partial<Record<BlockPart, Uint8Array>> = {};
  readonly #task: BlocksTask;
  readonly #geometry: BlockGeometry;

  constructor(task: BlocksTask, geometry: BlockGeometry) {
    this.#task = task;
    this.#geometry = geometry;
    const { unit, total } = geometry;
    for (const part of task.collect) {
      const from = task.first * unit[part];
      this.collected[part] = new Uint8Array(Math.min(task.count * unit[part], total[part] - from));
    }
  }

  /** Puts bytes at a place of a part. */
  put(part: BlockPart, at: number, bytes: Uint8Array): void {
    const position = this.#task.positions[part];
    if (position !== undefined) writeAll(this.#task.fd, bytes, position + at);
    this.collected[part]?.set(bytes, at - this.#task.first * this.#geometry.unit[part]);
  }

  /** Takes over rows, or parts of them, that are made. */
  take(area: Area, tile: Tile): void {
    for (const part of ['codes', 'scales', 'zeroPoints'] as const) {
      const row = this.#geometry.unit[part];
      if (row === 0) continue;
      const made = tile.part(part);
      const madeRow = made.length / area.rows;
      const into = offsetOf(part, area.block, this.#task);
      const kept = Math.min(madeRow, row - into);
      if (kept === row && madeRow === kept) this.put(part, area.row * row, made);
      else {
        for (let i = 0; i < area.rows; i++) {
          this.put(part, (area.row + i) * row + into, made.subarray(i * madeRow, i * madeRow + kept));
        }
      }
    }
  }
}

/** Bytes of a row of a part before what block `block` puts there. */
function offsetOf(part: BlockPart, block: number, task: BlocksTask): number {
  if (part === 'scales') return 4 * block;
  return (block * (part === 'codes' ? task.block : 1) * task.bits) / 8;
}

function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    done += fs.writeSync(fd, bytes, done, bytes.length - done, position + done);
  }
}

function levelsOf(bits: 4 | 8): number {
  return 2 ** bits - 1;
}
