import type { FileHandle } from 'node:fs/promises';
import { createInflateRaw } from 'node:zlib';
import { InputError } from '../../errors.ts';
import { openRegularFile } from '../../read-file.ts';

/** A member of a zip file, of which only what is asked for is read. */
export interface ZipMember {
  name: string;
  /** Bytes, as the directory declares them. */
  size: number;
  /** Bytes [start, end) of the content. @throws InputError where it has fewer, or more than declared */
  read(start: number, end: number): Promise<Buffer>;
}

const END_OF_DIRECTORY = 0x06054b50;
const END_OF_DIRECTORY_64 = 0x06064b50;
const DIRECTORY_ENTRY = 0x02014b50;
const STORED = 0;
const DEFLATED = 8;
/** A model of 100,000 inputs has a directory of this size. */
const MAX_DIRECTORY_BYTES = 16 * 2 ** 20;
const PIECE_BYTES = 2 ** 18;

/**
 * The members of a zip file as NumPy writes them: stored or deflated, also ZIP64 (APPNOTE 6.3.10). Reads the directory
 * only; a deflated member is inflated from its beginning to where the asked bytes end, in pieces.
 * @throws InputError when it is none or is broken
 */
export async function openZip(file: string): Promise<ZipMember[]> {
  return withFile(file, async (handle, size) => {
    const tail = await readAt(handle, Math.max(0, size - TAIL_BYTES), Math.min(size, TAIL_BYTES));
    const { start, length } = await directoryIn(handle, tail, size);
    if (length > MAX_DIRECTORY_BYTES) throw new Error(`its directory has ${length} bytes`);
    const members: ZipMember[] = [];
    for (const entry of entriesOf(await readAt(handle, start, length))) {
      const { name, method } = entry;
      if (method !== STORED && method !== DEFLATED) throw new Error(`member ${name} is compressed by method ${method}`);
      members.push({
        name,
        size: entry.size,
        read: (from, to) => withFile(file, (opened) => readMember(opened, entry, from, to)),
      });
    }
    return members;
  });
}

interface Entry {
  name: string;
  method: number;
  /** Bytes of the content, and as it is stored. */
  size: number;
  packed: number;
  /** Of its local header. */
  offset: number;
}

async function withFile<T>(file: string, work: (handle: FileHandle, size: number) => Promise<T>): Promise<T> {
  const { handle, size } = await openRegularFile(file, 'samples:');
  try {
    return await work(handle, size);
  } catch (error) {
    throw new InputError(`samples: ${file} is no intact zip file (.npz); write it with numpy.savez.`, { cause: error });
  } finally {
    await handle.close();
  }
}

async function readMember(handle: FileHandle, entry: Entry, from: number, to: number): Promise<Buffer> {
  if (!(from >= 0 && from <= to && to <= entry.size)) throw new Error(`bytes ${from}-${to} of ${entry.size}`);
  // The local header repeats the name and has an extra field of its own length.
  const local = await readAt(handle, entry.offset, 30);
  const start = entry.offset + 30 + local.readUInt16LE(26) + local.readUInt16LE(28);
  if (entry.method === STORED) {
    if (entry.packed !== entry.size) throw new Error('a stored member of two sizes');
    return readAt(handle, start + from, to - from);
  }
  const result = Buffer.allocUnsafe(to - from);
  const inflate = createInflateRaw();
  const feed = (async () => {
    for (let at = 0; at < entry.packed && !inflate.destroyed; at += PIECE_BYTES) {
      const piece = await readAt(handle, start + at, Math.min(PIECE_BYTES, entry.packed - at));
      if (!inflate.write(piece)) await new Promise((resolve) => inflate.once('drain', resolve).once('close', resolve));
    }
    if (!inflate.destroyed) inflate.end();
  })();
  feed.catch((error: Error) => inflate.destroy(error));
  let at = 0;
  // The last bytes are read to the end, to see that there are no more of them.
  for await (const piece of inflate as AsyncIterable<Buffer>) {
    if (at + piece.length > entry.size) throw new Error(`member ${entry.name} has more than ${entry.size} bytes`);
    if (at + piece.length > from && at < to) {
      piece.copy(result, Math.max(0, at - from), Math.max(0, from - at), Math.min(piece.length, to - at));
    }
    at += piece.length;
    if (at >= to && to < entry.size) break;
  }
  await feed;
  if (at < to) throw new Error(`member ${entry.name} has ${at} bytes of ${entry.size}`);
  return result;
}

async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  if (!Number.isSafeInteger(position) || position < 0) throw new Error(`byte ${position}`);
  const buffer = Buffer.allocUnsafe(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(buffer, done, length - done, position + done);
    if (bytesRead === 0) throw new Error(`it ends at byte ${position + done}`);
    done += bytesRead;
  }
  return buffer;
}

function* entriesOf(directory: Buffer): Generator<Entry> {
  let position = 0;
  while (position + 4 <= directory.length && directory.readUInt32LE(position) === DIRECTORY_ENTRY) {
    const method = directory.readUInt16LE(position + 10);
    const nameLength = directory.readUInt16LE(position + 28);
    const extraLength = directory.readUInt16LE(position + 30);
    const name = directory.toString('utf8', position + 46, position + 46 + nameLength);
    const extra = directory.subarray(position + 46 + nameLength, position + 46 + nameLength + extraLength);
    yield { name, method, ...extents(directory, position, extra) };
    position += 46 + nameLength + extraLength + directory.readUInt16LE(position + 32);
  }
}

/** A comment of up to 64 KiB may follow the end record of 22 bytes, and 20 of ZIP64 may stand before it. */
const TAIL_BYTES = 20 + 22 + 0xffff;

async function directoryIn(
  handle: FileHandle,
  tail: Buffer,
  fileSize: number,
): Promise<{ start: number; length: number }> {
  for (let position = tail.length - 22; position >= 0; position--) {
    if (tail.readUInt32LE(position) !== END_OF_DIRECTORY) continue;
    let start = tail.readUInt32LE(position + 16);
    if (start === 0xffffffff) {
      const record = await readAt(handle, Number(tail.readBigUInt64LE(position - 20 + 8)), 56);
      if (record.readUInt32LE(0) !== END_OF_DIRECTORY_64) break;
      start = Number(record.readBigUInt64LE(48));
    }
    // It goes on to where its end is told.
    const length = fileSize - tail.length + position - start;
    if (length < 0) throw new Error('a directory beyond the end');
    return { start, length };
  }
  throw new Error('no end of central directory');
}

function extents(buffer: Buffer, entry: number, extra: Buffer): Pick<Entry, 'size' | 'packed' | 'offset'> {
  const found = {
    size: buffer.readUInt32LE(entry + 24),
    packed: buffer.readUInt32LE(entry + 20),
    offset: buffer.readUInt32LE(entry + 42),
  };
  // ZIP64 extra field (id 1): 64-bit values for just those fields that are all ones, in this order.
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2)) {
    if (extra.readUInt16LE(at) !== 1) continue;
    let value = at + 4;
    for (const field of ['size', 'packed', 'offset'] as const) {
      if (found[field] !== 0xffffffff) continue;
      found[field] = Number(extra.readBigUInt64LE(value));
      value += 8;
    }
  }
  return found;
}
