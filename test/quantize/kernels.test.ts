import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bindKernels, compileKernels, SLACK } from '../../src/quantize/kernels/kernels.ts';
import { quantizedRange, type Scheme, scaleAndZeroPoint } from '../../src/quantize/kernels/parameters.ts';
import { phaseOf } from '../../src/quantize/stream/geometry.ts';
import { halfValue, referenceHalf, referenceQuantize, referenceRanges, type Tensor } from './reference.ts';

const memory = new WebAssembly.Memory({ initial: 16 });
const kernels = bindKernels(compileKernels(), memory);
const [SOURCE, FIRST, SECOND, TARGET] = [0, 0x40000, 0x60000, 0x80000];
const RUNS = { numRuns: 400 };

/** Bit patterns, so that subnormals, infinities, NaN and −0 come as often as anything else. */
const anyFloat = fc
  .integer({ min: 0, max: 0xffffffff })
  .map((bits) => new Float32Array(new Uint32Array([bits]).buffer)[0]!);
const weight = fc.float({ min: -1e6, max: 1e6, noNaN: true });
const ordinary = fc.oneof({ weight: 4, arbitrary: weight }, { weight: 1, arbitrary: fc.constantFrom(0, -0, 1e-40) });

/** A block somewhere in a tensor: the whole tensor, and where the block begins. */
function blockOf(value: fc.Arbitrary<number>) {
  return fc
    .tuple(fc.integer({ min: 1, max: 70 }), fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 6 }))
    .chain(([channels, inner, rounds]) => {
      const length = channels * inner * rounds;
      return fc.tuple(
        fc.array(value, { minLength: length, maxLength: length, size: 'max' }),
        fc.nat({ max: length - 1 }),
        fc.constant({ channels, inner }),
      );
    })
    .map(([values, start, geometry]) => ({ start, tensor: { values: Float32Array.from(values), ...geometry } }));
}

/** The part of a tensor behind `start`, with what comes before it masked by zeros (which change no range). */
function from(tensor: Tensor, start: number): Tensor {
  return { ...tensor, values: tensor.values.map((value, i) => (i < start ? 0 : value)) };
}

function place(values: Float32Array, at: number): void {
  new Float32Array(memory.buffer, at, values.length).set(values);
}

function floats(at: number, count: number): Float32Array {
  return new Float32Array(memory.buffer, at, count).slice();
}

function argumentsOf({ values, channels, inner }: Tensor, start: number) {
  const { channel, left } = phaseOf({ channels, inner }, start);
  place(values.subarray(start), SOURCE);
  return [values.length - start, channel, left, channels, inner] as const;
}

describe('range', () => {
  it('equals the reference for any bits, any channels and any start', () => {
    fc.assert(
      fc.property(blockOf(fc.oneof(ordinary, anyFloat)), ({ tensor, start }) => {
        place(new Float32Array(tensor.channels), FIRST);
        place(new Float32Array(tensor.channels), SECOND);
        const nonFinite = kernels.range(SOURCE, ...argumentsOf(tensor, start), FIRST, SECOND);
        const reference = referenceRanges(from(tensor, start));
        expect(nonFinite).toBe(reference.nonFinite);
        expect(floats(FIRST, tensor.channels).map(plain)).toEqual(reference.min.map(plain));
        expect(floats(SECOND, tensor.channels).map(plain)).toEqual(reference.max.map(plain));
      }),
      RUNS,
    );
  });

  it('finds the same magnitudes, and shows a value that is not finite', () => {
    fc.assert(
      fc.property(
        blockOf(fc.oneof({ weight: 60, arbitrary: ordinary }, { weight: 1, arbitrary: anyFloat })),
        (block) => {
          const { tensor, start } = block;
          place(new Float32Array(tensor.channels), FIRST);
          kernels.magnitude(SOURCE, ...argumentsOf(tensor, start), FIRST);
          const { min, max, nonFinite } = referenceRanges(from(tensor, start));
          const found = floats(FIRST, tensor.channels);
          if (nonFinite > 0) expect(found.every(Number.isFinite)).toBe(false);
          else expect(found).toEqual(max.map((value, c) => Math.max(value, -min[c]!)));
        },
      ),
      RUNS,
    );
  });
});

describe('quantize', () => {
  const scheme: fc.Arbitrary<Scheme> = fc.record({
    target: fc.constantFrom('int8', 'uint8'),
    symmetric: fc.boolean(),
    reduceRange: fc.boolean(),
  });

  it('equals the reference with the scales of the weights themselves', () => {
    fc.assert(
      fc.property(blockOf(ordinary), scheme, ({ tensor, start }, scheme) => {
        const { min, max } = referenceRanges(tensor);
        const parameters = Array.from(min, (low, c) => scaleAndZeroPoint(low, max[c]!, scheme));
        const kernel = scheme.target === 'int8' ? kernels.quantizeInt8 : kernels.quantizeUint8;
        compare(kernel, tensor, start, parameters, scheme.target);
      }),
      RUNS,
    );
  });

  it('clips infinities and puts NaN on the zero point in the kernels for any value', () => {
    const parameter = fc.record({
      scale: fc.float({ min: 2 ** -60, max: 2 ** 100, noNaN: true }),
      zeroPoint: fc.integer({ min: -128, max: 127 }),
    });
    fc.assert(
      fc.property(
        blockOf(fc.oneof(ordinary, anyFloat)),
        fc.infiniteStream(parameter),
        fc.constantFrom('int8' as const, 'uint8' as const),
        ({ tensor, start }, stream, target) => {
          const parameters = [...stream.take(tensor.channels)].map(({ scale, zeroPoint }) => ({
            scale,
            zeroPoint: target === 'int8' ? zeroPoint : zeroPoint + 128,
          }));
          const kernel = target === 'int8' ? kernels.quantizeAnyInt8 : kernels.quantizeAnyUint8;
          compare(kernel, tensor, start, parameters, target);
        },
      ),
      RUNS,
    );
  });

  it('rounds ties to even', () => {
    const values = Float32Array.of(0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, -127.5, 127.5);
    const tensor = { values, channels: 1, inner: values.length };
    compare(kernels.quantizeInt8, tensor, 0, [{ scale: 1, zeroPoint: 0 }], 'int8');
    expect([...new Int8Array(memory.buffer, TARGET, 9)]).toEqual([0, 2, 2, 0, -2, -2, 126, -128, 127]);
  });

  function compare(
    kernel: typeof kernels.quantizeInt8,
    tensor: Tensor,
    start: number,
    parameters: { scale: number; zeroPoint: number }[],
    target: Scheme['target'],
  ): void {
    const scales = Float32Array.from(parameters, ({ scale }) => scale);
    const zeroPoints = Int16Array.from(parameters, ({ zeroPoint }) => zeroPoint);
    place(scales, FIRST);
    new Int16Array(memory.buffer, SECOND, zeroPoints.length).set(zeroPoints);
    const count = tensor.values.length - start;
    const bytes = new Uint8Array(memory.buffer);
    bytes.fill(0xaa, TARGET - SLACK, TARGET + count + 2 * SLACK);
    const [n, channel, left, channels, inner] = argumentsOf(tensor, start);
    kernel(SOURCE, TARGET, n, channel, left, channels, inner, FIRST, SECOND);
    const made =
      target === 'int8' ? new Int8Array(memory.buffer, TARGET, count) : bytes.subarray(TARGET, TARGET + count);
    expect([...made]).toEqual(referenceQuantize(tensor, scales, zeroPoints, target).slice(start));
    expect(bytes[TARGET - 1]).toBe(0xaa);
    expect(bytes[TARGET + count + SLACK]).toBe(0xaa);
  }
});

describe('transposeBytes', () => {
  it('puts row r, column c at row c, column r, and touches nothing else', () => {
    const side = fc.integer({ min: 1, max: 70 });
    fc.assert(
      fc.property(side, side, fc.nat({ max: 9 }), fc.nat({ max: 9 }), (rows, columns, sourceGap, targetGap) => {
        const bytes = new Uint8Array(memory.buffer);
        const [pitch, targetPitch] = [columns + sourceGap, rows + targetGap];
        for (let i = 0; i < rows * pitch; i++) bytes[SOURCE + i] = (i * 31) & 0xff;
        bytes.fill(0xaa, TARGET, TARGET + columns * targetPitch);
        kernels.transposeBytes(SOURCE, TARGET, rows, columns, pitch, targetPitch);
        for (let c = 0; c < columns; c++) {
          for (let r = 0; r < targetPitch; r++) {
            const expected = r < rows ? bytes[SOURCE + r * pitch + c] : 0xaa;
            if (bytes[TARGET + c * targetPitch + r] !== expected) throw new Error(`row ${r}, column ${c}`);
          }
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('conversions', () => {
  it('rounds any f32 to half precision, ties to even', () => {
    const tie = fc.integer({ min: 0, max: 0x7bff }).map((bits) => (halfValue(bits) + halfValue(bits + 1)) / 2);
    const value = fc.oneof(
      anyFloat,
      tie,
      fc.float({ min: -70000, max: 70000, noNaN: true }),
      fc.float({ max: Math.fround(1e-4), min: 0 }),
    );
    fc.assert(
      fc.property(fc.array(value, { minLength: 1, maxLength: 40 }), (values) => {
        const source = Float32Array.from(values);
        place(source, SOURCE);
        kernels.float16FromFloat32(SOURCE, TARGET, source.length);
        const made = [...new Uint16Array(memory.buffer, TARGET, source.length)];
        expect(made.map(unsigned)).toEqual([...source].map(referenceHalf).map(unsigned));
      }),
      RUNS,
    );
  });

  it('widens every half-precision value exactly', () => {
    const bits = Uint16Array.from({ length: 0x10000 }, (_, i) => i);
    new Uint16Array(memory.buffer, SOURCE, bits.length).set(bits);
    kernels.float32FromFloat16(SOURCE, TARGET, bits.length);
    const wide = floats(TARGET, bits.length);
    const wrong = [...bits].filter((b) => !Object.is(wide[b], b & 0x8000 ? -halfValue(b & 0x7fff) : halfValue(b)));
    expect(wrong).toEqual([]);
  });

  it('widens bfloat16 and rounds f64', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat({ max: 0xffff }), fc.double()), { minLength: 1, maxLength: 30 }),
        (pairs) => {
          new Uint16Array(memory.buffer, SOURCE, pairs.length).set(pairs.map(([bits]) => bits));
          kernels.float32FromBfloat16(SOURCE, TARGET, pairs.length);
          const expected = new Float32Array(Uint32Array.from(pairs, ([bits]) => bits << 16).buffer);
          expect(floats(TARGET, pairs.length)).toEqual(expected);
          new Float64Array(memory.buffer, SOURCE, pairs.length).set(pairs.map(([, value]) => value));
          kernels.float32FromFloat64(SOURCE, TARGET, pairs.length);
          expect(floats(TARGET, pairs.length)).toEqual(Float32Array.from(pairs, ([, value]) => value));
        },
      ),
      RUNS,
    );
  });
});

describe('scaleAndZeroPoint', () => {
  // Printed by compute_data_quant_params of onnxruntime 1.32: target, symmetric, reduce_range, min, max → scale, zero point.
  it.each([
    ['int8', true, false, -1.0, 1.0, 0.007874015718698502, 0],
    ['int8', true, false, -0.30000001192092896, 0.699999988079071, 0.005511811003088951, 0],
    ['int8', true, false, 0.25, 3.0, 0.023622047156095505, 0],
    ['int8', true, false, -2.5, -0.5, 0.019685039296746254, 0],
    ['int8', true, false, -0.0010000000474974513, 5.099999904632568, 0.04015747830271721, 0],
    ['int8', true, false, -9.99999991097579e-38, 9.99999991097579e-38, 1.0, 0],
    ['int8', true, false, -1.4000000323781614e-36, 2.8999999517622036e-36, 2.2834644726740015e-38, 0],
    ['int8', true, false, -3.3999999521443642e38, 3.3999999521443642e38, 2.6771652467786e36, 0],
    ['int8', true, false, 0.0, 0.0, 1.0, 0],
    ['int8', true, false, -0.12345679104328156, 0.9876543283462524, 0.007776805665344, 0],
    ['int8', true, true, -1.0, 1.0, 0.015625, 0],
    ['int8', true, true, -0.30000001192092896, 0.699999988079071, 0.010937499813735485, 0],
    ['int8', true, true, 0.25, 3.0, 0.046875, 0],
    ['int8', true, true, -2.5, -0.5, 0.0390625, 0],
    ['int8', true, true, -0.0010000000474974513, 5.099999904632568, 0.07968749850988388, 0],
    ['int8', true, true, -9.99999991097579e-38, 9.99999991097579e-38, 1.0, 0],
    ['int8', true, true, -1.4000000323781614e-36, 2.8999999517622036e-36, 4.531249924628443e-38, 0],
    ['int8', true, true, -3.3999999521443642e38, 3.3999999521443642e38, 5.312499925225569e36, 0],
    ['int8', true, true, 0.0, 0.0, 1.0, 0],
    ['int8', true, true, -0.12345679104328156, 0.9876543283462524, 0.015432098880410194, 0],
    ['int8', false, false, -1.0, 1.0, 0.007843137718737125, 0],
    ['int8', false, false, -0.30000001192092896, 0.699999988079071, 0.003921568859368563, -51],
    ['int8', false, false, 0.25, 3.0, 0.0117647061124444, -128],
    ['int8', false, false, -2.5, -0.5, 0.009803921915590763, 127],
    ['int8', false, false, -0.0010000000474974513, 5.099999904632568, 0.020003920421004295, -128],
    ['int8', false, false, -9.99999991097579e-38, 9.99999991097579e-38, 1.0, 0],
    ['int8', false, false, -1.4000000323781614e-36, 2.8999999517622036e-36, 1.6862745074311585e-38, -45],
    ['int8', false, false, -3.3999999521443642e38, 3.3999999521443642e38, 2.66666656450751e36, -1],
    ['int8', false, false, 0.0, 0.0, 1.0, 0],
    ['int8', false, false, -0.12345679104328156, 0.9876543283462524, 0.004357298370450735, -100],
    ['int8', false, true, -1.0, 1.0, 0.015625, 0],
    ['int8', false, true, -0.30000001192092896, 0.699999988079071, 0.0078125, -26],
    ['int8', false, true, 0.25, 3.0, 0.0234375, -64],
    ['int8', false, true, -2.5, -0.5, 0.01953125, 64],
    ['int8', false, true, -0.0010000000474974513, 5.099999904632568, 0.039851561188697815, -64],
    ['int8', false, true, -9.99999991097579e-38, 9.99999991097579e-38, 1.0, 0],
    ['int8', false, true, -1.4000000323781614e-36, 2.8999999517622036e-36, 3.3593748474798137e-38, -22],
    ['int8', false, true, -3.3999999521443642e38, 3.3999999521443642e38, 5.312499925225569e36, 0],
    ['int8', false, true, 0.0, 0.0, 1.0, 0],
    ['int8', false, true, -0.12345679104328156, 0.9876543283462524, 0.0086805559694767, -50],
    ['uint8', true, false, -1.0, 1.0, 0.007843137718737125, 128],
    ['uint8', true, false, -0.30000001192092896, 0.699999988079071, 0.0054901959374547005, 128],
    ['uint8', true, false, 0.25, 3.0, 0.0235294122248888, 128],
    ['uint8', true, false, -2.5, -0.5, 0.019607843831181526, 128],
    ['uint8', true, false, -0.0010000000474974513, 5.099999904632568, 0.03999999910593033, 128],
    ['uint8', true, false, -9.99999991097579e-38, 9.99999991097579e-38, 1.0, 0],
    ['uint8', true, false, -1.4000000323781614e-36, 2.8999999517622036e-36, 2.2745097550974266e-38, 128],
    ['uint8', true, false, -3.3999999521443642e38, 3.3999999521443642e38, 2.66666656450751e36, 128],
    ['uint8', true, false, 0.0, 0.0, 1.0, 0],
    ['uint8', true, false, -0.12345679104328156, 0.9876543283462524, 0.007746308576315641, 128],
    ['uint8', true, true, -1.0, 1.0, 0.015748031437397003, 64],
    ['uint8', true, true, -0.30000001192092896, 0.699999988079071, 0.011023622006177902, 64],
    ['uint8', true, true, 0.25, 3.0, 0.04724409431219101, 64],
    ['uint8', true, true, -2.5, -0.5, 0.03937007859349251, 64],
    ['uint8', true, true, -0.0010000000474974513, 5.099999904632568, 0.08031495660543442, 64],
    ['uint8', true, true, -9.99999991097579e-38, 9.99999991097579e-38, 1.0, 0],
    ['uint8', true, true, -1.4000000323781614e-36, 2.8999999517622036e-36, 4.566928945348003e-38, 64],
    ['uint8', true, true, -3.3999999521443642e38, 3.3999999521443642e38, 5.3543304935572e36, 64],
    ['uint8', true, true, 0.0, 0.0, 1.0, 0],
    ['uint8', true, true, -0.12345679104328156, 0.9876543283462524, 0.015553611330688, 64],
    ['uint8', false, false, -1.0, 1.0, 0.007843137718737125, 128],
    ['uint8', false, false, -0.30000001192092896, 0.699999988079071, 0.003921568859368563, 77],
    ['uint8', false, false, 0.25, 3.0, 0.0117647061124444, 0],
    ['uint8', false, false, -2.5, -0.5, 0.009803921915590763, 255],
    ['uint8', false, false, -0.0010000000474974513, 5.099999904632568, 0.020003920421004295, 0],
    ['uint8', false, false, -9.99999991097579e-38, 9.99999991097579e-38, 1.0, 0],
    ['uint8', false, false, -1.4000000323781614e-36, 2.8999999517622036e-36, 1.6862745074311585e-38, 83],
    ['uint8', false, false, -3.3999999521443642e38, 3.3999999521443642e38, 2.66666656450751e36, 127],
    ['uint8', false, false, 0.0, 0.0, 1.0, 0],
    ['uint8', false, false, -0.12345679104328156, 0.9876543283462524, 0.004357298370450735, 28],
    ['uint8', false, true, -1.0, 1.0, 0.015748031437397003, 64],
    ['uint8', false, true, -0.30000001192092896, 0.699999988079071, 0.007874015718698502, 38],
    ['uint8', false, true, 0.25, 3.0, 0.023622047156095505, 0],
    ['uint8', false, true, -2.5, -0.5, 0.019685039296746254, 127],
    ['uint8', false, true, -0.0010000000474974513, 5.099999904632568, 0.04016535356640816, 0],
    ['uint8', false, true, -9.99999991097579e-38, 9.99999991097579e-38, 1.0, 0],
    ['uint8', false, true, -1.4000000323781614e-36, 2.8999999517622036e-36, 3.3858268783311804e-38, 41],
    ['uint8', false, true, -3.3999999521443642e38, 3.3999999521443642e38, 5.3543304935572e36, 64],
    ['uint8', false, true, 0.0, 0.0, 1.0, 0],
    ['uint8', false, true, -0.12345679104328156, 0.9876543283462524, 0.008748906664550304, 14],
  ] as const)(
    '%s, symmetric %s, reduce range %s, [%d, %d]',
    (target, symmetric, reduceRange, min, max, scale, zeroPoint) => {
      const made = scaleAndZeroPoint(Math.min(min, 0), Math.max(max, 0), { target, symmetric, reduceRange });
      expect(made).toEqual({ scale, zeroPoint });
    },
  );

  it('spreads ranges over the integers of the scheme', () => {
    expect(quantizedRange({ target: 'int8', symmetric: true, reduceRange: false })).toEqual([-127, 127]);
    expect(quantizedRange({ target: 'int8', symmetric: false, reduceRange: false })).toEqual([-128, 127]);
    expect(quantizedRange({ target: 'uint8', symmetric: false, reduceRange: true })).toEqual([0, 127]);
  });
});

/** −0 and 0 are the same bound. */
function plain(value: number): number {
  return value + 0;
}

/** NaN has many bit patterns and signs; one of them stands for all. */
function unsigned(bits: number): number {
  return (bits & 0x7fff) > 0x7c00 ? 0x7e00 : bits;
}
