import { writeFileSync } from 'node:fs';
import { crc32 } from 'node:zlib';

const NPY_TYPES = { float32: '<f4', int64: '<i8', int32: '<i4' };

/** Writes arrays `{ name: { dtype, dims, data } }` as numpy's savez does, uncompressed. */
export function writeNpz(file, arrays) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [name, { dtype, dims, data }] of Object.entries(arrays)) {
    const content = Buffer.concat([
      npyHead(NPY_TYPES[dtype], dims),
      Buffer.from(data.buffer, data.byteOffset, data.byteLength),
    ]);
    const title = Buffer.from(`${name}.npy`);
    const facts = Buffer.alloc(26);
    facts.writeUInt16LE(20, 0);
    facts.writeUInt32LE(crc32(content), 10);
    facts.writeUInt32LE(content.length, 14);
    facts.writeUInt32LE(content.length, 18);
    facts.writeUInt16LE(title.length, 22);
    // Length of a comment, disk, attributes, and where the file begins.
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    parts.push(Buffer.from('PK\x03\x04', 'latin1'), facts, title, content);
    directory.push(Buffer.from('PK\x01\x02\x14\x00', 'latin1'), facts, tail, title);
    offset += 30 + title.length + content.length;
  }
  const listed = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 0, 'latin1');
  end.writeUInt16LE(Object.keys(arrays).length, 8);
  end.writeUInt16LE(Object.keys(arrays).length, 10);
  end.writeUInt32LE(listed.length, 12);
  end.writeUInt32LE(offset, 16);
  writeFileSync(file, Buffer.concat([...parts, listed, end]));
}

function npyHead(type, dims) {
  const shape = dims.length === 1 ? `${dims[0]},` : dims.join(', ');
  const text = `{'descr': '${type}', 'fortran_order': False, 'shape': (${shape}), }`;
  const padded = text.padEnd(Math.ceil((text.length + 11) / 64) * 64 - 11);
  const head = Buffer.alloc(10);
  head.write('\x93NUMPY\x01\x00', 0, 'latin1');
  head.writeUInt16LE(padded.length + 1, 8);
  return Buffer.concat([head, Buffer.from(`${padded}\n`, 'latin1')]);
}
