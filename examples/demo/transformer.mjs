// A transformer that tells which of some sentences is meant. No package of a reasonable size ships one, so it is built
// here with seeded weights: untrained, but the same on every machine, and what is alike in letters stays alike in it.
import { closeSync, openSync, writeSync } from 'node:fs';

const VOCABULARY = 4096;
const TOKENS = 64;
const WIDTH = 512;
const HEADS = 8;
const LAYERS = 4;
const FLOAT = 1;
const INT64 = 7;

/** What it is asked about. */
export const sentences = [
  'Turn the kitchen lights off.',
  'What will the weather be in Madrid tomorrow?',
  'Play some quiet music in the living room.',
  'Set an alarm for half past six in the morning.',
  'How long does it take to get to the station?',
  'Add milk and coffee to the shopping list.',
  'Call my sister when I am home again.',
  'Read me what is new in my mailbox.',
];
export const questions = ['Are the lights in the kitchen turned off?', 'Will tomorrow’s weather be good in Madrid?'];

/** The three letters at each place, as numbers of the vocabulary, and zeros up to the length that the model takes. */
export function tokensOf(sentence) {
  const letters = ` ${sentence
    .toLowerCase()
    .replace(/[^\p{L}]+/gu, ' ')
    .trim()} `;
  const tokens = new BigInt64Array(TOKENS);
  for (let at = 0; at + 3 <= letters.length && at < TOKENS; at++) {
    let hash = 0;
    for (const letter of letters.slice(at, at + 3)) hash = (Math.imul(hash, 31) + letter.codePointAt(0)) >>> 0;
    tokens[at] = BigInt(1 + (hash % (VOCABULARY - 1)));
  }
  return { data: tokens, dims: [1, TOKENS] };
}

/** Samples for the actions: all that is said. */
export const sentenceSamples = () =>
  JSON.stringify(
    [...sentences, ...questions].map((sentence) => ({
      tokens: { dims: [1, TOKENS], data: Array.from(tokensOf(sentence).data, Number) },
    })),
  );

/** The sentence whose embedding is most alike, with the cosine. */
export function nearest(embedding, known) {
  const cosines = known.map((each) => cosine(each, embedding));
  const best = cosines.indexOf(Math.max(...cosines));
  return `${sentences[best]} (${cosines[best].toFixed(3)})`;
}

/** Writes the model, `tokens` int64 [batch, 64] → `embedding` float32 [batch, 512], in one file of about 59 MB. */
export function writeTransformer(file) {
  const random = uniform(20_260_101);
  const nodes = [];
  const weights = [];
  const weight = (name, dims, deviation) => {
    weights.push({
      name,
      dims,
      dataType: FLOAT,
      data: new Float32Array(product(dims)).map(() => deviation * random()),
    });
    return name;
  };
  const filled = (name, dims, value) => {
    weights.push({ name, dims, dataType: FLOAT, data: new Float32Array(product(dims)).fill(value) });
    return name;
  };
  const shape = (name, ...sizes) => {
    weights.push({ name, dims: [sizes.length], dataType: INT64, data: BigInt64Array.from(sizes, BigInt) });
    return name;
  };
  const add = (name, opType, inputs, attributes = {}) => {
    nodes.push({ name, opType, inputs, outputs: [`${name}_output`], attributes });
    return `${name}_output`;
  };
  const linear = (name, input, from, to, scale = 1) => {
    const multiplied = add(`${name}/MatMul`, 'MatMul', [
      input,
      weight(`${name}.weight`, [from, to], scale / Math.sqrt(from)),
    ]);
    return add(`${name}/Add`, 'Add', [multiplied, filled(`${name}.bias`, [to], 0)]);
  };
  const norm = (name, input) =>
    add(name, 'LayerNormalization', [input, filled(`${name}.scale`, [WIDTH], 1), filled(`${name}.bias`, [WIDTH], 0)], {
      axis: -1,
    });
  const split = shape('split_heads', 0, 0, HEADS, WIDTH / HEADS);
  const join = shape('join_heads', 0, 0, WIDTH);
  const scale = filled('scale', [], 1 / Math.sqrt(WIDTH / HEADS));
  // Each block adds little, as trained ones do: the deeper the model, the less.
  const residual = 1 / Math.sqrt(2 * LAYERS);

  let hidden = add('embed', 'Gather', [weight('embed.weight', [VOCABULARY, WIDTH], 1), 'tokens']);
  for (let layer = 0; layer < LAYERS; layer++) {
    const at = `layers.${layer}`;
    const normed = norm(`${at}.norm1`, hidden);
    const [query, key, value] = ['q', 'k', 'v'].map((which) => {
      const heads = add(`${at}.${which}/Reshape`, 'Reshape', [linear(`${at}.${which}`, normed, WIDTH, WIDTH), split]);
      return add(`${at}.${which}/Transpose`, 'Transpose', [heads], {
        perm: which === 'k' ? [0, 2, 3, 1] : [0, 2, 1, 3],
      });
    });
    const scores = add(`${at}.scores`, 'Mul', [add(`${at}.qk`, 'MatMul', [query, key]), scale]);
    const mixed = add(`${at}.mixed`, 'MatMul', [add(`${at}.softmax`, 'Softmax', [scores], { axis: -1 }), value]);
    const turned = add(`${at}.turned`, 'Transpose', [mixed], { perm: [0, 2, 1, 3] });
    const attended = linear(`${at}.out`, add(`${at}.joined`, 'Reshape', [turned, join]), WIDTH, WIDTH, residual);
    hidden = add(`${at}.residual1`, 'Add', [hidden, attended]);
    const wide = add(`${at}.relu`, 'Relu', [linear(`${at}.up`, norm(`${at}.norm2`, hidden), WIDTH, 4 * WIDTH)]);
    hidden = add(`${at}.residual2`, 'Add', [hidden, linear(`${at}.down`, wide, 4 * WIDTH, WIDTH, residual)]);
  }
  nodes.push({
    name: 'pool',
    opType: 'ReduceMean',
    inputs: [norm('norm', hidden)],
    outputs: ['embedding'],
    attributes: { axes: [1], keepdims: 0 },
  });
  const output = openSync(file, 'w');
  try {
    for (const part of modelParts(nodes, weights)) writeSync(output, part);
  } finally {
    closeSync(output);
  }
}

/** ModelProto of onnx.proto3 in parts, so that the weights need no second copy. */
function* modelParts(nodes, weights) {
  const tensors = weights.map(({ name, dims, dataType, data }) => {
    const bytes = Buffer.from(data.buffer);
    const head = Buffer.concat([
      ...dims.map((size) => field(1, size)),
      field(2, dataType),
      field(8, name),
      tag(9, bytes.length),
    ]);
    return { head, bytes, size: head.length + bytes.length };
  });
  const value = (name, type, sizes) => {
    const shape = sizes.map((size) => field(1, typeof size === 'number' ? field(1, size) : field(2, size)));
    return Buffer.concat([
      field(1, name),
      field(2, field(1, Buffer.concat([field(1, type), field(2, Buffer.concat(shape))]))),
    ]);
  };
  const before = Buffer.concat([...nodes.map((node) => field(1, nodeBytes(node))), field(2, 'sentences')]);
  const after = Buffer.concat([
    field(11, value('tokens', INT64, ['batch', TOKENS])),
    field(12, value('embedding', FLOAT, ['batch', WIDTH])),
  ]);
  const initializers = tensors.map(({ head, bytes, size }) => ({ parts: [tag(5, size), head, bytes] }));
  const length = initializers.reduce((sum, { parts }) => sum + parts.reduce((all, part) => all + part.length, 0), 0);
  yield Buffer.concat([field(1, 8), field(2, 'demo'), tag(7, before.length + length + after.length), before]);
  for (const { parts } of initializers) yield* parts;
  yield Buffer.concat([after, field(8, Buffer.concat([field(1, ''), field(2, 17)]))]);
}

function nodeBytes({ name, opType, inputs, outputs, attributes }) {
  const attribute = ([key, value]) => {
    const content = Array.isArray(value)
      ? [...value.map((each) => field(8, each)), field(20, 7)]
      : [field(3, value), field(20, 2)];
    return field(5, Buffer.concat([field(1, key), ...content]));
  };
  return Buffer.concat([
    ...inputs.map((input) => field(1, input)),
    ...outputs.map((output) => field(2, output)),
    field(3, name),
    field(4, opType),
    ...Object.entries(attributes).map(attribute),
  ]);
}

/** A protobuf field: a number as varint, text and bytes with their length. */
function field(number, value) {
  if (typeof value === 'number') return Buffer.concat([varint(number << 3), varint(value)]);
  const bytes = Buffer.from(value);
  return Buffer.concat([tag(number, bytes.length), bytes]);
}

const tag = (number, length) => Buffer.concat([varint((number << 3) | 2), varint(length)]);

function varint(value) {
  const bytes = [];
  for (let rest = BigInt.asUintN(64, BigInt(value)); ; rest >>= 7n) {
    if (rest < 128n) return Buffer.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 127n) | 128);
  }
}

/** Uniform numbers of mean 0 and deviation 1, from a linear congruential generator. */
function uniform(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31 - 1) * Math.sqrt(3);
  };
}

function cosine(a, b) {
  let [dot, left, right] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i] * b[i];
    left += a[i] * a[i];
    right += b[i] * b[i];
  }
  return dot / Math.sqrt(left * right);
}

const product = (dims) => dims.reduce((all, size) => all * size, 1);
