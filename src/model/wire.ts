import { readSync } from 'node:fs';

/** Protobuf's wire types. */
export const Wire = { VARINT: 0, BITS64: 1, BYTES: 2, START_GROUP: 3, END_GROUP: 4, BITS32: 5 } as const;

/** Messages and groups nest at most this deep, as in every protobuf library. */
export const MAX_DEPTH = 100;

const WINDOW_BYTES = 64 * 2 ** 10;

/** What is wrong with a protobuf file, and where. `truncated`: a field would end behind the file's end. */
export class WireError extends Error {
  readonly offset: number;
  readonly kind: 'malformed' | 'truncated' | 'too large';

  constructor(message: string, offset: number, kind: WireError['kind'] = 'malformed') {
    super(message);
    this.offset = offset;
    this.kind = kind;
  }
}

/** Walks the protobuf wire format of an open file by positional reads through one small window. */
export class WireFile {
  readonly size: number;
  position = 0;
  readonly #descriptor: number;
  readonly #window = Buffer.allocUnsafe(WINDOW_BYTES);
  #start = 0;
  #end = 0;

  constructor(descriptor: number, size: number) {
    this.#descriptor = descriptor;
    this.size = size;
  }

  /** Reads a field's tag. `end` is where the message ends. */
  tag(end: number): { no: number; wire: number } {
    const offset = this.position;
    const tag = this.#varint(end);
    const no = Math.floor(tag / 8);
    const wire = tag % 8;
    if (no === 0 || tag > 0xffffffff) throw new WireError('a field has an impossible number', offset);
    if (wire > Wire.BITS32) throw new WireError(`a field has wire type ${wire}, which does not exist`, offset);
    return { no, wire };
  }

  /** Reads the length of a length-delimited field and checks that the message has room for it. */
  length(end: number): number {
    const offset = this.position;
    const length = this.#varint(end);
    this.#need(length, end, offset);
    return length;
  }

  /** Moves behind the content of a field whose tag was just read. */
  skip(no: number, wire: number, end: number): void {
    if (wire === Wire.VARINT) this.#varint(end);
    else if (wire === Wire.BITS32) this.#advance(4, end);
    else if (wire === Wire.BITS64) this.#advance(8, end);
    else if (wire === Wire.BYTES) this.#advance(this.length(end), end);
    else if (wire === Wire.START_GROUP) this.#skipGroup(no, end);
    else throw new WireError('a group ends that never began', this.position);
  }

  /** Reads an unsigned varint: a bigint where it is beyond 2^53. Bits beyond the 64th are dropped, as everywhere. */
  varint(end: number): number | bigint {
    const start = this.position;
    const value = this.#varint(end);
    if (value <= Number.MAX_SAFE_INTEGER) return value;
    let exact = 0n;
    for (const [i, byte] of this.slice(start, this.position).entries()) exact |= BigInt(byte & 0x7f) << BigInt(7 * i);
    exact = BigInt.asUintN(64, exact);
    return exact <= Number.MAX_SAFE_INTEGER ? Number(exact) : exact;
  }

  float32(end: number): number {
    return this.#fixed(4, end).getFloat32(0, true);
  }

  float64(end: number): number {
    return this.#fixed(8, end).getFloat64(0, true);
  }

  /** A copy of the bytes from `start` to `end`, which the caller knows to be few. */
  slice(start: number, end: number): Uint8Array {
    return new Uint8Array(this.peek(start, end));
  }

  /** The same, good until the next read. */
  peek(start: number, end: number): Uint8Array {
    const length = end - start;
    if (length > WINDOW_BYTES / 2) {
      const bytes = new Uint8Array(length);
      if (this.#read(bytes, start) < length) throw new WireError('the file became shorter', start, 'truncated');
      return bytes;
    }
    if (length > 0 && (start < this.#start || end > this.#end)) this.#fill(start);
    if (end > this.#end) throw new WireError('the file became shorter', start, 'truncated');
    return this.#window.subarray(start - this.#start, end - this.#start);
  }

  #fixed(length: number, end: number): DataView {
    this.#advance(length, end);
    const { buffer, byteOffset } = this.peek(this.position - length, this.position);
    return new DataView(buffer, byteOffset, length);
  }

  #skipGroup(no: number, end: number): void {
    const open = [no];
    while (open.length > 0) {
      const offset = this.position;
      const field = this.tag(end);
      if (field.wire === Wire.START_GROUP) open.push(field.no);
      else if (field.wire !== Wire.END_GROUP) this.skip(field.no, field.wire, end);
      else if (open.pop() !== field.no) throw new WireError('a group ends that never began', offset);
      if (open.length > MAX_DEPTH) throw new WireError(`groups nest more than ${MAX_DEPTH} deep`, offset);
    }
  }

  #advance(length: number, end: number): void {
    this.#need(length, end, this.position);
    this.position += length;
  }

  #need(length: number, end: number, offset: number): void {
    if (length <= end - this.position) return;
    const kind = end === this.size ? 'truncated' : 'malformed';
    throw new WireError(`a field of ${length} bytes has only ${end - this.position} left`, offset, kind);
  }

  /** A varint as a number; beyond 2^53 it is only known to be large, which is enough to refuse it as a length. */
  #varint(end: number): number {
    const offset = this.position;
    let value = 0;
    for (let scale = 1; scale <= 2 ** 63; scale *= 128) {
      const byte = this.#byte(end);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new WireError('a number has more than ten bytes', offset);
  }

  #byte(end: number): number {
    this.#need(1, end, this.position);
    if (this.position < this.#start || this.position >= this.#end) this.#fill();
    return this.#window[this.position++ - this.#start]!;
  }

  /** Puts what begins at `from` into the window. */
  #fill(from = this.position): void {
    this.#start = from;
    this.#end = from + this.#read(this.#window, from);
    if (this.#end === this.#start) throw new WireError('the file became shorter', from, 'truncated');
  }

  #read(into: Uint8Array, from: number): number {
    let done = 0;
    while (done < into.length) {
      const count = readSync(this.#descriptor, into, done, into.length - done, from + done);
      if (count === 0) break;
      done += count;
    }
    return done;
  }
}
