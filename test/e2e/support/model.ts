import { closeSync, openSync, writeSync } from 'node:fs';
import path from 'node:path';
import { DataType } from '../../../src/model/enums.ts';
import {
  bytesOf,
  external,
  floats,
  graph,
  int64s,
  model,
  node,
  saveExternalModel,
  saveModel,
  value,
} from '../../support/onnx-builder.ts';
import { seeded } from '../../support/random.ts';

/**
 * A small model with the signature of SARAi's speech model: `audio_codes` int64 [1,16,128], 0 to 1023 →
 * `mel_features` float32; an embedding and three layers, about 5 MB, weights in `<file>.data`.
 */
export function saveSpeechModel(file: string, seed = 1): void {
  const width = 512;
  const layers = [0, 1, 2];
  const random = seeded(seed);
  const nodes = [
    node('Gather', ['embedding', 'audio_codes'], ['h0'], {}, { name: '/embed/Gather' }),
    ...layers.flatMap((layer) => [
      node('MatMul', [`h${layer}`, `w${layer}`], [`m${layer}`], {}, { name: `/layers.${layer}/MatMul` }),
      node(
        'Tanh',
        [`m${layer}`],
        [layer === layers.length - 1 ? 'mel_features' : `h${layer + 1}`],
        {},
        { name: `/layers.${layer}/Tanh` },
      ),
    ]),
  ];
  const proto = model(
    graph({
      nodes,
      inputs: [value('audio_codes', [1, 16, 128], DataType.INT64)],
      outputs: [value('mel_features', [1, 16, 128, width])],
      initializers: [
        floats('embedding', [1024, width], random.floats(1024 * width)),
        ...layers.map((layer) =>
          floats(`w${layer}`, [width, width], random.floats(width * width, 1 / Math.sqrt(width))),
        ),
      ],
    }),
  );
  saveExternalModel(path.dirname(file), proto, path.basename(file));
}

/**
 * A model of SARAi's real size with the same input: 4.6 GB of float32 weights in `<file>.data`, 1.15 GB as INT8. One
 * row goes through 17 layers side by side, so that a run costs the reading of the weights and no more.
 */
export function saveLargeModel(file: string): void {
  const width = 8192;
  const layers = Array.from({ length: 17 }, (_, layer) => layer);
  const location = `${path.basename(file)}.data`;
  let offset = 0;
  const weight = (name: string, rows: number) => {
    const length = 4 * rows * width;
    const tensor = external(name, DataType.FLOAT, [rows, width], { location, offset, length });
    offset += length;
    return tensor;
  };
  const proto = model(
    graph({
      nodes: [
        node('Gather', ['embedding', 'audio_codes'], ['embedded'], {}, { name: '/embed/Gather' }),
        node(
          'ReduceMean',
          ['embedded'],
          ['mean'],
          { axes: { ints: [1, 2] }, keepdims: 0 },
          { name: '/embed/ReduceMean' },
        ),
        ...layers.flatMap((layer) => [
          node('MatMul', ['mean', `w${layer}`], [`m${layer}`], {}, { name: `/layers.${layer}/MatMul` }),
          node('Tanh', [`m${layer}`], [`t${layer}`], {}, { name: `/layers.${layer}/Tanh` }),
        ]),
        node(
          'Sum',
          layers.map((layer) => `t${layer}`),
          ['sum'],
          {},
          { name: '/Sum' },
        ),
        node('Reshape', ['sum', 'shape'], ['mel_features'], {}, { name: '/Reshape' }),
      ],
      inputs: [value('audio_codes', [1, 16, 128], DataType.INT64)],
      outputs: [value('mel_features', [1, 128, 64])],
      initializers: [
        int64s('shape', [3], [1, 128, 64]),
        weight('embedding', 1024),
        ...layers.map((layer) => weight(`w${layer}`, width)),
      ],
    }),
  );
  saveModel(path.dirname(file), proto, path.basename(file));
  const block = bytesOf(Float32Array.from(seeded(1).floats(4 * 2 ** 20 + 4099, 2 / Math.sqrt(width))));
  const handle = openSync(`${file}.data`, 'w');
  // Blocks of 16 MiB, each begun elsewhere in the same numbers: what is random enough costs no time.
  for (let at = 0; at < offset; at += 2 ** 24) {
    writeSync(handle, block, 4 * ((61 * (at / 2 ** 24)) % 4099), Math.min(2 ** 24, offset - at), at);
  }
  closeSync(handle);
}
