import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { deflateRawSync } from 'node:zlib';
import { create, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { type TensorProto, TensorProtoSchema } from '../../src/model/onnx_pb.ts';
import { bytesOf, encode, fromFloat16, toFloat16, viewAs } from '../../src/runtime/dtype.ts';
import { loadSamples } from '../../src/runtime/index.ts';
import { parseNpyHeader } from '../../src/runtime/samples/npy.ts';
import { parseTensorProto } from '../../src/runtime/samples/tensor-proto.ts';
import { parseWav, resample } from '../../src/runtime/samples/wav.ts';
import { openZip } from '../../src/runtime/samples/zip.ts';
import type { Feeds, Tensor, ValueInfo } from '../../src/runtime/types.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

const matrix: ValueInfo = { name: 'x', dtype: 'float32', dims: ['batch', 3] };
const ids: ValueInfo = { name: 'ids', dtype: 'int64', dims: ['batch', 'seq'] };
const speech: ValueInfo[] = [
  { name: 'input', dtype: 'float32', dims: ['batch', 'sequence'] },
  { name: 'state', dtype: 'float32', dims: [2, 'batch', 128] },
  { name: 'sr', dtype: 'int64', dims: [] },
];

const numbers = (tensor: Tensor | undefined): number[] =>
  Array.from(viewAs(tensor!.dtype as 'float32', tensor!.data) as Float32Array, Number);

async function file(name: string, content: Uint8Array | string): Promise<string> {
  const target = path.join(temp(), name);
  await writeFile(target, content);
  return target;
}

async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof InputError)) throw new Error(`no InputError but ${String(error)}`);
  expect(error.message.split('\n')).toHaveLength(1);
  return error.message;
}

/** What numpy.save writes. */
function npy(descr: string, shape: number[], data: Uint8Array, fortran = false): Buffer {
  const dims = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const header = `{'descr': '${descr}', 'fortran_order': ${fortran ? 'True' : 'False'}, 'shape': (${dims}), }`;
  const padded = `${header.padEnd(Math.ceil((10 + header.length + 1) / 64) * 64 - 11)}\n`;
  const head = Buffer.alloc(10);
  head.write('\x93NUMPY\x01\x00', 'latin1');
  head.writeUInt16LE(padded.length, 8);
  return Buffer.concat([head, Buffer.from(padded, 'latin1'), data]);
}

/** A zip file of stored or deflated members. */
function zip(members: { name: string; content: Buffer }[], deflate: boolean): Buffer {
  const bodies: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, content } of members) {
    const packed = deflate ? deflateRawSync(content) : content;
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(deflate ? 8 : 0, 8);
    local.writeUInt16LE(name.length, 26);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(deflate ? 8 : 0, 10);
    entry.writeUInt32LE(packed.length, 20);
    entry.writeUInt32LE(content.length, 24);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt32LE(offset, 42);
    bodies.push(local, Buffer.from(name), packed);
    directory.push(entry, Buffer.from(name));
    offset += 30 + name.length + packed.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(members.length, 10);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...bodies, ...directory, end]);
}

/** A WAV file of 16-bit PCM. */
function wav(samples: ArrayLike<number>, sampleRate: number, channels = 1): Buffer {
  const data = Buffer.alloc(samples.length * 2);
  for (let i = 0; i < samples.length; i++) data.writeInt16LE(Math.round(samples[i]! * 32767), i * 2);
  const head = Buffer.alloc(44);
  head.write('RIFF', 0);
  head.writeUInt32LE(36 + data.length, 4);
  head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(channels, 22);
  head.writeUInt32LE(sampleRate, 24);
  head.writeUInt32LE(sampleRate * channels * 2, 28);
  head.writeUInt16LE(channels * 2, 32);
  head.writeUInt16LE(16, 34);
  head.write('data', 36);
  head.writeUInt32LE(data.length, 40);
  return Buffer.concat([head, data]);
}

const sine = (hz: number, sampleRate: number, seconds: number): Float32Array =>
  Float32Array.from(
    { length: Math.round(seconds * sampleRate) },
    (_, i) => 0.5 * Math.sin((2 * Math.PI * hz * i) / sampleRate),
  );

describe('generated samples', () => {
  it('follow the signature, the seed and the ranges, and differ from each other', async () => {
    const options = { dims: 'seq=16', ranges: 'ids=0..1023', seed: 7, count: 5 };
    const samples = await loadSamples(undefined, [matrix, ids], options);
    expect(samples.length).toBe(5);
    expect(samples.notes).toEqual([
      'The inputs are made: x [1,3] of standard normal numbers; ids [1,16] of 0 to 1023, as given.',
    ]);
    const seen = new Set<string>();
    for (let index = 0; index < samples.length; index++) {
      const feeds = await samples.get(index);
      expect(feeds.x?.dims).toEqual([1, 3]);
      expect(feeds.ids?.dims).toEqual([1, 16]);
      expect(numbers(feeds.ids).every((value) => value >= 0 && value <= 1023)).toBe(true);
      seen.add(numbers(feeds.ids).join());
    }
    expect(seen.size).toBe(5);
    expect(await (await loadSamples(undefined, [matrix, ids], options)).get(3)).toEqual(await samples.get(3));
    const other = await loadSamples(undefined, [matrix, ids], { ...options, seed: 8 });
    expect(numbers((await other.get(3)).x)).not.toEqual(numbers((await samples.get(3)).x));
  });

  it('take ranges that the graph gave, and say so where nobody gave one', async () => {
    const settled = { shapes: { ids: [1, 64] }, states: [], carried: [], sampleRate: 16_000, notes: ['as settled'] };
    const known = await loadSamples(undefined, [ids], {
      settled: { ...settled, ranges: { ids: { low: 5, high: 6 } } },
    });
    expect(known.notes).toEqual(['as settled']);
    expect(new Set(numbers((await known.get(0)).ids))).toEqual(new Set([5, 6]));
    const unknown = await loadSamples(undefined, [ids], { dims: 'seq=64' });
    expect(unknown.notes.join()).toContain('ranges: ids=0..1023');
    expect(new Set(numbers((await unknown.get(0)).ids))).toEqual(new Set([0, 1]));
  });

  it('believe names that say what belongs there', async () => {
    const inputs: ValueInfo[] = [...speech, { name: 'attention_mask', dtype: 'int64', dims: [1, 4] }];
    const feeds = await (await loadSamples(undefined, inputs, { dims: 'sequence=512' })).get(0);
    expect(numbers(feeds.sr)).toEqual([16000]);
    expect(feeds.state?.dims).toEqual([2, 1, 128]);
    expect(numbers(feeds.attention_mask)).toEqual([1, 1, 1, 1]);
  });

  it('stay within any range', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: -1000, max: 1000 }), fc.nat(1000), fc.nat(), async (low, width, seed) => {
        const samples = await loadSamples(undefined, [ids], {
          dims: 'seq=33',
          ranges: `ids=${low}..${low + width}`,
          seed,
          count: 1,
        });
        const values = numbers((await samples.get(0)).ids);
        expect(Math.min(...values)).toBeGreaterThanOrEqual(low);
        expect(Math.max(...values)).toBeLessThanOrEqual(low + width);
      }),
    );
  });

  it('refuse sizes and ranges that fit nothing', async () => {
    const load = (options: Parameters<typeof loadSamples>[2]) =>
      refusal(loadSamples(undefined, [matrix, ids], options));
    expect(await load({})).toBe('dims: the model leaves seq open; give sizes, for example dims: seq=16.');
    expect(await load({ dims: 'seq=16,x=1x4' })).toContain('x has 3 at axis 1');
    expect(await load({ dims: 'seq=16,heads=8' })).toContain('no input has a dimension heads');
    expect(await load({ dims: 'seq=many' })).toContain('seq=many is no size');
    expect(await load({ dims: 'seq' })).toContain('"seq" has no name and value');
    expect(await load({ dims: 'seq=16', ranges: 'ids=9..1' })).toContain('the lower bound first');
    expect(await load({ dims: 'seq=16', ranges: 'codes=0..1' })).toContain('the model has no input codes');
  });

  it('take open dimensions by position where they have no name', async () => {
    const nameless: ValueInfo = { name: 'x', dtype: 'float32', dims: [1, '', ''] };
    const one = await loadSamples(undefined, [nameless], { dims: 'x.1=2,x.2=5' });
    expect((await one.get(0)).x?.dims).toEqual([1, 2, 5]);
    const two = await loadSamples(undefined, [nameless], { dims: 'x=1x2x5' });
    expect((await two.get(0)).x?.dims).toEqual([1, 2, 5]);
  });
});

describe('NumPy files', () => {
  const three = bytesOf(Float32Array.of(1, 2, 3));
  const stack = bytesOf(Float32Array.from({ length: 12 }, (_, i) => i));

  for (const deflate of [false, true]) {
    it(`.npz ${deflate ? 'compressed' : 'stored'}: an array per input, stacks are several samples`, async () => {
      const members = [
        { name: 'x.npy', content: npy('<f4', [4, 1, 3], stack) },
        { name: 'ids.npy', content: npy('<i8', [1, 2], bytesOf(BigInt64Array.of(5n, 6n))) },
      ];
      const samples = await loadSamples(await file('s.npz', zip(members, deflate)), [matrix, ids]);
      expect(samples.length).toBe(4);
      expect(samples.name(2)).toMatch(/s\.npz\[2\]$/);
      const feeds = await samples.get(2);
      expect(numbers(feeds.x)).toEqual([6, 7, 8]);
      expect(numbers(feeds.ids)).toEqual([5, 6]);
    });
  }

  it('.npy: for the one input', async () => {
    const samples = await loadSamples(await file('x.npy', npy('<f4', [1, 3], three)), [matrix]);
    expect(numbers((await samples.get(0)).x)).toEqual([1, 2, 3]);
    expect(samples.notes.join()).toContain('one sample only');
    expect(await refusal(loadSamples(await file('x.npy', npy('<f4', [1, 3], three)), [matrix, ids]))).toContain(
      'use a .npz',
    );
  });

  it('that are broken or do not fit are one sentence', async () => {
    const npyRefusal = async (content: Uint8Array) => refusal(loadSamples(await file('x.npy', content), [matrix]));
    expect(await npyRefusal(Buffer.from('not numpy at all'))).toContain('no NumPy array');
    expect(await npyRefusal(npy('<f4', [1, 3], three).subarray(0, -1))).toContain('cut off or overlong');
    expect(await npyRefusal(npy('>f4', [1, 3], three))).toContain('big-endian');
    expect(await npyRefusal(npy('<f4', [1, 3], three, true))).toContain('ascontiguousarray');
    expect(await npyRefusal(npy('<c8', [1, 3], three))).toContain('header');
    expect(await npyRefusal(npy('<f8', [1, 3], bytesOf(new Float64Array(3))))).toContain(
      'as float64, the model wants float32',
    );
    expect(await npyRefusal(npy('<f4', [1, 2], three.subarray(0, 8)))).toContain(
      'shape [1,2], the model wants x float32[batch,3]',
    );
    expect(await npyRefusal(npy('<f4', [0, 3], new Uint8Array(0)))).toContain('which is empty');
    const npz = async (content: Uint8Array) => refusal(loadSamples(await file('x.npz', content), [matrix]));
    expect(await npz(Buffer.from('PK nothing'))).toContain('no intact zip file');
    expect(await npz(zip([], false))).toContain('holds no array');
    const wrong = zip([{ name: 'y.npy', content: npy('<f4', [1, 3], three) }], false);
    expect(await npz(wrong)).toContain("feeds y, but the model's inputs are x float32[batch,3]");
    expect(await npz(zip([{ name: 'x.npy', content: npy('<f4', [1, 3], three) }], true).subarray(0, 60))).toContain(
      'no intact zip',
    );
  });

  it('never throw anything but a sentence, whatever the bytes', () => {
    const good = npy('<f4', [1, 3], three);
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), (position, value) => {
        const broken = Buffer.from(good);
        broken[position] = value;
        try {
          parseNpyHeader(broken, 'x');
        } catch (error) {
          expect(error).toBeInstanceOf(InputError);
        }
      }),
    );
  });

  it('zip members survive any change to the archive as a sentence', async () => {
    const good = zip([{ name: 'x.npy', content: npy('<f4', [1, 3], three) }], true);
    const target = await file('x.npz', good);
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.nat(255), async (position, value) => {
        const broken = Buffer.from(good);
        broken[position] = value;
        await writeFile(target, broken);
        await loadSamples(target, [matrix]).catch((error) => expect(error).toBeInstanceOf(InputError));
        await openZip(target)
          .then((members) => Promise.all(members.map(({ size, read }) => read(0, size))))
          .catch((error) => expect(error).toBeInstanceOf(InputError));
      }),
      { numRuns: 200 },
    );
  });
});

describe('ONNX test data sets', () => {
  const proto = (fields: Partial<TensorProto>): Uint8Array =>
    toBinary(TensorProtoSchema, create(TensorProtoSchema, fields as object));

  it('are read in order, one folder one sample', async () => {
    const root = temp();
    for (const [index, value] of [1, 2, 10].entries()) {
      const folder = path.join(root, `test_data_set_${[0, 1, 10][index]}`);
      await mkdir(folder);
      await writeFile(
        path.join(folder, 'input_0.pb'),
        proto({ dims: [1n, 3n], dataType: 1, rawData: bytesOf(Float32Array.of(value, 0, 0)) }),
      );
      await writeFile(
        path.join(folder, 'input_1.pb'),
        proto({ dims: [1n, 2n], dataType: 7, int64Data: [3n, 4n], name: 'ids' }),
      );
    }
    const samples = await loadSamples(root, [matrix, ids]);
    expect(samples.length).toBe(3);
    expect(numbers((await samples.get(2)).x)).toEqual([10, 0, 0]);
    expect(numbers((await samples.get(2)).ids)).toEqual([3, 4]);
    expect(await refusal(loadSamples(root, [matrix]).then((set) => set.get(0)))).toContain('is for input 1');
  });

  it('may use typed fields, half floats as bits', () => {
    const parsed = (fields: Partial<TensorProto>) => parseTensorProto(proto(fields), 'f').tensor;
    expect(numbers(parsed({ dims: [2n], dataType: 1, floatData: [0.5, -2] }))).toEqual([0.5, -2]);
    expect(parsed({ dims: [1n], dataType: 10, int32Data: [0x3c00] }).data).toEqual(Uint8Array.of(0x00, 0x3c));
    expect(parsed({ dims: [2n], dataType: 3, int32Data: [-1, 5] }).data).toEqual(Uint8Array.of(255, 5));
    expect(parsed({ dims: [1n], dataType: 11, doubleData: [Math.PI] }).data).toEqual(bytesOf(Float64Array.of(Math.PI)));
    expect(parsed({ dims: [1n], dataType: 13, uint64Data: [2n ** 63n] }).data).toEqual(
      bytesOf(BigUint64Array.of(2n ** 63n)),
    );
  });

  it('that are broken are one sentence', async () => {
    const folder = temp();
    await writeFile(path.join(folder, 'input_0.pb'), Buffer.from([0x0a, 0xff, 0xff]));
    expect(await refusal(loadSamples(folder, [matrix]))).toContain('no ONNX tensor or is cut off');
    await writeFile(
      path.join(folder, 'input_0.pb'),
      proto({ dims: [1n, 3n], dataType: 1, rawData: new Uint8Array(4) }),
    );
    expect(await refusal(loadSamples(folder, [matrix]))).toContain('4 bytes of x, its shape [1,3] needs 12');
    await writeFile(path.join(folder, 'input_0.pb'), proto({ dims: [1n], dataType: 8 }));
    expect(await refusal(loadSamples(folder, [matrix]))).toContain('type 8, which cannot be fed');
  });
});

describe('JSON', () => {
  it('is one sample or a list of them, in the types that the model declares', async () => {
    const samples = await loadSamples(
      await file(
        's.json',
        JSON.stringify([
          { x: [[1, 2, 3]], ids: [[1, 2]] },
          { x: { dims: [1, 3], data: [4, 5, 6] }, ids: [[3, 4]] },
        ]),
      ),
      [matrix, ids],
    );
    expect(samples.length).toBe(2);
    expect(numbers((await samples.get(1)).x)).toEqual([4, 5, 6]);
    expect(await samples.get(1)).toMatchObject({ ids: { dtype: 'int64', dims: [1, 2] } });
  });

  it('that is broken is one sentence', async () => {
    const json = async (content: string) => refusal(loadSamples(await file('s.json', content), [matrix]));
    expect(await json('{')).toContain('is no JSON');
    expect(await json('[]')).toContain('empty list');
    expect(await json('3')).toContain('no object');
    expect(await json('{"x": [[1, 2], [3]]}')).toContain('different lengths');
    expect(await json('{"x": [["a", 2, 3]]}')).toContain('"a", which is no number');
    expect(await json('{"x": {"dims": [2, 3], "data": [1]}}')).toContain('1 numbers, which do not make dims [2,3]');
    expect(await json('{"y": [[1, 2, 3]]}')).toContain('feeds y');
    expect(await json('{}')).toContain('lacks the input x');
  });
});

describe('WAV', () => {
  it('is cut into windows of the model, with state zero and the rate given', async () => {
    const sound = sine(440, 16000, 0.1);
    const samples = await loadSamples(await file('s.wav', wav(sound, 16000)), speech, { dims: 'sequence=512' });
    expect(samples.length).toBe(3);
    const feeds: Feeds = await samples.get(1);
    expect(feeds.input?.dims).toEqual([1, 512]);
    expect(numbers(feeds.input)[10]).toBeCloseTo(sound[522]!, 3);
    expect(numbers(feeds.state).every((value) => value === 0)).toBe(true);
    expect(numbers(feeds.sr)).toEqual([16000]);
  });

  it('is taken whole where the length is open, and padded where it is short', async () => {
    const target = await file('s.wav', wav(sine(440, 16000, 0.05), 16000));
    expect((await (await loadSamples(target, speech)).get(0)).input?.dims).toEqual([1, 800]);
    const padded = await (await loadSamples(target, speech, { dims: 'sequence=1000' })).get(0);
    expect(
      numbers(padded.input)
        .slice(800)
        .every((value) => value === 0),
    ).toBe(true);
  });

  it('is resampled without shifting or losing the tone', () => {
    const result = resample({ sampleRate: 44100, samples: sine(1000, 44100, 0.2) }, 16000);
    const expected = sine(1000, 16000, 0.2);
    expect(result.length).toBe(expected.length);
    for (let i = 200; i < result.length - 200; i++) expect(Math.abs(result[i]! - expected[i]!)).toBeLessThan(0.01);
    // What the new rate cannot hold must not come back as another tone.
    const alias = resample({ sampleRate: 44100, samples: sine(12000, 44100, 0.2) }, 16000);
    expect(Math.max(...alias.subarray(200, -200).map(Math.abs))).toBeLessThan(0.01);
  });

  it('mixes channels and reads other encodings', async () => {
    const stereo = parseWav(wav([0.5, -0.5, 0.25, 0.75], 8000, 2), 'f');
    expect([...stereo.samples].map((value) => value.toFixed(3))).toEqual(['0.000', '0.500']);
    const float = wav([], 8000);
    float.writeUInt16LE(3, 20);
    float.writeUInt16LE(32, 34);
    float.writeUInt32LE(4, 40);
    const one = Buffer.alloc(4);
    one.writeFloatLE(0.125);
    expect([...parseWav(Buffer.concat([float, one]), 'f').samples]).toEqual([0.125]);
  });

  it('with a broken header is one sentence', async () => {
    const good = wav(sine(440, 16000, 0.05), 16000);
    const change = (at: number, bytes: number[]): Buffer => {
      const copy = Buffer.from(good);
      copy.set(bytes, at);
      return copy;
    };
    const load = async (content: Uint8Array) => refusal(loadSamples(await file('s.wav', content), speech));
    expect(await load(Buffer.from('RIFX'))).toContain('does not begin with RIFF and WAVE');
    expect(await load(good.subarray(0, 30))).toContain('format chunk is cut off');
    expect(await load(good.subarray(0, 36))).toContain('no data chunk');
    expect(await load(good.subarray(0, 60))).toContain('promises 1600 bytes of sound and has 16');
    expect(await load(change(20, [2, 0]))).toContain('encoding 2 with 16 bits');
    expect(await load(change(22, [0, 0]))).toContain('0 channels');
    expect(await load(wav([], 16000))).toContain('holds no sound');
    expect(await refusal(loadSamples(await file('s.wav', good), [ids]))).toContain('is sound, but no input takes it');
  });

  it('never throws anything but a sentence, whatever the header', () => {
    const good = wav(sine(440, 16000, 0.01), 16000);
    fc.assert(
      fc.property(fc.nat(43), fc.nat(255), fc.nat(good.length), (position, value, length) => {
        const broken = Buffer.from(good.subarray(0, length));
        if (position < broken.length) broken[position] = value;
        try {
          parseWav(broken, 'x');
        } catch (error) {
          expect(error).toBeInstanceOf(InputError);
        }
      }),
    );
  });
});

describe('other samples', () => {
  it('a folder of files, in natural order', async () => {
    const folder = temp();
    for (const index of [2, 10, 1])
      await writeFile(path.join(folder, `s${index}.json`), JSON.stringify({ x: [[index, 0, 0]] }));
    await writeFile(path.join(folder, 'README.md'), 'about');
    const samples = await loadSamples(folder, [matrix]);
    expect(await Promise.all([0, 1, 2].map(async (index) => numbers((await samples.get(index)).x)[0]))).toEqual([
      1, 2, 10,
    ]);
    expect((await loadSamples(folder, [matrix], { count: 2 })).length).toBe(2);
  });

  it('nothing, or something else, is one sentence', async () => {
    expect(await refusal(loadSamples(temp(), [matrix]))).toContain('holds no sample');
    expect(await refusal(loadSamples(await file('s.png', 'x'), [matrix]))).toContain('of no known kind');
    expect(await refusal(loadSamples('/nowhere/s.npz', [matrix]))).toContain('cannot be read');
    expect(await refusal(loadSamples(undefined, [{ name: 'text', dtype: 'string', dims: [1] }]))).toContain(
      'no tensor of numbers',
    );
  });

  it('that repeat are said to', async () => {
    const samples = await loadSamples(await file('s.json', '[{"x": [[1, 2, 3]]}, {"x": [[1, 2, 3]]}]'), [matrix]);
    expect(samples.notes.join()).toContain('are the same');
  });
});

describe('half floats', () => {
  it('go there and back', () => {
    for (let bits = 0; bits < 0x10000; bits++) {
      const value = fromFloat16(bits);
      if (Number.isNaN(value)) continue;
      expect(toFloat16(value)).toBe(bits);
    }
  });

  it('round to the nearest, ties to even', () => {
    fc.assert(
      fc.property(fc.float({ min: Math.fround(-65519), max: Math.fround(65519), noNaN: true }), (value) => {
        const rounded = fromFloat16(toFloat16(value));
        const bits = toFloat16(value);
        for (const neighbour of [bits - 1, bits + 1].filter((other) => (other & 0x7fff) < 0x7c00 && other >= 0)) {
          const distance = Math.abs(fromFloat16(neighbour) - value);
          expect(Math.abs(rounded - value)).toBeLessThanOrEqual(distance);
        }
      }),
    );
    expect(encode('float16', [65520])).toEqual(Uint8Array.of(0x00, 0x7c));
  });
});
