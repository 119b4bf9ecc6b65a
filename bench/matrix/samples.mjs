import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { readWav } from '../../examples/demo/speech.mjs';
import { wordPieces } from './minilm.mjs';
import { MODELS, PHOTOS, SPEECH_CHAIN } from './models.mjs';
import { writeNpz } from './npz.mjs';
import { packageFolder } from './packages.mjs';
import { readPng } from './png.mjs';

/** Of each model: half calibrate, a quarter confirms what auto chose, on the last quarter everything is measured. */
export const COUNT = 24;
const RATE = 16_000;
/** A printed page and photographs of scikit-image. */
const SCAN = 'page.png';
const SCENES = [
  'astronaut.png',
  'coffee.png',
  'chelsea.png',
  'camera.png',
  'motorcycle_left.png',
  'coins.png',
  'ihc.png',
];

/**
 * Writes `COUNT` inputs like those that a model meets in production as one `.npz`: pieces of a printed page and of photographs,
 * a voice, files. Seeded: the same ones on every machine.
 */
export async function writeSamples(file, { samples, model }, tools) {
  const arrays = await MAKERS[samples.kind](samples, { ...tools, model, random: tools.seededRandom(1) });
  writeNpz(file, arrays);
}

const MAKERS = { page, line, photo, bytes, voice, stream, pcm, mel, embeddings, tokens, sentences };

/**
 * Pieces of a printed page, and photographs with such a piece in them, with 0 to 1 less mean and deviation of ImageNet, as
 * PP-OCR's detection takes them. There is text in each: where there is none, all that a detector says is noise.
 */
async function page({ size }, tools) {
  const { random } = tools;
  const folder = await packageFolder(PHOTOS, tools);
  const scan = readPng(path.join(folder, SCAN));
  const scenes = SCENES.map((name) => readPng(path.join(folder, name)));
  return imagesOf('x', size, random, (index) => {
    if (index % 2 === 0) return { image: scan, box: piece(scan, 0.6 + 0.4 * random(), random) };
    const scene = scenes[(index >> 1) % scenes.length];
    const image = { ...scene, rgb: scene.rgb.slice() };
    const text = piece(scan, 0.5 + 0.3 * random(), random);
    const at = piece(scene, Math.min(1, text.width / Math.min(scene.width, scene.height)), random);
    for (let y = 0; y < at.height; y++) {
      const from = 3 * ((text.top + y) * scan.width + text.left);
      image.rgb.set(scan.rgb.subarray(from, from + 3 * at.width), 3 * ((at.top + y) * scene.width + at.left));
    }
    const side = Math.min(scene.width, scene.height, 2 * at.width);
    const near = (start, all) => Math.max(0, Math.min(all - side, start - Math.floor((side - at.width) * random())));
    const box = { left: near(at.left, scene.width), top: near(at.top, scene.height), width: side, height: side };
    return { image, box };
  });
}

async function photo({ size }, tools) {
  const folder = await packageFolder(PHOTOS, tools);
  // People make up half of them.
  const images = SCENES.flatMap((name) => [SCENES[0], name]).map((name) => readPng(path.join(folder, name)));
  return imagesOf(
    'images',
    size,
    tools.random,
    (index) => {
      const image = images[index % images.length];
      return { image, box: piece(image, 0.5 + 0.5 * tools.random(), tools.random) };
    },
    'unit',
  );
}

/** Lines of scanned text, for a reader; every other one upside down if `turned`. */
async function line({ size, turned, normal = 'half' }, tools) {
  const folder = await packageFolder(PHOTOS, tools);
  const image = readPng(path.join(folder, SCAN));
  const lines = linesOf(image);
  const [height, width] = size;
  return imagesOf(
    'x',
    size,
    tools.random,
    (index) => {
      const [top, bottom] = lines[index % lines.length];
      const wide = Math.min(image.width, ((bottom - top) * width) / height);
      const left = Math.floor(tools.random() * (image.width - wide));
      return { image, box: { left, top, width: wide, height: bottom - top }, turn: turned && index % 2 === 1 };
    },
    normal,
  );
}

/** File heads and tails as Magika reads them: 1024 values each, 256 where there is nothing. */
function bytes(_, { root, random }) {
  const files = [];
  const collect = (folder) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      if (entry.name === 'node_modules' || entry.name.startsWith('.git')) continue;
      const file = path.join(folder, entry.name);
      if (entry.isDirectory()) collect(file);
      else if (entry.isFile()) files.push(file);
    }
  };
  for (const folder of ['actions', 'bench', 'docs', 'examples', 'scripts', 'src']) collect(path.join(root, folder));
  files.sort();
  const data = new Int32Array(COUNT * 2048).fill(256);
  for (let i = 0; i < COUNT; i++) {
    const content = readFileSync(files[Math.floor(random() * files.length)]);
    data.set(content.subarray(0, 1024), i * 2048);
    const tail = content.subarray(Math.max(0, content.length - 1024));
    data.set(tail, (i + 1) * 2048 - tail.length);
  }
  return { bytes: { dtype: 'int32', dims: [COUNT, 1, 2048], data } };
}

function voice({ length }, { random, root }) {
  const audio = speak(COUNT * length, random, root);
  return {
    audio: { dtype: 'float32', dims: [COUNT, 1, length], data: audio },
    fmin: { dtype: 'float32', dims: [], data: Float32Array.of(46.875) },
    fmax: { dtype: 'float32', dims: [], data: Float32Array.of(2093.75) },
  };
}

/** Windows of a voice, each with the state that the model gave back at the one before. */
async function stream({ length }, { ort, model, random, root }) {
  const session = await ort.InferenceSession.create(model);
  const names = session.inputNames;
  const states = names.filter((name) => ['state', 'h', 'c'].includes(name));
  const width = states.includes('h') ? 64 : 128;
  // Every third window is kept, so that the samples hear more than one syllable.
  const step = 3;
  const audio = speak(COUNT * step * length, random, root);
  const kept = Object.fromEntries(['input', ...states].map((name) => [name, []]));
  let state = Object.fromEntries(states.map((name) => [name, new Float32Array(2 * width)]));
  for (let i = 0; i < COUNT * step; i++) {
    const window = audio.subarray(i * length, (i + 1) * length);
    const feeds = { input: new ort.Tensor('float32', window.slice(), [1, length]) };
    for (const name of states) feeds[name] = new ort.Tensor('float32', state[name], [2, 1, width]);
    if (names.includes('sr')) feeds.sr = new ort.Tensor('int64', BigInt64Array.of(BigInt(RATE)), []);
    if (i % step === 0) for (const name of Object.keys(kept)) kept[name].push(feeds[name].data);
    const answers = await session.run(feeds);
    state = Object.fromEntries(states.map((name) => [name, Float32Array.from(answers[nextOf(name)].data)]));
  }
  await session.release();
  return {
    input: stack(kept.input, [1, length]),
    ...Object.fromEntries(states.map((name) => [name, stack(kept[name], [2, 1, width])])),
    ...(names.includes('sr') ? { sr: { dtype: 'int64', dims: [], data: BigInt64Array.of(BigInt(RATE)) } } : {}),
  };
}

const nextOf = (state) => (state === 'state' ? 'stateN' : `${state}n`);

/** A voice in the range of 16-bit integers. */
function pcm({ length }, { random, root }) {
  const audio = speak(COUNT * length, random, root).map((value) => 32_767 * value);
  return { input: { dtype: 'float32', dims: [COUNT, 1, length], data: audio } };
}

/** Spectrograms of a voice, 76 frames each, as openWakeWord's embedding takes them. */
async function mel(_, tools) {
  const frames = await spectrogram(COUNT * 76, tools);
  return { input_1: { dtype: 'float32', dims: [COUNT, 1, 76, 32, 1], data: frames.slice(0, COUNT * 76 * 32) } };
}

/** Embeddings of a voice, `length` of them 80 ms apart. */
async function embeddings({ length }, tools) {
  const { ort, model } = tools;
  const apart = 4;
  const count = COUNT * apart + length;
  const frames = await spectrogram(76 + 8 * count, tools);
  const windows = new Float32Array(count * 76 * 32);
  for (let i = 0; i < count; i++) windows.set(frames.subarray(i * 8 * 32, (i * 8 + 76) * 32), i * 76 * 32);
  const folder = await packageFolder(SPEECH_CHAIN.from, tools);
  const session = await ort.InferenceSession.create(path.join(folder, SPEECH_CHAIN.embedding));
  const answers = await session.run({ input_1: new ort.Tensor('float32', windows, [count, 76, 32, 1]) });
  const all = Object.values(answers)[0].data;
  await session.release();
  const own = await ort.InferenceSession.create(model);
  const [name] = own.inputNames;
  await own.release();
  const rows = Array.from({ length: COUNT }, (__, i) => all.slice(i * apart * 96, (i * apart + length) * 96));
  return { [name]: stack(rows, [1, length, 96]) };
}

async function spectrogram(frames, tools) {
  const { ort, random, root } = tools;
  const folder = await packageFolder(SPEECH_CHAIN.from, tools);
  const session = await ort.InferenceSession.create(path.join(folder, SPEECH_CHAIN.mel));
  const audio = speak(160 * frames + 640, random, root).map((value) => 32_767 * value);
  const answers = await session.run({ input: new ort.Tensor('float32', audio, [1, audio.length]) });
  await session.release();
  return Float32Array.from(answers.output.data, (value) => value / 10 + 2);
}

/** Paragraphs of these documents, as MiniLM reads them. */
async function sentences(_, tools) {
  const length = 64;
  const folder = await packageFolder(MODELS.find(({ name }) => name === 'minilm').from, tools);
  const words = readFileSync(path.join(folder, 'vocab.txt'), 'utf8').split('\n');
  const vocabulary = new Map(words.map((word, id) => [word, id]));
  const documents = path.join(tools.root, 'docs');
  const pages = readdirSync(documents).filter((name) => name.endsWith('.md') && !name.endsWith('.es.md'));
  const paragraphs = pages
    .flatMap((page) => readFileSync(path.join(documents, page), 'utf8').split(/\n\n+/))
    .filter((text) => /^[A-Z]/.test(text))
    .map((text) => wordPieces(vocabulary, text))
    .filter((ids) => ids.length >= length);
  const chosen = Array.from({ length: COUNT }, (_, i) => paragraphs[Math.floor((i * paragraphs.length) / COUNT)]);
  const data = BigInt64Array.from(
    chosen.flatMap((ids) => [...ids.slice(0, length - 1), ids.at(-1)]),
    BigInt,
  );
  return { input_ids: { dtype: 'int64', dims: [COUNT, 1, length], data } };
}

function tokens(_, { random }) {
  const data = BigInt64Array.from({ length: COUNT * 16 * 128 }, () => BigInt(Math.floor(1024 * random())));
  return { audio_codes: { dtype: 'int64', dims: [COUNT, 1, 16, 128], data } };
}

const stack = (rows, dims) => {
  const data = new Float32Array(rows.reduce((sum, { length }) => sum + length, 0));
  rows.reduce((at, row) => {
    data.set(row, at);
    return at + row.length;
  }, 0);
  return { dtype: 'float32', dims: [rows.length, ...dims], data };
};

/** [mean, deviation] of each color of 0 to 1. */
const NORMALS = {
  imagenet: [
    [0.485, 0.456, 0.406],
    [0.229, 0.224, 0.225],
  ],
  half: [
    [0.5, 0.5, 0.5],
    [0.5, 0.5, 0.5],
  ],
  unit: [
    [0, 0, 0],
    [1, 1, 1],
  ],
};

/** Pieces of images at some brightness and contrast, [COUNT, 1, 3, height, width]. */
function imagesOf(name, [height, width], random, pick, normal = 'imagenet') {
  const data = new Float32Array(COUNT * 3 * height * width);
  const [means, deviations] = NORMALS[normal];
  for (let i = 0; i < COUNT; i++) {
    const { image, box, turn } = pick(i);
    const [contrast, brightness] = [0.7 + 0.5 * random(), 0.2 * random() - 0.1];
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const [down, across] = turn ? [height - 1 - y, width - 1 - x] : [y, x];
        const at = [
          box.top + ((down + 0.5) * box.height) / height - 0.5,
          box.left + ((across + 0.5) * box.width) / width - 0.5,
        ];
        for (let c = 0; c < 3; c++) {
          const value = (sampleAt(image, at, c) / 255 - 0.5) * contrast + 0.5 + brightness;
          const held = Math.min(1, Math.max(0, value));
          data[((i * 3 + c) * height + y) * width + x] = (held - means[c]) / deviations[c];
        }
      }
    }
  }
  return { [name]: { dtype: 'float32', dims: [COUNT, 1, 3, height, width], data } };
}

/** Between four pixels. */
function sampleAt({ width, height, rgb }, [y, x], channel) {
  const [top, left] = [Math.floor(y), Math.floor(x)];
  const [down, across] = [y - top, x - left];
  const get = (row, column) => {
    const at = Math.min(height - 1, Math.max(0, row)) * width + Math.min(width - 1, Math.max(0, column));
    return rgb[3 * at + channel];
  };
  const above = get(top, left) * (1 - across) + get(top, left + 1) * across;
  return above * (1 - down) + (get(top + 1, left) * (1 - across) + get(top + 1, left + 1) * across) * down;
}

/** A square part of an image, somewhere in it. */
function piece({ width, height }, share, random) {
  const side = Math.floor(Math.min(width, height) * share);
  return {
    left: Math.floor(random() * (width - side)),
    top: Math.floor(random() * (height - side)),
    width: side,
    height: side,
  };
}

/** Rows with dark pixels between rows without, as [top, bottom]. */
function linesOf({ width, height, rgb }) {
  const contrast = Array.from({ length: height }, (_, y) => {
    let change = 0;
    for (let x = 1; x < width; x++) change += Math.abs(rgb[3 * (y * width + x)] - rgb[3 * (y * width + x - 1)]);
    return change / width;
  });
  const least = Math.max(...contrast) / 4;
  const lines = [];
  for (let y = 0, top = -1; y <= height; y++) {
    const inside = y < height && contrast[y] >= least;
    if (inside && top < 0) top = y;
    if (inside || top < 0) continue;
    if (y - top >= 6) lines.push([Math.max(0, top - 3), Math.min(height, y + 3)]);
    top = -1;
  }
  return lines;
}

/**
 * A voice at 16 kHz, −1 to 1: passages of the demo's recording, each as loud as it happens to be. Later ones come from
 * later in it, so that what judges was not heard before.
 */
function speak(length, random, root) {
  const said = readWav(path.join(root, 'examples', 'demo', 'speech.wav'));
  const audio = new Float32Array(length);
  for (let at = 0; at < length; ) {
    const passage = Math.min(Math.floor(RATE * (0.5 + 1.5 * random())), length - at, said.length);
    const from = Math.floor((at / length) * (said.length - passage));
    const loudness = 0.3 + random();
    for (let i = 0; i < passage; i++) {
      audio[at++] = Math.max(-1, Math.min(1, loudness * said[from + i] + 0.002 * (random() - 0.5)));
    }
  }
  return audio;
}
