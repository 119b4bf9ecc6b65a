import { writeFileSync } from 'node:fs';
import path from 'node:path';

const FLOAT = 1;
const WIDTH = 32;

/**
 * Writes a model of many small nodes: a chain of products of [32, 32] weights with element-wise nodes between them,
 * `nodes` in all over `weights` weights (used in turn), with exporter-like names. The weights lie in `<file>.data`, so the
 * graph file is graph only; returns its size in bytes. The same numbers give the same bytes.
 */
export async function writeNodeModel(root, file, { nodes, weights }) {
  const schema = await import(path.join(root, 'lib', 'model', 'onnx_pb.js'));
  const { create, toBinary } = await import('@bufbuild/protobuf');
  const length = 4 * WIDTH * WIDTH;
  const initializer = Array.from({ length: weights }, (_, i) => {
    const entries = Object.entries({ location: `${path.basename(file)}.data`, offset: i * length, length });
    return create(schema.TensorProtoSchema, {
      name: `model.layers.${i}.weight`,
      dims: [BigInt(WIDTH), BigInt(WIDTH)],
      dataType: FLOAT,
      dataLocation: 1,
      externalData: entries.map(([key, value]) => ({ key, value: String(value) })),
    });
  });
  const every = Math.max(1, Math.floor(nodes / Math.max(weights, Math.ceil(nodes / 5))));
  let hidden = 'x';
  const node = Array.from({ length: nodes }, (_, i) => {
    const product = i % every === 0;
    const opType = product ? 'MatMul' : ['Relu', 'Tanh', 'Neg', 'Abs'][i % 4];
    const output = i === nodes - 1 ? 'y' : `/model/layers.${i}/${opType}_output_0`;
    const weight = initializer[Math.floor(i / every) % weights]?.name;
    const input = product ? [hidden, weight] : [hidden];
    hidden = output;
    return create(schema.NodeProtoSchema, { name: `/model/layers.${i}/${opType}`, opType, input, output: [output] });
  });
  const dim = [1, WIDTH].map((size) => ({ value: { case: 'dimValue', value: BigInt(size) } }));
  const value = (name) => ({
    name,
    type: { value: { case: 'tensorType', value: { elemType: FLOAT, shape: { dim } } } },
  });
  const graph = { name: 'nodes', node, initializer, input: [value('x')], output: [value('y')] };
  const model = create(schema.ModelProtoSchema, {
    irVersion: 8n,
    producerName: 'bench',
    graph,
    opsetImport: [{ domain: '', version: 17n }],
  });
  const bytes = toBinary(schema.ModelProtoSchema, model);
  writeFileSync(file, bytes);
  const data = Float32Array.from({ length: (weights * length) / 4 }, (_, i) => Math.sin(i * 12.9898) / 8);
  writeFileSync(`${file}.data`, new Uint8Array(data.buffer));
  return bytes.length;
}
