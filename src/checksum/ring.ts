/** Bytes read and hashed at a time: few enough to lie in the second-level cache still when the other thread comes. */
export const BLOCK_BYTES = 256 * 1024;
const SLOTS = 16;

/** Indices of the shared counters: slots filled, slots done with, whether either side has given up. */
const FILLED = 0;
const DONE = 1;
const BROKEN = 2;
const COUNTERS = 3;

/** Memory that one thread reads a file into and another hashes from: one read feeds two digests. */
export type RingMemory = { counters: SharedArrayBuffer; slots: SharedArrayBuffer };

export function createRing(): RingMemory {
  return {
    counters: new SharedArrayBuffer(COUNTERS * Int32Array.BYTES_PER_ELEMENT),
    slots: new SharedArrayBuffer(SLOTS * BLOCK_BYTES),
  };
}

/** Which slot block `index` of a file lies in: its bytes, at most `length` of them. */
export function slotOf(ring: RingMemory, index: number, length: number): Uint8Array {
  return new Uint8Array(ring.slots, (index % SLOTS) * BLOCK_BYTES, length);
}

/** The blocks of a file of `size` bytes, in order: block k covers [k·BLOCK_BYTES, (k+1)·BLOCK_BYTES). */
export function* blocksOf(size: number): Generator<{ index: number; offset: number; length: number }> {
  for (let offset = 0, index = 0; offset < size; offset += BLOCK_BYTES, index += 1) {
    yield { index, offset, length: Math.min(BLOCK_BYTES, size - offset) };
  }
}

/** The reader, before it fills block `index`: waits until its slot is free. */
export function waitUntilFree(ring: RingMemory, index: number): void {
  waitFor(ring, DONE, index - SLOTS + 1);
}

/** The reader, after it has filled block `index`. */
export function announceFilled(ring: RingMemory, index: number): void {
  announce(ring, FILLED, index + 1);
}

/** The follower, before it uses block `index`. */
export function waitUntilFilled(ring: RingMemory, index: number): void {
  waitFor(ring, FILLED, index + 1);
}

/** The follower, after it has used block `index`. */
export function announceDone(ring: RingMemory, index: number): void {
  announce(ring, DONE, index + 1);
}

/** Either side, when it fails: wakes the other, whose next wait throws. */
export function breakRing(ring: RingMemory): void {
  const counters = new Int32Array(ring.counters);
  Atomics.store(counters, BROKEN, 1);
  Atomics.notify(counters, FILLED);
  Atomics.notify(counters, DONE);
}

class RingBroken extends Error {
  override readonly name = 'RingBroken';
}

function announce(ring: RingMemory, counter: number, value: number): void {
  const counters = new Int32Array(ring.counters);
  Atomics.store(counters, counter, value);
  Atomics.notify(counters, counter);
}

function waitFor(ring: RingMemory, counter: number, value: number): void {
  const counters = new Int32Array(ring.counters);
  for (;;) {
    if (Atomics.load(counters, BROKEN) === 1) throw new RingBroken('the other thread of the pair has failed');
    const current = Atomics.load(counters, counter);
    if (current >= value) return;
    // The timeout covers the one gap: broken after the check above and before the wait begins.
    Atomics.wait(counters, counter, current, 100);
  }
}
