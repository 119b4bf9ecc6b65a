import { writeFileSync } from 'node:fs';
import path from 'node:path';

/** A convolutional detector with SiLU and BatchNormalization: images [1, 3, 320, 320] → boxes (0 to 320) and scores. */
export async function writeDetector(root, file) {
  const net = await builder(root, 1);
  let x = net.convBlock('images', 3, 16, 2);
  let channels = 16;
  for (const wider of [32, 64, 128, 256]) {
    x = net.convBlock(x, channels, wider, 2);
    channels = wider;
    for (let i = 0; i < 2; i += 1) {
      const inner = net.convBlock(net.convBlock(x, channels, channels / 2, 1, 1), channels / 2, channels);
      x = net.convBlock(net.node('Add', [x, inner]), channels, channels, 1, 1);
    }
  }
  const pooled = net.node('MaxPool', [x], { kernel_shape: [5, 5], pads: [2, 2, 2, 2], strides: [1, 1] });
  x = net.convBlock(net.node('Concat', [x, pooled], { axis: 1 }), 512, 256, 1, 1);
  const boxes = net.conv(net.convBlock(x, 256, 64), 64, 4, 1, 1, 0.1);
  const scores = net.node('Sigmoid', [net.conv(net.convBlock(x, 256, 64), 64, 20, 1, 1, 0.1)]);
  const pixels = net.node('Mul', [net.node('Sigmoid', [boxes]), net.constant([1], [320])]);
  net.node('Concat', [pixels, scores], { axis: 1 }, 'y');
  net.write(file, { images: [1, 3, 320, 320] }, { y: [1, 24, 10, 10] });
}

/** A reader of lines: convolutions, one LSTM, and a Gemm to 6000 characters: x [1, 3, 48, 320] → [80, 6000]. */
export async function writeReader(root, file) {
  const net = await builder(root, 2);
  let x = net.relu('x', 3, 32, [1, 1]);
  let channels = 32;
  for (const [wider, strides] of [
    [64, [2, 2]],
    [64, [1, 1]],
    [128, [2, 2]],
    [128, [1, 1]],
    [256, [2, 1]],
    [256, [1, 1]],
  ]) {
    x = net.relu(x, channels, wider, strides);
    channels = wider;
  }
  x = net.relu(x, channels, 256, [6, 1], [6, 1]);
  const hidden = 256;
  const rows = net.node('Transpose', [net.node('Squeeze', [x, net.ints([2])])], { perm: [2, 0, 1] });
  const gates = (inputs) => net.random([1, 4 * hidden, inputs], 1 / Math.sqrt(inputs));
  const read = net.node('LSTM', [rows, gates(256), gates(hidden)], { hidden_size: hidden });
  const flat = net.node('Reshape', [read, net.ints([-1, hidden])]);
  net.node('Gemm', [flat, net.random([hidden, 6000], 0.06), net.random([6000], 0.1)], {}, 'y');
  net.write(file, { x: [1, 3, 48, 320] }, { y: [80, 6000] });
}

/** Nodes of a graph with seeded weights, one after the other. */
async function builder(root, seed) {
  const schema = await import(path.join(root, 'lib', 'model', 'onnx_pb.js'));
  const { seededRandom } = await import(path.join(root, 'lib', 'runtime', 'index.js'));
  const { create, toBinary } = await import('@bufbuild/protobuf');
  const random = seededRandom(seed);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const [nodes, initializer] = [[], []];
  const tensor = (dims, dataType, data) => {
    const name = `w${initializer.length}`;
    const rawData = new Uint8Array(data.buffer);
    initializer.push(create(schema.TensorProtoSchema, { name, dims: dims.map(BigInt), dataType, rawData }));
    return name;
  };
  const count = (dims) => dims.reduce((product, size) => product * size, 1);
  const floats = (dims, of) => tensor(dims, 1, Float32Array.from({ length: count(dims) }, of));
  const attribute = ([name, value]) =>
    Array.isArray(value) ? { name, type: 7, ints: value.map(BigInt) } : { name, type: 2, i: BigInt(value) };
  const net = {
    node(opType, input, attributes = {}, output = `v${nodes.length}`) {
      nodes.push({
        opType,
        name: output,
        input,
        output: [output],
        attribute: Object.entries(attributes).map(attribute),
      });
      return output;
    },
    random: (dims, spread) => floats(dims, () => spread * normal()),
    constant: (dims, values) => floats(dims, (_, i) => values[i]),
    ints: (values) => tensor([values.length], 7, BigInt64Array.from(values, BigInt)),
    conv(x, inputs, outputs, stride = 1, kernel = 3, gain = 2) {
      const [kernels, strides] = [kernel, stride].map((each) => (Array.isArray(each) ? each : [each, each]));
      const weight = net.random([outputs, inputs, ...kernels], Math.sqrt(gain / (inputs * count(kernels))));
      const pads = kernels[0] === 3 ? [1, 1, 1, 1] : [0, 0, 0, 0];
      return net.node('Conv', [x, weight, net.random([outputs], 0.1)], { strides, pads });
    },
    /** Convolution, BatchNormalization, SiLU. */
    convBlock(x, inputs, outputs, stride = 1, kernel = 3) {
      const conv = net.conv(x, inputs, outputs, stride, kernel);
      const around = (mean, spread) => floats([outputs], () => mean + spread * random());
      const statistics = [around(0.8, 0.4), around(-0.2, 0.4), around(-0.2, 0.4), around(0.6, 0.8)];
      const normed = net.node('BatchNormalization', [conv, ...statistics]);
      return net.node('Mul', [normed, net.node('Sigmoid', [normed])]);
    },
    relu: (x, inputs, outputs, strides, kernel) => net.node('Relu', [net.conv(x, inputs, outputs, strides, kernel)]),
    write(target, inputs, outputs) {
      const values = (all) =>
        Object.entries(all).map(([name, dims]) => {
          const dim = dims.map((size) => ({ value: { case: 'dimValue', value: BigInt(size) } }));
          return { name, type: { value: { case: 'tensorType', value: { elemType: 1, shape: { dim } } } } };
        });
      const graph = { name: 'bench', node: nodes, initializer, input: values(inputs), output: values(outputs) };
      const opsetImport = [{ domain: '', version: 13n }];
      const model = create(schema.ModelProtoSchema, { irVersion: 8n, producerName: 'bench', graph, opsetImport });
      writeFileSync(target, toBinary(schema.ModelProtoSchema, model));
    },
  };
  return net;
}
