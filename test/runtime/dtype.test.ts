import { expect, test } from 'vitest';
import { viewAs } from '../../src/runtime/index.ts';

test('a view over unaligned bytes is a copy of them, be they a Buffer', () => {
  const bytes = Buffer.alloc(13);
  bytes.writeFloatLE(1.5, 1);
  bytes.writeFloatLE(-2, 5);
  const unaligned = bytes.subarray(bytes.byteOffset % 4 === 0 ? 1 : 5 - (bytes.byteOffset % 4), 9);
  expect(unaligned.byteOffset % 4).not.toBe(0);
  expect([...viewAs('float32', bytes.subarray(1, 9))]).toEqual([1.5, -2]);
});
