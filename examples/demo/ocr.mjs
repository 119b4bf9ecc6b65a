// PP-OCRv4 reads a line of text: pictures → what the model eats, and its answer → text.
import { readFileSync } from 'node:fs';
import { inflateSync } from 'node:zlib';
import { npy } from './npy.mjs';

const HEIGHT = 48;

/** The model's input: [1, 3, 48, width], white 1 and black −1. */
export function lineTensor(file) {
  const { width, height, pixels } = readGrayPng(file);
  if (height !== HEIGHT) throw new Error(`${file} is ${height} pixels high; the model reads ${HEIGHT}`);
  const plane = Float32Array.from(pixels, (value) => (value / 255 - 0.5) / 0.5);
  const data = new Float32Array(3 * plane.length);
  for (let channel = 0; channel < 3; channel++) data.set(plane, channel * plane.length);
  return { data, dims: [1, 3, HEIGHT, width] };
}

export function lineSample(file) {
  const { data, dims } = lineTensor(file);
  return npy(data, dims);
}

/** Greedy CTC decoding of [1, steps, classes]: the best class of each step, repeats and blanks (class 0) dropped. */
export function readText({ data, dims }, keysFile) {
  const keys = readFileSync(keysFile, 'utf8').split(/\r?\n/);
  const [, steps, classes] = dims;
  const symbol = (index) => (index === classes - 1 ? ' ' : keys[index - 1]);
  let text = '';
  let previous = 0;
  for (let step = 0; step < steps; step++) {
    const scores = data.subarray(step * classes, (step + 1) * classes);
    const best = scores.reduce((winner, score, index) => (score > scores[winner] ? index : winner), 0);
    if (best !== 0 && best !== previous) text += symbol(best);
    previous = best;
  }
  return text.trim();
}

/** An 8-bit grey PNG whose rows are unfiltered, as those of this folder are. */
function readGrayPng(file) {
  const bytes = readFileSync(file);
  const parts = [];
  let width = 0;
  let height = 0;
  for (let at = 8; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    const kind = bytes.toString('latin1', at + 4, at + 8);
    const body = bytes.subarray(at + 8, at + 8 + length);
    if (kind === 'IHDR') {
      width = body.readUInt32BE(0);
      height = body.readUInt32BE(4);
      if (body[8] !== 8 || body[9] !== 0 || body[12] !== 0) throw new Error(`${file} is no plain 8-bit grey PNG`);
    }
    if (kind === 'IDAT') parts.push(body);
    at += 12 + length;
  }
  const rows = inflateSync(Buffer.concat(parts));
  const pixels = new Uint8Array(width * height);
  for (let y = 0; y < height; y++) {
    const start = y * (width + 1);
    if (rows[start] !== 0) throw new Error(`${file} has filtered rows`);
    pixels.set(rows.subarray(start + 1, start + 1 + width), y * width);
  }
  return { width, height, pixels };
}
