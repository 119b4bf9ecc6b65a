import { readFile } from 'node:fs/promises';
import { inflateRawSync } from 'node:zlib';
import { InputError } from '../../errors.ts';

export interface ZipMember {
  name: string;
  bytes: Uint8Array;
}

const END_OF_DIRECTORY = 0x06054b50;
const END_OF_DIRECTORY_64 = 0x06064b50;
const DIRECTORY_ENTRY = 0x02014b50;
const STORED = 0;
const DEFLATED = 8;

/**
 * The members of a zip file as NumPy writes them: stored or deflated, also ZIP64 (APPNOTE 6.3.10).
 * @throws InputError when it is none or is broken
 */
export async function readZip(file: string): Promise<ZipMember[]> {
  const buffer = await readFile(file);
  try {
    return [...members(buffer)];
  } catch (error) {
    throw new InputError(`samples: ${file} is no intact zip file (.npz); write it with numpy.savez.`, { cause: error });
  }
}

function* members(buffer: Buffer): Generator<ZipMember> {
  let position = directoryStart(buffer);
  while (position + 4 <= buffer.length && buffer.readUInt32LE(position) === DIRECTORY_ENTRY) {
    const method = buffer.readUInt16LE(position + 10);
    const nameLength = buffer.readUInt16LE(position + 28);
    const extraLength = buffer.readUInt16LE(position + 30);
    const name = buffer.toString('utf8', position + 46, position + 46 + nameLength);
    const extra = buffer.subarray(position + 46 + nameLength, position + 46 + nameLength + extraLength);
    const { size, packed, offset } = extents(buffer, position, extra);
    // The local header repeats the name and has an extra field of its own length.
    const start = offset + 30 + buffer.readUInt16LE(offset + 26) + buffer.readUInt16LE(offset + 28);
    const bytes = buffer.subarray(start, start + packed);
    if (method !== STORED && method !== DEFLATED) throw new Error(`member ${name} is compressed by method ${method}`);
    const content = method === STORED ? bytes : inflateRawSync(bytes, { maxOutputLength: Math.max(size, 1) });
    if (content.length !== size) throw new Error(`member ${name} has ${content.length} bytes of ${size}`);
    yield { name, bytes: content };
    position += 46 + nameLength + extraLength + buffer.readUInt16LE(position + 32);
  }
}

function directoryStart(buffer: Buffer): number {
  // A comment of up to 64 KiB may follow the end record.
  for (let position = buffer.length - 22; position >= Math.max(0, buffer.length - 22 - 0xffff); position--) {
    if (buffer.readUInt32LE(position) !== END_OF_DIRECTORY) continue;
    const start = buffer.readUInt32LE(position + 16);
    if (start !== 0xffffffff) return start;
    const record = Number(buffer.readBigUInt64LE(position - 20 + 8));
    if (buffer.readUInt32LE(record) !== END_OF_DIRECTORY_64) break;
    return Number(buffer.readBigUInt64LE(record + 48));
  }
  throw new Error('no end of central directory');
}

function extents(buffer: Buffer, entry: number, extra: Buffer): { size: number; packed: number; offset: number } {
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
