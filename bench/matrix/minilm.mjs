import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const FLOAT = 1;
const INT64 = 7;
/** all-MiniLM-L6-v2's config.json. */
const [LAYERS, WIDTH, HEADS] = [6, 384, 12];
const EPSILON = 1e-12;

/**
 * Writes BERT's graph over the weights of a sentence-transformers folder: `input_ids` [1, tokens] to `embedding`
 * [1, 384], the normalized mean of the last hidden states, and to these [1, tokens, 384] as `hidden`.
 */
export async function writeMiniLm(root, folder, file) {
  const schema = await import(path.join(root, 'lib', 'model', 'onnx_pb.js'));
  const { create, toBinary } = await import('@bufbuild/protobuf');
  const weights = readSafetensors(path.join(folder, 'model.safetensors'));
  const initializer = [];
  const node = [];
  const constant = (name, dims, data, dataType = FLOAT) => {
    const rawData = new Uint8Array(data.buffer);
    initializer.push(create(schema.TensorProtoSchema, { name, dims: dims.map(BigInt), dataType, rawData }));
    return name;
  };
  const weight = (name) => constant(name, weights[name].dims, weights[name].data);
  // PyTorch keeps [to, from]; a product takes [from, to].
  const turned = (name) => {
    const { dims, data } = weights[name];
    const [to, from] = dims;
    const values = new Float32Array(data.length);
    for (let i = 0; i < to; i++) for (let k = 0; k < from; k++) values[k * to + i] = data[i * from + k];
    return constant(name, [from, to], values);
  };
  const add = (name, opType, input, attribute = []) => {
    node.push(create(schema.NodeProtoSchema, { name, opType, input, output: [name], attribute }));
    return name;
  };
  const ints = (name, ...values) => ({ name, type: 7, ints: values.map(BigInt) });
  const int = (name, value) => ({ name, type: 2, i: BigInt(value) });
  const linear = (at, input) => {
    const product = add(`/${at}/MatMul`, 'MatMul', [input, turned(`${at}.weight`)]);
    return add(`/${at}/Add`, 'Add', [product, weight(`${at}.bias`)]);
  };
  const norm = (at, input) =>
    add(
      `/${at}/LayerNormalization`,
      'LayerNormalization',
      [input, weight(`${at}.weight`), weight(`${at}.bias`)],
      [int('axis', -1), { name: 'epsilon', type: 1, f: EPSILON }],
    );
  const number = (name, value) => constant(name, [], Float32Array.of(value));
  const [root2, half, one] = [number('root2', Math.SQRT2), number('half', 0.5), number('one', 1)];
  const gelu = (at, input) => {
    const erf = add(`/${at}/Erf`, 'Erf', [add(`/${at}/Div`, 'Div', [input, root2])]);
    const product = add(`/${at}/Mul`, 'Mul', [input, add(`/${at}/Add_1`, 'Add', [erf, one])]);
    return add(`/${at}/Mul_1`, 'Mul', [product, half]);
  };
  const shape = constant('heads', [4], BigInt64Array.of(0n, 0n, BigInt(HEADS), BigInt(WIDTH / HEADS)), INT64);
  const joined = constant('joined', [3], BigInt64Array.of(0n, 0n, BigInt(WIDTH)), INT64);
  const scale = number('scale', (WIDTH / HEADS) ** -0.5);

  const embeddings = (name) => `embeddings.${name}.weight`;
  const words = add('/words/Gather', 'Gather', [weight(embeddings('word_embeddings')), 'input_ids']);
  const length = add('/Shape', 'Shape', ['input_ids'], [int('start', 1), int('end', 2)]);
  const scalar = add('/Squeeze', 'Squeeze', [length, constant('first', [1], BigInt64Array.of(0n), INT64)]);
  const [zero, step] = [0n, 1n].map((value) => constant(`int${value}`, [], BigInt64Array.of(value), INT64));
  const places = add('/Range', 'Range', [zero, scalar, step]);
  const positions = add('/places/Gather', 'Gather', [weight(embeddings('position_embeddings')), places]);
  const { dims, data } = weights[embeddings('token_type_embeddings')];
  const kind = constant('type', [dims[1]], data.slice(0, dims[1]));
  const sum = add('/Add', 'Add', [add('/places/Add', 'Add', [words, positions]), kind]);
  let hidden = norm('embeddings.LayerNorm', sum);
  for (let layer = 0; layer < LAYERS; layer++) {
    const at = `encoder.layer.${layer}`;
    const split = (name, ...order) => {
      const values = linear(`${at}.attention.self.${name}`, hidden);
      const heads = add(`/${at}/${name}/Reshape`, 'Reshape', [values, shape]);
      return add(`/${at}/${name}/Transpose`, 'Transpose', [heads], [ints('perm', ...order)]);
    };
    const [query, key, value] = [split('query', 0, 2, 1, 3), split('key', 0, 2, 3, 1), split('value', 0, 2, 1, 3)];
    const scores = add(`/${at}/scores/Mul`, 'Mul', [add(`/${at}/scores/MatMul`, 'MatMul', [query, key]), scale]);
    const mixed = add(`/${at}/mix/MatMul`, 'MatMul', [
      add(`/${at}/Softmax`, 'Softmax', [scores], [int('axis', -1)]),
      value,
    ]);
    const back = add(`/${at}/mix/Transpose`, 'Transpose', [mixed], [ints('perm', 0, 2, 1, 3)]);
    const attended = linear(`${at}.attention.output.dense`, add(`/${at}/mix/Reshape`, 'Reshape', [back, joined]));
    const first = norm(`${at}.attention.output.LayerNorm`, add(`/${at}/Add`, 'Add', [attended, hidden]));
    const wide = gelu(`${at}.gelu`, linear(`${at}.intermediate.dense`, first));
    hidden = norm(`${at}.output.LayerNorm`, add(`/${at}/Add_1`, 'Add', [linear(`${at}.output.dense`, wide), first]));
  }
  const give = (name, opType, input, attribute) =>
    node.push(create(schema.NodeProtoSchema, { name: `/${name}`, opType, input, output: [name], attribute }));
  give('hidden', 'Identity', [hidden], []);
  const mean = add('/ReduceMean', 'ReduceMean', [hidden], [ints('axes', 1), int('keepdims', 0)]);
  give('embedding', 'LpNormalization', [mean], [int('axis', -1), int('p', 2)]);

  const value = (name, elemType, ...sizes) => {
    const dim = sizes.map((size) => ({
      value: typeof size === 'string' ? { case: 'dimParam', value: size } : { case: 'dimValue', value: BigInt(size) },
    }));
    return { name, type: { value: { case: 'tensorType', value: { elemType, shape: { dim } } } } };
  };
  const graph = {
    name: 'MiniLM',
    node,
    initializer,
    input: [value('input_ids', INT64, 1, 'tokens')],
    output: [value('embedding', FLOAT, 1, WIDTH), value('hidden', FLOAT, 1, 'tokens', WIDTH)],
  };
  const model = { irVersion: 8n, producerName: 'bench', graph, opsetImport: [{ domain: '', version: 17n }] };
  writeFileSync(file, toBinary(schema.ModelProtoSchema, create(schema.ModelProtoSchema, model)));
}

/** The tensors of a file: eight bytes with the length of a JSON header, the header, the bytes. */
function readSafetensors(file) {
  const bytes = readFileSync(file);
  const length = Number(bytes.readBigUInt64LE(0));
  const { __metadata__: _, ...header } = JSON.parse(bytes.toString('utf8', 8, 8 + length));
  return Object.fromEntries(
    Object.entries(header).map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [from, to],
        },
      ]) => {
        const raw = new Uint8Array(bytes.subarray(8 + length + from, 8 + length + to));
        return [name, { dims: shape, data: dtype === 'F32' ? new Float32Array(raw.buffer) : raw }];
      },
    ),
  );
}

/** Ids of a text's word pieces (BERT's greedy longest match), lower case, within [CLS] and [SEP]. */
export function wordPieces(vocabulary, text) {
  const ids = [vocabulary.get('[CLS]')];
  for (const word of text.toLowerCase().match(/[a-z]+|[0-9]+|[^\sa-z0-9]/g) ?? []) {
    for (let at = 0; at < word.length; ) {
      let end = word.length;
      while (end > at && !vocabulary.has((at > 0 ? '##' : '') + word.slice(at, end))) end--;
      if (end === at) {
        ids.push(vocabulary.get('[UNK]'));
        break;
      }
      ids.push(vocabulary.get((at > 0 ? '##' : '') + word.slice(at, end)));
      at = end;
    }
  }
  return [...ids, vocabulary.get('[SEP]')];
}
