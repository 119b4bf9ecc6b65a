import { DataType, type ModelProto } from '../../src/model/index.ts';
import { floats, graph, int64s, model, node, saveExternalModel, saveModel, value } from '../support/onnx-builder.ts';
import { seeded } from '../support/random.ts';

/** A model as people bring it: nothing is said of its inputs but what its file says. */
export interface Brought {
  what: string;
  build(): ModelProto;
  /** Writes it with external data. */
  external?: true;
  /** Sizes that must be found, by the name that `dims` takes. */
  sizes: Record<string, number>;
  /** What the receipt must say of the inputs. */
  says?: RegExp;
}

const random = seeded(11);
const weight = (name: string, dims: number[], scale = 0.2) =>
  floats(
    name,
    dims,
    random.floats(
      dims.reduce((a, b) => a * b, 1),
      scale,
    ),
  );
/** The last axis of `from`, `width` wide, through a weight to `y` with 8 values each. */
const head = (from: string, width: number) => ({
  node: node('MatMul', [from, 'head'], ['y'], {}, { name: 'head' }),
  weight: weight('head', [width, 8]),
});
const ints = DataType.INT64;

export const brought: readonly Brought[] = [
  {
    what: 'a transformer whose table of positions says how long',
    sizes: { batch: 1, seq: 24 },
    says: /input_ids \[1,24\] of 0 to 49, the rows of its table; attention_mask \[1,24\] of ones; token_type_ids \[1,24\] of zeros/,
    build: () =>
      model(
        graph({
          inputs: ['input_ids', 'attention_mask', 'token_type_ids'].map((name) => value(name, ['batch', 'seq'], ints)),
          outputs: [value('y', ['batch', 'seq', 8])],
          initializers: [
            weight('words', [50, 16]),
            weight('types', [2, 16]),
            weight('positions', [1, 24, 16]),
            int64s('last', [1], [2]),
            head('h', 16).weight,
          ],
          nodes: [
            node('Gather', ['words', 'input_ids'], ['word']),
            node('Gather', ['types', 'token_type_ids'], ['type']),
            node('Add', ['word', 'type'], ['sum']),
            node('Add', ['sum', 'positions'], ['embedded']),
            node('Cast', ['attention_mask'], ['mask'], { to: DataType.FLOAT }),
            node('Unsqueeze', ['mask', 'last'], ['wide']),
            node('Mul', ['embedded', 'wide'], ['h']),
            head('h', 16).node,
          ],
        }),
      ),
  },
  {
    what: 'a text encoder that takes 77 tokens and does not say so',
    sizes: { batch: 1, sequence: 77 },
    build: () =>
      model(
        graph({
          inputs: [value('tokens', ['batch', 'sequence'], DataType.INT32)],
          outputs: [value('y', [1, 8])],
          initializers: [weight('words', [30, 4]), int64s('flat', [2], [1, 308]), head('h', 308).weight],
          nodes: [
            node('Gather', ['words', 'tokens'], ['word']),
            node('Reshape', ['word', 'flat'], ['h']),
            head('h', 308).node,
          ],
        }),
      ),
  },
  {
    what: 'a detector with its image size and stride in the metadata',
    sizes: { batch: 1, height: 96, width: 160 },
    build: () => model(detector(5), { metadata: { imgsz: '[96, 160]', stride: '32' } }),
  },
  {
    what: 'a text detector whose sides must be multiples of 128, as only its strides tell',
    sizes: { 'x.0': 1, 'x.2': 384, 'x.3': 384 },
    build: () => model(detector(7, ['', 3, '', ''])),
  },
  {
    what: 'a classifier of photographs in bytes, channels last',
    sizes: { N: 1, 'p.1': 320, 'p.2': 320 },
    says: /p \[1,320,320,3\] of 0 to 255/,
    build: () =>
      model(
        graph({
          inputs: [value('p', ['N', null, null, 3], DataType.UINT8)],
          outputs: [value('y', ['N', 8])],
          initializers: [weight('kernel', [4, 3, 3, 3]), head('h', 4).weight],
          nodes: [
            node('Cast', ['p'], ['f'], { to: DataType.FLOAT }),
            node('Transpose', ['f'], ['t'], { perm: { ints: [0, 3, 1, 2] } }),
            node('Conv', ['t', 'kernel'], ['c'], { strides: { ints: [2, 2] } }),
            node('GlobalAveragePool', ['c'], ['g']),
            node('Flatten', ['g'], ['h']),
            head('h', 4).node,
          ],
        }),
      ),
  },
  {
    what: 'a voice model that keeps a state, takes windows of 512 and nothing but 16 kHz',
    sizes: { batch: 1, samples: 512 },
    says: /state \[2,1,16\] of zeros at first, then what the model gave back; sr \[\] of 16000 Hz/,
    build: () =>
      model(
        graph({
          inputs: [value('input', ['batch', 'samples']), value('state', [2, 'batch', 16]), value('sr', [], ints)],
          outputs: [value('output', [1, 8]), value('stateN', [2, 1, 16])],
          initializers: [
            int64s('rate', [], [16_000]),
            int64s('one', [], [1]),
            floats('gains', [1], [1]),
            int64s('steps', [3], [32, 1, 16]),
            weight('w', [1, 64, 16]),
            weight('r', [1, 64, 16]),
            floats('b', [1, 128], new Float32Array(128)),
            int64s('halves', [2], [1, 1]),
            int64s('plain', [2], [1, 16]),
            weight('head', [16, 8]),
          ],
          nodes: [
            // Any other rate is a row that the table does not have.
            node('Div', ['sr', 'rate'], ['times']),
            node('Sub', ['times', 'one'], ['row']),
            node('Gather', ['gains', 'row'], ['gain']),
            node('Mul', ['input', 'gain'], ['loud']),
            node('Reshape', ['loud', 'steps'], ['x']),
            node('Split', ['state', 'halves'], ['h', 'c'], { axis: 0 }),
            node('LSTM', ['x', 'w', 'r', 'b', '', 'h', 'c'], ['', 'hn', 'cn'], { hidden_size: 16 }, { name: 'lstm' }),
            node('Concat', ['hn', 'cn'], ['stateN'], { axis: 0 }),
            node('Reshape', ['hn', 'plain'], ['last']),
            node('MatMul', ['last', 'head'], ['output'], {}, { name: 'head' }),
          ],
        }),
      ),
  },
  {
    what: 'a recurrent model whose state is as wide as its weights say',
    sizes: { time: 128, b: 1, 'x.2': 12, 'h0.2': 6 },
    build: () =>
      model(
        graph({
          inputs: [value('x', ['time', 'b', null]), value('h0', [1, 'b', null])],
          outputs: [value('y', [1, 'b', 8]), value('hn', [1, 'b', 6])],
          initializers: [weight('w', [1, 18, 12]), weight('r', [1, 18, 6]), head('hn', 6).weight],
          nodes: [
            node('GRU', ['x', 'w', 'r', '', '', 'h0'], ['', 'hn'], { hidden_size: 6 }, { name: 'gru' }),
            head('hn', 6).node,
          ],
        }),
      ),
  },
  {
    what: 'a speech model that wants the length of each recording',
    sizes: { batch: 1, frames: 128 },
    says: /x_lengths \[1\] of 128, the length of x/,
    build: () =>
      model(
        graph({
          inputs: [value('x', ['batch', 'frames', 6]), value('x_lengths', ['batch'], ints)],
          outputs: [value('y', ['batch', 1, 8])],
          initializers: [int64s('one', [1], [1]), head('h', 6).weight],
          nodes: [
            node('Sub', ['x_lengths', 'one'], ['last']),
            // A length beyond the recording is out of bounds here.
            node('Gather', ['x', 'last'], ['h'], { axis: 1 }),
            head('h', 6).node,
          ],
        }),
      ),
  },
  {
    what: 'a pooling model that divides by what its mask lets through',
    sizes: { batch: 1, seq: 128 },
    says: /padding_mask \[1,128\] of ones/,
    build: () =>
      model(
        graph({
          inputs: [value('ids', ['batch', 'seq'], ints), value('padding_mask', ['batch', 'seq'])],
          outputs: [value('y', ['batch', 8])],
          initializers: [
            weight('words', [20, 6]),
            int64s('last', [1], [2]),
            int64s('second', [1], [1]),
            head('h', 6).weight,
          ],
          nodes: [
            node('Gather', ['words', 'ids'], ['word']),
            node('Unsqueeze', ['padding_mask', 'last'], ['wide']),
            node('Mul', ['word', 'wide'], ['kept']),
            node('ReduceSum', ['kept', 'second'], ['sum'], { keepdims: 0 }),
            node('ReduceSum', ['wide', 'second'], ['count'], { keepdims: 0 }),
            node('Log', ['count'], ['log']),
            node('Div', ['sum', 'log'], ['h']),
            head('h', 6).node,
          ],
        }),
      ),
  },
  {
    what: 'a decoder with a cache, whose mask is as long as cache and tokens together',
    sizes: { batch: 1, sequence_length: 128, past_sequence_length: 16, 'attention_mask.1': 144 },
    build: () =>
      model(
        graph({
          inputs: [
            value('input_ids', ['batch', 'sequence_length'], ints),
            value('attention_mask', ['batch', 'past_sequence_length + sequence_length'], ints),
            value('past_key_values.0.key', ['batch', 'past_sequence_length', 6]),
          ],
          outputs: [value('y', ['batch', 'total', 8]), value('present.0.key', ['batch', 'total', 6])],
          initializers: [weight('words', [20, 6]), int64s('last', [1], [2]), head('h', 6).weight],
          nodes: [
            node('Gather', ['words', 'input_ids'], ['word']),
            node('Concat', ['past_key_values.0.key', 'word'], ['present.0.key'], { axis: 1 }),
            node('Cast', ['attention_mask'], ['mask'], { to: DataType.FLOAT }),
            node('Unsqueeze', ['mask', 'last'], ['wide']),
            node('Mul', ['present.0.key', 'wide'], ['h']),
            head('h', 6).node,
          ],
        }),
      ),
  },
  {
    what: 'a model with external data that does not say how wide its input is',
    sizes: { batch: 1, features: 40 },
    external: true,
    build: () =>
      model(
        graph({
          inputs: [value('x', ['batch', 'features'])],
          outputs: [value('y', ['batch', 8])],
          initializers: [weight('w', [40, 16]), head('r', 16).weight],
          nodes: [
            node('MatMul', ['x', 'w'], ['h'], {}, { name: 'first' }),
            node('Relu', ['h'], ['r']),
            head('r', 16).node,
          ],
        }),
      ),
  },
  {
    what: 'a listener whose positions stand behind a convolution of stride 2',
    sizes: { batch: 1, feature_size: 10, frames: 60 },
    build: () =>
      model(
        graph({
          inputs: [value('input_features', ['batch', 'feature_size', 'frames'])],
          outputs: [value('y', ['batch', 30, 8])],
          initializers: [weight('kernel', [6, 10, 3]), weight('positions', [1, 30, 6]), head('h', 6).weight],
          nodes: [
            node('Conv', ['input_features', 'kernel'], ['c'], { strides: { ints: [2] }, pads: { ints: [1, 1] } }),
            node('Transpose', ['c'], ['t'], { perm: { ints: [0, 2, 1] } }),
            node('Add', ['t', 'positions'], ['h']),
            head('h', 6).node,
          ],
        }),
      ),
  },
  {
    what: 'a sound model that takes a second of bare samples',
    sizes: { 'waveform.0': 16_000 },
    build: () =>
      model(
        graph({
          inputs: [value('waveform', [null])],
          outputs: [value('y', [null, 8])],
          initializers: [int64s('rows', [2], [-1, 400]), head('h', 400).weight],
          nodes: [node('Reshape', ['waveform', 'rows'], ['h']), head('h', 400).node],
        }),
      ),
  },
];

/** Halves its sides `halvings` times, doubles them again and lays both side by side. */
function detector(halvings: number, dims: (string | number | null)[] = ['batch', 3, 'height', 'width']) {
  const input = dims.every((size) => size !== '') ? 'images' : 'x';
  const down = Array.from({ length: halvings }, (_, index) => index);
  return graph({
    inputs: [
      value(
        input,
        dims.map((size) => size || null),
      ),
    ],
    outputs: [value('y', [null, null, null, 8])],
    initializers: [
      weight('k0', [3, 3, 3, 3]),
      ...down.slice(1).map((index) => weight(`k${index}`, [3, 3, 3, 3])),
      floats('scales', [4], [1, 1, 2 ** halvings, 2 ** halvings]),
      head('h', 6).weight,
    ],
    nodes: [
      ...down.map((index) =>
        node('Conv', [index === 0 ? input : `d${index}`, `k${index}`], [`d${index + 1}`], {
          strides: { ints: [2, 2] },
          pads: { ints: [1, 1, 1, 1] },
        }),
      ),
      node('Resize', [`d${halvings}`, '', 'scales'], ['up'], { mode: 'nearest' }),
      node('Concat', [input, 'up'], ['both'], { axis: 1 }),
      node('Transpose', ['both'], ['h'], { perm: { ints: [0, 2, 3, 1] } }),
      head('h', 6).node,
    ],
  });
}

/** Takes a vector of 7919 numbers, which nothing in its file says. */
export const unguessable = (): ModelProto =>
  model(
    graph({
      inputs: [value('mystery', ['batch', 'width']), value('other', ['batch', 'width'])],
      outputs: [value('y', ['batch', 8])],
      initializers: [int64s('shape', [2], [1, 7919]), head('h', 7919).weight],
      nodes: [
        node('Add', ['mystery', 'other'], ['sum']),
        node('Reshape', ['sum', 'shape'], ['h'], {}, { name: 'fold' }),
        head('h', 7919).node,
      ],
    }),
  );

export function save(folder: string, { build, external }: Brought): string {
  return external ? saveExternalModel(folder, build()) : saveModel(folder, build());
}
