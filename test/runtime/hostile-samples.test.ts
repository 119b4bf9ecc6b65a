import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, symlinkSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { createDeflateRaw } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { ValueInfo } from '../../src/runtime/types.ts';
import { runScript } from '../support/child.ts';
import { canMakePipes } from '../support/pipes.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const MIB = 2 ** 20;
const fixed: ValueInfo = { name: 'x', dtype: 'float32', dims: [1, 64] };
const open: ValueInfo = { name: 'x', dtype: 'float32', dims: ['batch', 64] };

/** Loads samples in a process of its own: what came of it, and what it took beyond an empty load. */
function load(file: string, inputs: ValueInfo[]): { said: string; megabytes: number } {
  return runScript(
    `
    const { loadSamples } = await import(lib('runtime/samples/index.js'));
    const before = peakBytes();
    let said;
    try {
      const samples = await loadSamples(args[0], JSON.parse(args[1]), { count: 3 });
      for (let index = 0; index < samples.length; index++) await samples.get(index);
      said = samples.length + ' samples';
    } catch (error) {
      said = error.name + ': ' + error.message;
    }
    console.log(JSON.stringify({ said, megabytes: (peakBytes() - before) / 2 ** 20 }));`,
    [file, JSON.stringify(inputs)],
  );
}

/** A `.npz` of one deflated array of zeros. */
async function bomb(file: string, dims: number[]): Promise<string> {
  const shape = `(${dims.join(', ')},)`;
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': ${shape}, }`.padEnd(117, ' ');
  const header = Buffer.concat([Buffer.from('\x93NUMPY\x01\x00v\x00', 'latin1'), Buffer.from(`${text}\n`)]);
  const size = header.length + 4 * dims.reduce((product, each) => product * each, 1);
  const deflate = createDeflateRaw({ level: 9 });
  const packed: Buffer[] = [];
  deflate.on('data', (piece: Buffer) => packed.push(piece));
  const done = new Promise((resolve) => deflate.once('end', resolve));
  deflate.write(header);
  const zeros = Buffer.alloc(16 * MIB);
  for (let left = size - header.length; left > 0; left -= zeros.length) {
    const piece = zeros.subarray(0, Math.min(left, zeros.length));
    if (!deflate.write(piece)) await new Promise((resolve) => deflate.once('drain', resolve));
  }
  deflate.end();
  await done;
  const content = Buffer.concat(packed);
  const name = Buffer.from('x.npy');
  const local = Buffer.alloc(30);
  local.writeUInt32LE(0x04034b50, 0);
  local.writeUInt16LE(8, 8);
  local.writeUInt16LE(name.length, 26);
  const entry = Buffer.alloc(46);
  entry.writeUInt32LE(0x02014b50, 0);
  entry.writeUInt16LE(8, 10);
  entry.writeUInt32LE(content.length, 20);
  entry.writeUInt32LE(size, 24);
  entry.writeUInt16LE(name.length, 28);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt32LE(30 + name.length + content.length, 16);
  writeFileSync(file, Buffer.concat([local, name, content, entry, name, end]));
  return file;
}

// Peak memory is read from /proc.
describe.skipIf(process.platform !== 'linux')('samples that would fill the memory', () => {
  it('are not inflated: a .npz of 3 MB that holds 3 GB', async () => {
    const file = path.join(temp(), 's.npz');
    // One sample too large, as the header says; then 12 million small ones, of which three are asked for.
    await bomb(file, [12_000_000, 64]);
    const large = load(file, [open]);
    expect(large.said).toMatch(/^InputError: samples: .* 3072000000 bytes in one sample of shape \[12000000,64\]/);
    const other = load(file, [fixed]);
    expect(other.said).toMatch(/^InputError: .* of shape \[12000000,64\], the model wants x float32\[1,64\]/);
    await bomb(file, [12_000_000, 1, 64]);
    const many = load(file, [fixed]);
    expect(many.said).toBe('3 samples');
    for (const { megabytes } of [large, other, many]) expect(megabytes).toBeLessThan(64);
  });

  it('are refused by the signature: a .json of 80 MB', () => {
    const file = path.join(temp(), 's.json');
    const descriptor = openSync(file, 'w');
    writeSync(descriptor, '{"x":[[');
    const numbers = Buffer.from('1,'.repeat(8 * MIB));
    for (let piece = 0; piece < 5; piece++) writeSync(descriptor, numbers);
    writeSync(descriptor, '1]]}');
    closeSync(descriptor);
    const { said, megabytes } = load(file, [fixed]);
    expect(said).toMatch(/^InputError: samples: .* has more than the 64 numbers that the model can take/);
    expect(megabytes).toBeLessThan(160);
    // Where the model takes any number of them, each takes eight bytes.
    writeFileSync(file, `{"x":[[${numbers.toString().slice(0, -1)}]]}`);
    const wide = load(file, [{ ...open, dims: ['a', 'b'] }]);
    expect(wide.said).toBe('1 samples');
    expect(wide.megabytes).toBeLessThan(400);
  });

  it.each([
    ['a list in a list', `{"x":${'['.repeat(1e6)}`, /nested deeper than 32/],
    ['objects in objects', `{"x":${'{"data":'.repeat(1e6)}`, /is no JSON|is no number|beside data/],
    ['a million samples', `[${'{},'.repeat(1e6)}{}]`, /more than 100000 samples/],
    ['a key that is a prototype', '{"__proto__": [1], "x": [[1]]}', /feeds __proto__/],
    ['a number that is none', '{"x": [[1, +2]]}', /\+2, which is no number/],
    ['what follows', '{"x": [[1]]} more', /is no JSON/],
  ])('%s is one sentence', (_, text, expected) => {
    const file = path.join(temp(), 's.json');
    writeFileSync(file, text);
    const { said, megabytes } = load(file, [open]);
    expect(said).toMatch(/^InputError: /);
    expect(said).toMatch(expected);
    expect(megabytes).toBeLessThan(96);
  });

  it('a sound of one sample a second, and an ONNX tensor of millions of listed numbers', () => {
    const folder = temp();
    const sound = path.join(folder, 's.wav');
    const bytes = Buffer.alloc(44 + 3_000_000);
    bytes.write('RIFF', 0, 'latin1');
    bytes.write('WAVEfmt ', 8, 'latin1');
    bytes.writeUInt32LE(16, 16);
    bytes.writeUInt16LE(1, 20);
    bytes.writeUInt16LE(1, 22);
    bytes.writeUInt32LE(1, 24);
    bytes.writeUInt16LE(8, 34);
    bytes.write('data', 36, 'latin1');
    bytes.writeUInt32LE(3_000_000, 40);
    writeFileSync(sound, bytes);
    const heard = load(sound, [{ name: 'audio', dtype: 'float32', dims: ['n'] }]);
    expect(heard.said).toMatch(/^InputError: .*3000000 s of sound/);
    expect(heard.megabytes).toBeLessThan(96);

    const set = path.join(folder, 'test_data_set_0');
    mkdirSync(set);
    const listed = Buffer.alloc(20_000_000, 1);
    const length = Buffer.from([
      0x80 | (20_000_000 & 127),
      0x80 | ((20_000_000 >> 7) & 127),
      0x80 | ((20_000_000 >> 14) & 127),
      20_000_000 >> 21,
    ]);
    writeFileSync(path.join(set, 'input_0.pb'), Buffer.concat([Buffer.from([0x10, 7, 0x3a]), length, listed]));
    const tensor = load(set, [{ name: 'x', dtype: 'int64', dims: ['n'] }]);
    expect(tensor.said).toMatch(/^InputError: .*more than 4194304 numbers one by one/);
    expect(tensor.megabytes).toBeLessThan(400);
  });
});

it.skipIf(!canMakePipes)('pipes, devices and dangling links are one sentence, whatever their ending', () => {
  const folder = temp();
  for (const ending of ['npz', 'npy', 'json', 'wav']) {
    const pipe = path.join(folder, `pipe.${ending}`);
    execFileSync('mkfifo', [pipe]);
    expect(load(pipe, [open]).said).toMatch(/^InputError: samples: .* is a named pipe/);
    const zero = path.join(folder, `zero.${ending}`);
    symlinkSync('/dev/zero', zero);
    expect(load(zero, [open]).said).toMatch(/^InputError: samples: .* is a device/);
  }
  const set = path.join(folder, 'test_data_set_0');
  mkdirSync(set);
  execFileSync('mkfifo', [path.join(set, 'input_0.pb')]);
  expect(load(set, [open]).said).toMatch(/^InputError: samples: .* is a named pipe/);
});
