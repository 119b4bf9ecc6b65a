// Silero VAD hears speech: sound → windows of 512 samples with the state carried from one to the next.
import { readFileSync } from 'node:fs';

const WINDOW = 512;
const CONTEXT = 64;
const RATE = 16_000;

/**
 * Runs the model over a recording. `run(feeds)` answers one window; feeds are `{ input, state, sr }`, each
 * `{ data, dims }`. Returns the probability of speech in each window and the feeds that the model was given.
 */
export async function listen(file, run) {
  const sound = readWav(file);
  const probabilities = [];
  const windows = [];
  let state = new Float32Array(2 * 128);
  for (let at = 0; at + WINDOW <= sound.length; at += WINDOW) {
    const input = new Float32Array(CONTEXT + WINDOW);
    input.set(sound.subarray(Math.max(0, at - CONTEXT), at + WINDOW), at === 0 ? CONTEXT : 0);
    const feeds = {
      input: { data: input, dims: [1, input.length] },
      state: { data: state, dims: [2, 1, 128] },
      sr: { data: BigInt64Array.of(BigInt(RATE)), dims: [] },
    };
    const { output, stateN } = await run(feeds);
    windows.push(feeds);
    probabilities.push(output.data[0]);
    state = Float32Array.from(stateN.data);
  }
  return { probabilities, windows };
}

/** Samples for compare: every `step`-th window, with the state the model had then, as JSON. */
export function windowSamples(windows, step) {
  const plain = ({ data, dims }) => ({ dims, data: Array.from(data, Number) });
  const chosen = windows.filter((_, index) => index % step === 0);
  return JSON.stringify(
    chosen.map(({ input, state, sr }) => ({ input: plain(input), state: plain(state), sr: plain(sr) })),
  );
}

/** A picture of probabilities over time, one character per window or two. */
export function sketch(probabilities, width = 64) {
  const bars = ' ▁▂▃▄▅▆▇█';
  const step = Math.ceil(probabilities.length / width);
  let text = '';
  for (let at = 0; at < probabilities.length; at += step) {
    text += bars[Math.round(Math.max(...probabilities.slice(at, at + step)) * (bars.length - 1))];
  }
  return text;
}

/** Seconds in which speech is likelier than not. */
export function speechSeconds(probabilities) {
  return (probabilities.filter((probability) => probability > 0.5).length * WINDOW) / RATE;
}

/** 16-bit mono at 16 kHz with a plain header, as `speech.wav` is, −1 to 1. */
export function readWav(file) {
  const bytes = readFileSync(file);
  if (bytes.readUInt16LE(22) !== 1 || bytes.readUInt32LE(24) !== RATE || bytes.readUInt16LE(34) !== 16) {
    throw new Error(`${file} is not 16-bit mono at ${RATE} Hz`);
  }
  const length = Math.floor((bytes.length - 44) / 2);
  return Float32Array.from({ length }, (_, index) => bytes.readInt16LE(44 + 2 * index) / 32768);
}
