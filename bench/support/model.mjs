import { closeSync, ftruncateSync, openSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';

const FLOAT = 1;
const INT64 = 7;
const TOKENS = 1024;
const CODEBOOKS = 16;
const FRAMES = 128;
const MELS = 2048;

/**
 * Writes a model of SARAi's shape (16 codebooks in, mel features out, a stack of transformer blocks, exporter-like
 * names; the output is short) with about `bytes` of FP32 weights in `<file>.data`. Wider models for larger sizes, as in
 * the wild. Seeded: the same size gives the same bytes. With `sparse` the weights are a hole in the file, all zeros; with
 * `open` the number of frames is left to who runs it. Returns the exact size of the weights.
 */
export async function writeBenchModel(root, file, bytes, { sparse = false, open = false } = {}) {
  const schema = await import(path.join(root, 'lib', 'model', 'onnx_pb.js'));
  const { create, toBinary } = await import('@bufbuild/protobuf');
  const width = bytes >= 20e9 ? 5120 : bytes >= 2e9 ? 2048 : 1024;
  const layers = Math.max(1, Math.round(bytes / (4 * 12 * width * width)));

  const initializer = [];
  const node = [];
  let offset = 0;
  const weight = (name, ...dims) => {
    const length = 4 * dims.reduce((a, b) => a * b, 1);
    const entries = Object.entries({ location: `${path.basename(file)}.data`, offset, length });
    const externalData = entries.map(([key, value]) => ({ key, value: String(value) }));
    initializer.push(
      create(schema.TensorProtoSchema, {
        name,
        dims: dims.map(BigInt),
        dataType: FLOAT,
        dataLocation: 1,
        externalData,
      }),
    );
    offset += length;
    return name;
  };
  const constant = (name, value) => {
    const rawData = new Uint8Array(Float32Array.of(value).buffer);
    initializer.push(create(schema.TensorProtoSchema, { name, dims: [], dataType: FLOAT, rawData }));
    return name;
  };
  const add = (scope, opType, input, attribute = []) => {
    const output = `${scope}/${opType}_output_0`;
    node.push(
      create(schema.NodeProtoSchema, { name: `${scope}/${opType}`, opType, input, output: [output], attribute }),
    );
    return output;
  };
  const ints = (name, ...values) => ({ name, type: 7, ints: values.map(BigInt) });
  const int = (name, value) => ({ name, type: 2, i: BigInt(value) });
  const linear = (scope, input, from, to) =>
    add(scope, 'Add', [
      add(scope, 'MatMul', [input, weight(`${scope}.weight`, from, to)]),
      weight(`${scope}.bias`, to),
    ]);
  const two = constant('/Constant_two', 2);
  const epsilon = constant('/Constant_epsilon', 1e-5);
  const scale = constant('/Constant_scale', width ** -0.5);
  const mean = (scope, input) => add(scope, 'ReduceMean', [input], [ints('axes', -1)]);
  const norm = (scope, input) => {
    const centered = add(scope, 'Sub', [input, mean(scope, input)]);
    const variance = mean(`${scope}/variance`, add(scope, 'Pow', [centered, two]));
    const deviation = add(scope, 'Sqrt', [add(`${scope}/epsilon`, 'Add', [variance, epsilon])]);
    const scaled = add(scope, 'Mul', [add(scope, 'Div', [centered, deviation]), weight(`${scope}.weight`, width)]);
    return add(scope, 'Add', [scaled, weight(`${scope}.bias`, width)]);
  };

  const embedded = add('/model/embed_tokens', 'Gather', [
    weight('model.embed_tokens.weight', TOKENS, width),
    'audio_codes',
  ]);
  let hidden = add('/model/codebooks', 'ReduceMean', [embedded], [ints('axes', 1), int('keepdims', 0)]);
  for (let layer = 0; layer < layers; layer++) {
    const at = `/model/layers.${layer}`;
    const normed = norm(`${at}/input_layernorm`, hidden);
    const [query, key, value] = ['q_proj', 'k_proj', 'v_proj'].map((name) =>
      linear(`${at}/self_attn/${name}`, normed, width, width),
    );
    const turned = add(`${at}/self_attn`, 'Transpose', [key], [ints('perm', 0, 2, 1)]);
    const scores = add(`${at}/self_attn/scores`, 'Mul', [
      add(`${at}/self_attn/scores`, 'MatMul', [query, turned]),
      scale,
    ]);
    const mixed = add(`${at}/self_attn`, 'MatMul', [
      add(`${at}/self_attn`, 'Softmax', [scores], [int('axis', -1)]),
      value,
    ]);
    const attended = add(`${at}/residual_0`, 'Add', [hidden, linear(`${at}/self_attn/o_proj`, mixed, width, width)]);
    const wide = linear(`${at}/mlp/up_proj`, norm(`${at}/post_attention_layernorm`, attended), width, 4 * width);
    const narrow = linear(`${at}/mlp/down_proj`, add(`${at}/mlp/act_fn`, 'Relu', [wide]), 4 * width, width);
    hidden = add(`${at}/residual_1`, 'Add', [attended, narrow]);
  }
  const mel = linear('/model/mel_head', norm('/model/norm', hidden), width, MELS);
  node.push(
    create(schema.NodeProtoSchema, {
      name: '/model/Transpose',
      opType: 'Transpose',
      input: [mel],
      output: ['mel_features'],
      attribute: [ints('perm', 0, 2, 1)],
    }),
  );

  const value = (name, elemType, ...dims) => ({
    name,
    type: {
      value: {
        case: 'tensorType',
        value: { elemType, shape: { dim: dims.map((size) => ({ value: dimOf(size) })) } },
      },
    },
  });
  const frames = open ? 'frames' : FRAMES;
  const graph = {
    name: 'agi_audio_core',
    node,
    initializer,
    input: [value('audio_codes', INT64, 1, CODEBOOKS, frames)],
    output: [value('mel_features', FLOAT, 1, MELS, frames)],
  };
  const model = create(schema.ModelProtoSchema, {
    irVersion: 8n,
    producerName: 'bench',
    graph,
    opsetImport: [{ domain: '', version: 17n }],
  });
  writeFileSync(file, toBinary(schema.ModelProtoSchema, model));
  writeWeights(`${file}.data`, offset, sparse);
  return offset;
}

/** A number is a fixed size, a text the name of an open one. */
function dimOf(size) {
  return typeof size === 'string' ? { case: 'dimParam', value: size } : { case: 'dimValue', value: BigInt(size) };
}

/** Normal-like values of the size of trained weights, from a block of 16 MiB that is repeated with a shift. */
function writeWeights(file, length, sparse) {
  const descriptor = openSync(file, 'w');
  try {
    ftruncateSync(descriptor, length);
    if (sparse) return;
    const block = new Float32Array(4 * 2 ** 20 + 4099);
    let state = 20_251_122;
    for (let i = 0; i < block.length; i++) {
      let sum = 0;
      for (let k = 0; k < 3; k++) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        sum += state / 2 ** 32 - 0.5;
      }
      block[i] = sum * 0.04;
    }
    const bytes = Buffer.from(block.buffer);
    for (let at = 0, turn = 0; at < length; turn++) {
      const shift = 4 * ((turn * 61) % 4099);
      const count = Math.min(16 * 2 ** 20, length - at);
      writeSync(descriptor, bytes, shift, count, at);
      at += count;
    }
  } finally {
    closeSync(descriptor);
  }
}

/** What a model of so many bytes and its INT8 form need on disk, bytes. */
export function roomFor(bytes) {
  return bytes * 1.5 + 1e9;
}

/** SARAi's signature, `audio_codes` [1,16,128] → `mel_features` [1,2048,mels], on an embedding and a product. */
export async function writeSaraiModel(root, file, mels) {
  const schema = await import(path.join(root, 'lib', 'model', 'onnx_pb.js'));
  const { create, toBinary } = await import('@bufbuild/protobuf');
  const width = 64;
  const random = (count) => Float32Array.from({ length: count }, (_, i) => Math.sin(i * 12.9898 + 1) / 8);
  const tensor = (name, dataType, dims, data) =>
    create(schema.TensorProtoSchema, { name, dataType, dims: dims.map(BigInt), rawData: new Uint8Array(data.buffer) });
  const value = (name, elemType, dims) => ({
    name,
    type: {
      value: {
        case: 'tensorType',
        value: {
          elemType,
          shape: { dim: dims.map((size) => ({ value: { case: 'dimValue', value: BigInt(size) } })) },
        },
      },
    },
  });
  const node = (opType, input, output) => create(schema.NodeProtoSchema, { name: opType, opType, input, output });
  const model = create(schema.ModelProtoSchema, {
    irVersion: 8n,
    opsetImport: [{ domain: '', version: 17n }],
    graph: {
      name: 'sarai',
      node: [
        node('Gather', ['table', 'audio_codes'], ['embedded']),
        node('Reshape', ['embedded', 'shape'], ['frames']),
        node('MatMul', ['frames', 'head'], ['mel_features']),
      ],
      input: [value('audio_codes', 7, [1, 16, 128])],
      output: [value('mel_features', 1, [1, 2048, mels])],
      initializer: [
        tensor('table', 1, [1024, width], random(1024 * width)),
        tensor('shape', 7, [3], BigInt64Array.of(1n, 2048n, BigInt(width))),
        tensor('head', 1, [width, mels], random(width * mels)),
      ],
    },
  });
  writeFileSync(file, toBinary(schema.ModelProtoSchema, model));
}

/** Four products in a row, [depth, width] and back twice, of weights that spread like those of a transformer. */
export async function writeProducts(root, file, { depth, width }) {
  const schema = await import(path.join(root, 'lib', 'model', 'onnx_pb.js'));
  const { create, toBinary } = await import('@bufbuild/protobuf');
  const shapes = [0, 1, 2, 3].map((i) => (i % 2 ? [width, depth] : [depth, width]));
  const length = 4 * depth * width;
  const initializer = shapes.map((dims, i) => {
    const entries = Object.entries({ location: `${path.basename(file)}.data`, offset: i * length, length });
    return create(schema.TensorProtoSchema, {
      name: `W${i}`,
      dims: dims.map(BigInt),
      dataType: FLOAT,
      dataLocation: 1,
      externalData: entries.map(([key, value]) => ({ key, value: String(value) })),
    });
  });
  const node = shapes.map((_, i) =>
    create(schema.NodeProtoSchema, {
      name: `/product.${i}/MatMul`,
      opType: 'MatMul',
      input: [i === 0 ? 'x' : `h${i}`, `W${i}`],
      output: [i === 3 ? 'y' : `h${i + 1}`],
    }),
  );
  const value = (name) => ({
    name,
    type: {
      value: {
        case: 'tensorType',
        value: {
          elemType: FLOAT,
          shape: {
            dim: [
              { value: { case: 'dimParam', value: 'rows' } },
              { value: { case: 'dimValue', value: BigInt(depth) } },
            ],
          },
        },
      },
    },
  });
  const graph = { name: 'products', node, initializer, input: [value('x')], output: [value('y')] };
  const model = { irVersion: 8n, producerName: 'bench', graph, opsetImport: [{ domain: '', version: 17n }] };
  writeFileSync(file, toBinary(schema.ModelProtoSchema, create(schema.ModelProtoSchema, model)));
  const data = openSync(`${file}.data`, 'w');
  let state = 7;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  for (let i = 0; i < 4; i++) {
    const values = new Float32Array(depth * width);
    for (let k = 0; k < values.length; k++) values[k] = (next() + next() + next() - 1.5) * 0.05;
    writeSync(data, new Uint8Array(values.buffer));
  }
  closeSync(data);
}
