import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { messageOf } from '../errors.ts';
import { CHUNK_BYTES } from '../model/digest.ts';
import type { Job, Jobs, Message } from './jobs.ts';
import {
  announceDone,
  announceFilled,
  BLOCK_BYTES,
  blocksOf,
  breakRing,
  slotOf,
  waitUntilFilled,
  waitUntilFree,
} from './ring.ts';

if (parentPort === null) throw new Error('the checksum worker runs in a worker thread only');
const port = parentPort;
const block = new Uint8Array(BLOCK_BYTES);

port.on('message', (job: Job) => {
  try {
    send({ answer: perform(job) });
  } catch (error) {
    if (job.kind !== 'range' && job.ring !== undefined) breakRing(job.ring);
    const code = (error as NodeJS.ErrnoException).code;
    send({ error: { message: messageOf(error), ...(code === undefined ? {} : { code }) } });
  }
});

function perform(job: Job): Jobs[Job['kind']]['answer'] {
  switch (job.kind) {
    case 'range':
      return digestRange(job);
    case 'file':
      return digestFile(job);
    case 'follow':
      return followRing(job);
  }
}

function digestRange({ path, offset, length }: Jobs['range']['job']): Jobs['range']['answer'] {
  return withFile(path, (file) => {
    const hash = createHash('sha256');
    for (let done = 0; done < length; ) {
      const bytes = block.subarray(0, Math.min(BLOCK_BYTES, length - done));
      fill(file, bytes, offset + done, path);
      hash.update(bytes);
      done += bytes.length;
    }
    send({ progress: length });
    return { sha256: hash.digest('hex') };
  });
}

function digestFile({ path, size, ring, chunks }: Jobs['file']['job']): Jobs['file']['answer'] {
  return withFile(path, (file) => {
    const whole = createHash('sha256');
    const perChunk = chunks === true ? new ChunkHash(size) : undefined;
    let firstChunk: string | undefined;
    for (const { index, offset, length } of blocksOf(size)) {
      if (ring !== undefined) waitUntilFree(ring, index);
      const bytes = ring === undefined ? block.subarray(0, length) : slotOf(ring, index, length);
      fill(file, bytes, offset, path);
      if (ring !== undefined) announceFilled(ring, index);
      whole.update(bytes);
      perChunk?.update(bytes);
      const end = offset + length;
      // The state after 64 MiB is the digest of the first chunk: a copy of it costs nothing.
      if (end === CHUNK_BYTES) firstChunk = whole.copy().digest('hex');
      if (end % CHUNK_BYTES === 0 || end === size) send({ progress: end % CHUNK_BYTES || CHUNK_BYTES });
    }
    const sha256 = whole.digest('hex');
    return { sha256, firstChunk: firstChunk ?? sha256, chunks: perChunk?.digests ?? [] };
  });
}

function followRing({ size, ring }: Jobs['follow']['job']): Jobs['follow']['answer'] {
  const perChunk = new ChunkHash(size);
  for (const { index, length } of blocksOf(size)) {
    waitUntilFilled(ring, index);
    perChunk.update(slotOf(ring, index, length));
    announceDone(ring, index);
  }
  return { chunks: perChunk.digests };
}

/** SHA-256 of each 64 MiB chunk of a stream of `size` bytes whose blocks never straddle two chunks. */
class ChunkHash {
  readonly digests: string[] = [];
  readonly #size: number;
  #hash: Hash = createHash('sha256');
  #seen = 0;

  constructor(size: number) {
    this.#size = size;
  }

  update(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.#seen += bytes.length;
    if (this.#seen % CHUNK_BYTES !== 0 && this.#seen !== this.#size) return;
    this.digests.push(this.#hash.digest('hex'));
    this.#hash = createHash('sha256');
  }
}

function withFile<T>(path: string, use: (file: number) => T): T {
  const file = openSync(path, 'r');
  try {
    return use(file);
  } finally {
    closeSync(file);
  }
}

/** Fills `bytes` from `offset` on: a read may return less than asked, and nothing at the end of the file. */
function fill(file: number, bytes: Uint8Array, offset: number, path: string): void {
  for (let done = 0; done < bytes.length; ) {
    const read = readSync(file, bytes, done, bytes.length - done, offset + done);
    if (read === 0) {
      throw Object.assign(new Error(`${path} ended at byte ${offset + done} while it was read`), { code: 'ESHORT' });
    }
    done += read;
  }
}

function send(message: Message): void {
  port.postMessage(message);
}
