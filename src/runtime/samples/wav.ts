import { InputError } from '../../errors.ts';
import { readRegularFile } from '../../read-file.ts';
import { elementCount, encode, isFloating, isNumeric } from '../dtype.ts';
import type { Feeds, ValueInfo } from '../types.ts';
import { MAX_SAMPLE_BYTES, type Stack } from './arrays.ts';
import { generateFeeds } from './generate.ts';
import { type Shape, signatureOf } from './options.ts';

/** Sound as one channel of numbers in −1…1. */
export interface Sound {
  sampleRate: number;
  samples: Float32Array;
}

/** A sample takes a byte at least in the file, and four here. */
const MAX_WAV_BYTES = MAX_SAMPLE_BYTES / 4;

const PCM = 1;
const FLOAT = 3;
const EXTENSIBLE = 0xfffe;

/**
 * A RIFF WAVE file of PCM (8, 16, 24, 32 bits) or IEEE float (32, 64); channels are averaged.
 * @throws InputError for a broken header, an unknown encoding or no sound
 */
export async function readWav(file: string): Promise<Sound> {
  return parseWav(await readRegularFile(file, 'samples:', MAX_WAV_BYTES), file);
}

/** `readWav` of bytes in memory. */
export function parseWav(bytes: Uint8Array, file: string): Sound {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const broken = (what: string) => new InputError(`samples: ${file} has a broken WAV header: ${what}.`);
  if (buffer.length < 12 || buffer.toString('latin1', 0, 4) !== 'RIFF' || buffer.toString('latin1', 8, 12) !== 'WAVE') {
    throw broken('it does not begin with RIFF and WAVE');
  }
  let format: { encoding: number; channels: number; sampleRate: number; bits: number } | undefined;
  for (let at = 12; at + 8 <= buffer.length; ) {
    const id = buffer.toString('latin1', at, at + 4);
    const length = buffer.readUInt32LE(at + 4);
    const start = at + 8;
    if (id === 'fmt ') {
      if (length < 16 || start + length > buffer.length) throw broken('its format chunk is cut off');
      const encoding = buffer.readUInt16LE(start);
      format = {
        encoding: encoding === EXTENSIBLE && length >= 26 ? buffer.readUInt16LE(start + 24) : encoding,
        channels: buffer.readUInt16LE(start + 2),
        sampleRate: buffer.readUInt32LE(start + 4),
        bits: buffer.readUInt16LE(start + 14),
      };
    }
    if (id === 'data') {
      if (!format) throw broken('its data come before its format');
      // Streams that were never closed say 0 or all ones; what is there counts.
      const known = length !== 0 && length !== 0xffffffff;
      if (known && start + length > buffer.length)
        throw broken(`it promises ${length} bytes of sound and has ${buffer.length - start}`);
      return decode(buffer.subarray(start, known ? start + length : buffer.length), format, file);
    }
    at = start + length + (length % 2);
  }
  throw broken('it has no data chunk');
}

function decode(
  data: Buffer,
  { encoding, channels, sampleRate, bits }: { encoding: number; channels: number; sampleRate: number; bits: number },
  file: string,
): Sound {
  const read = decoder(encoding, bits);
  if (!read)
    throw new InputError(`samples: ${file} is WAV encoding ${encoding} with ${bits} bits; save it as 16-bit PCM.`);
  if (channels === 0 || sampleRate === 0)
    throw new InputError(`samples: ${file} has a broken WAV header: ${channels} channels at ${sampleRate} Hz.`);
  const frameBytes = (bits / 8) * channels;
  const frames = Math.floor(data.length / frameBytes);
  if (frames === 0) throw new InputError(`samples: ${file} holds no sound.`);
  const samples = new Float32Array(frames);
  for (let frame = 0; frame < frames; frame++) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) sum += read(data, frame * frameBytes + (channel * bits) / 8);
    samples[frame] = sum / channels;
  }
  return { sampleRate, samples };
}

function decoder(encoding: number, bits: number): ((data: Buffer, at: number) => number) | undefined {
  if (encoding === FLOAT && bits === 32) return (data, at) => data.readFloatLE(at);
  if (encoding === FLOAT && bits === 64) return (data, at) => data.readDoubleLE(at);
  if (encoding !== PCM) return undefined;
  if (bits === 8) return (data, at) => (data.readUInt8(at) - 128) / 128;
  if (bits === 16) return (data, at) => data.readInt16LE(at) / 2 ** 15;
  if (bits === 24) return (data, at) => data.readIntLE(at, 3) / 2 ** 23;
  if (bits === 32) return (data, at) => data.readInt32LE(at) / 2 ** 31;
  return undefined;
}

/** Zero crossings of the resampling kernel on each side. */
const KERNEL_RADIUS = 16;

/**
 * Band-limited resampling: a sinc under a Hann window, cut off at the lower of the two Nyquist frequencies
 * (J. O. Smith, "Digital Audio Resampling"). Gain 1 at DC.
 */
export function resample({ sampleRate, samples }: Sound, target: number): Float32Array {
  if (sampleRate === target) return samples;
  const ratio = target / sampleRate;
  const cutoff = Math.min(1, ratio);
  const radius = KERNEL_RADIUS / cutoff;
  const result = new Float32Array(Math.max(1, Math.round(samples.length * ratio)));
  for (let i = 0; i < result.length; i++) {
    const center = i / ratio;
    let sum = 0;
    let weights = 0;
    const end = Math.min(samples.length - 1, Math.floor(center + radius));
    for (let k = Math.max(0, Math.ceil(center - radius)); k <= end; k++) {
      const distance = k - center;
      const weight = sinc(distance * cutoff) * (0.5 + 0.5 * Math.cos((Math.PI * distance) / radius));
      sum += weight * samples[k]!;
      weights += weight;
    }
    result[i] = sum / weights;
  }
  return result;
}

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/**
 * Consecutive windows of the sound as feeds. The sound goes to the one float input that is no state: the one named like
 * audio, else the one with the longest or only open last dimension; other float inputs get zeros, sampling rates the rate.
 * A last window that is not full is padded with zeros only when it is the first. Open lengths take the whole sound.
 */
export function wavFeeds(
  sound: Sound,
  {
    file,
    inputs,
    shapes,
    sampleRate,
  }: { file: string; inputs: readonly ValueInfo[]; shapes: Record<string, Shape>; sampleRate: number },
): Stack {
  const target = audioInput(inputs, shapes);
  if (!target || !isNumeric(target.dtype)) {
    throw new InputError(
      `samples: ${file} is sound, but no input takes it (${inputs.map(signatureOf).join(', ')}); give arrays (.npz) instead.`,
    );
  }
  const dtype = target.dtype;
  // A header may claim any rate: one sound a second would grow sixteen thousandfold.
  const bytes = 4 * sound.samples.length * Math.max(1, sampleRate / sound.sampleRate);
  if (bytes > MAX_SAMPLE_BYTES) {
    throw new InputError(
      `samples: ${file} has ${sound.samples.length} samples at ${sound.sampleRate} Hz, ${Math.round(sound.samples.length / sound.sampleRate)} s of sound, which is more than is read at once; cut it.`,
    );
  }
  const samples = resample(sound, sampleRate);
  const shape = shapes[target.name]!;
  const length = shape.at(-1) ?? samples.length;
  const dims = [...shape.slice(0, -1).map((size) => size ?? 1), length];
  const rows = elementCount(dims) / length;
  const windows = Math.max(1, Math.floor(samples.length / length));
  const read = async (index: number): Promise<Feeds> => {
    const rest = inputs.filter(({ name }) => name !== target.name);
    const feeds = restFeeds(rest, shapes, sampleRate);
    const values = new Float32Array(rows * length);
    // Every row of a batch hears the same.
    for (let row = 0; row < rows; row++)
      values.set(samples.subarray(index * length, (index + 1) * length), row * length);
    feeds[target.name] = { dtype, dims, data: encode(dtype, values) };
    return feeds;
  };
  return { length: windows, read };
}

function audioInput(inputs: readonly ValueInfo[], shapes: Record<string, Shape>): ValueInfo | undefined {
  const floats = inputs.filter(({ dtype, dims }) => isFloating(dtype) && dims.length >= 1 && dims.length <= 3);
  const named = floats.find(({ name }) => /audio|wave|pcm|speech|sound|signal/i.test(name));
  const lengthOf = ({ name }: ValueInfo) => shapes[name]!.at(-1) ?? Number.POSITIVE_INFINITY;
  return named ?? floats.toSorted((a, b) => lengthOf(b) - lengthOf(a))[0];
}

/** State starts at zero; integers as in generated samples. */
function restFeeds(inputs: readonly ValueInfo[], shapes: Record<string, Shape>, sampleRate: number): Feeds {
  const feeds = generateFeeds({ inputs, shapes, ranges: {}, inferred: {}, states: new Set(), seed: 0, sampleRate }, 0);
  for (const tensor of Object.values(feeds)) if (isFloating(tensor.dtype)) tensor.data.fill(0);
  return feeds;
}
