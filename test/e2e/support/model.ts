import path from 'node:path';
import { DataType } from '../../../src/model/enums.ts';
import { floats, graph, model, node, saveExternalModel, value } from '../../support/onnx-builder.ts';
import { seeded } from '../../support/random.ts';

/**
 * A small model with the signature of SARAi's speech model: `audio_codes` int64 [1,16,128], 0 to 1023 →
 * `mel_features` float32; an embedding and three layers, about 10 MB, weights in `<file>.data`.
 */
export function saveSpeechModel(file: string): void {
  const width = 512;
  const layers = [0, 1, 2];
  const random = seeded(1);
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
