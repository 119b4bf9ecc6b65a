import type { Readable } from 'node:stream';

const BLOCK = 512;
/** Type flags of regular files (POSIX ustar; NUL is the old form). */
const FILE_TYPES = new Set(['0', '\0']);

/**
 * The regular files of an uncompressed ustar stream, as npm packs them, in order. `wants` decides by name; the content of
 * the others is skipped. Only for archives whose digest has been checked: it trusts what it reads.
 */
export async function* readTar(
  stream: Readable,
  wants: (name: string) => boolean,
): AsyncGenerator<{ name: string; content: AsyncIterable<Buffer> }> {
  const reader = new BlockReader(stream);
  for (;;) {
    const header = await reader.exactly(BLOCK);
    if (header === undefined || header.every((byte) => byte === 0)) return;
    const name = nameOf(header);
    const size = Number.parseInt(text(header, 124, 12).trim(), 8);
    if (!Number.isInteger(size)) throw new Error(`tar: ${name} has no size`);
    const padded = Math.ceil(size / BLOCK) * BLOCK;
    let left = padded;
    const content = async function* (): AsyncGenerator<Buffer> {
      let wanted = size;
      while (left > 0) {
        const piece = await reader.upTo(left);
        left -= piece.length;
        if (wanted > 0) yield piece.subarray(0, Math.min(wanted, piece.length));
        wanted -= piece.length;
      }
    };
    if (FILE_TYPES.has(String.fromCharCode(header[156]!)) && wants(name)) yield { name, content: content() };
    while (left > 0) left -= (await reader.upTo(left)).length;
  }
}

function nameOf(header: Buffer): string {
  const prefix = text(header, 345, 155);
  const name = text(header, 0, 100);
  return prefix ? `${prefix}/${name}` : name;
}

const text = (header: Buffer, start: number, length: number): string =>
  header.toString('utf8', start, start + length).split('\0', 1)[0]!;

/** Bytes of a stream, as many as asked. */
class BlockReader {
  readonly #source: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(stream: Readable) {
    this.#source = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  /** At least one byte, at most `count`. */
  async upTo(count: number): Promise<Buffer> {
    if (this.#rest.length === 0) {
      const next = await this.#source.next();
      if (next.done) throw new Error('tar: cut off');
      this.#rest = next.value;
    }
    const piece = this.#rest.subarray(0, count);
    this.#rest = this.#rest.subarray(piece.length);
    return piece;
  }

  /** Just `count` bytes, or undefined at the end of the stream. */
  async exactly(count: number): Promise<Buffer | undefined> {
    const pieces: Buffer[] = [];
    for (let have = 0; have < count; ) {
      if (this.#rest.length === 0) {
        const next = await this.#source.next();
        if (next.done) {
          if (have === 0) return undefined;
          throw new Error('tar: cut off');
        }
        this.#rest = next.value;
      }
      const piece = await this.upTo(count - have);
      pieces.push(piece);
      have += piece.length;
    }
    return Buffer.concat(pieces);
  }
}
