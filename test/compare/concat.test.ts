import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { type CompareOptions, type CompareResult, compare } from '../../src/compare/index.ts';
import { DataType } from '../../src/model/index.ts';
import { type Receipt, readReceipt } from '../../src/receipt/index.ts';
import { actionSummary } from '../../src/report/index.ts';
import { bytesOf, floats, graph, int64s, model, node, saveModel, tensor, value } from '../support/onnx-builder.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

const BOXES = 4;
const CLASSES = 80;
const PLACES = 64;
/** Boxes reach this far, as the pixels of an image do; scores end at 1. */
const PIXELS = 320;

/**
 * The end of a detector: boxes and class scores of 64 places, put into one output. `quantized` puts both under one
 * 8-bit scale, as static quantization does with a Concat.
 */
function detector(quantized: 'not' | 'concat' | 'apart') {
  const random = seeded(11);
  const width = 16;
  const boxes = floats('boxes_weight', [width, BOXES * PLACES], random.floats(width * BOXES * PLACES, 1));
  const scores = floats('scores_weight', [width, CLASSES * PLACES], random.floats(width * CLASSES * PLACES, 1));
  const shape = (name: string, channels: number) => int64s(name, [3], [1, channels, PLACES]);
  const scale = (name: string, size: number) => floats(name, [], [size / 255]);
  const zero = tensor('zero', DataType.UINT8, [], { rawData: bytesOf(Uint8Array.of(0)) });
  const rounded = (from: string, to: string, by: string) => [
    node('QuantizeLinear', [from, by, 'zero'], [`${to}_8bit`], {}, { name: `${to}_quantize` }),
    node('DequantizeLinear', [`${to}_8bit`, by, 'zero'], [to], {}, { name: `${to}_dequantize` }),
  ];
  const apart = quantized === 'apart';
  const concat = (to: string) =>
    node('Concat', [apart ? 'boxes8' : 'boxes', apart ? 'scores8' : 'scores'], [to], { axis: 1 }, { name: 'head' });
  return model(
    graph({
      inputs: [value('features', ['batch', width])],
      nodes: [
        node('MatMul', ['features', 'boxes_weight'], ['boxes_flat'], {}, { name: 'boxes_product' }),
        node('Sigmoid', ['boxes_flat'], ['boxes_unit']),
        node('Mul', ['boxes_unit', 'pixels'], ['boxes_pixels'], {}, { name: 'boxes_scale' }),
        node('Reshape', ['boxes_pixels', 'boxes_shape'], ['boxes']),
        node('MatMul', ['features', 'scores_weight'], ['scores_flat'], {}, { name: 'scores_product' }),
        node('Sigmoid', ['scores_flat'], ['scores_unit']),
        // No score gets near 1, as in many a detector.
        node('Mul', ['scores_unit', 'lowered'], ['scores_lowered'], {}, { name: 'scores_scale' }),
        node('Reshape', ['scores_lowered', 'scores_shape'], ['scores']),
        ...(apart ? [...rounded('boxes', 'boxes8', 'pixel_scale'), ...rounded('scores', 'scores8', 'unit_scale')] : []),
        ...(quantized === 'concat'
          ? [concat('found_float'), ...rounded('found_float', 'found', 'pixel_scale')]
          : [concat('found')]),
      ],
      outputs: [value('found', ['batch', BOXES + CLASSES, PLACES])],
      initializers: [
        boxes,
        scores,
        floats('pixels', [], [PIXELS]),
        floats('lowered', [], [0.6]),
        shape('boxes_shape', BOXES),
        shape('scores_shape', CLASSES),
        ...(quantized === 'not' ? [] : [scale('pixel_scale', PIXELS), scale('unit_scale', 1), zero]),
      ],
    }),
  );
}

async function against(quantized: 'concat' | 'apart', options: Partial<CompareOptions> = {}): Promise<CompareResult> {
  const folder = temp();
  mkdirSync(path.join(folder, 'spool'));
  return compare(
    {
      reference: saveModel(folder, detector('not'), 'detector.onnx'),
      model: saveModel(folder, detector(quantized), 'detector_int8.onnx'),
      dims: ['batch=1'],
      maxSeconds: 0.3,
      threads: 1,
      ...options,
    },
    { temporaryFolder: path.join(folder, 'spool') },
  );
}

describe('a Concat of boxes and scores under one scale', () => {
  let broken: CompareResult;
  let receipt: Receipt;
  beforeAll(async () => {
    broken = await against('concat');
    receipt = await readReceipt(broken.report);
  });

  test('is nearly the same vector, and fails', () => {
    const { figures, verdict, failures } = broken;
    expect(figures.similarity).toBeGreaterThan(0.999);
    expect(figures.channelSimilarity).toBeLessThan(0.2);
    expect(verdict).toBe('fail');
    expect(failures).toHaveLength(1);
    expect(failures[0]).toMatch(
      /^The channel-similarity 0\.0\d+ of output found \(axis 1, lowest in \d+, .*\) is below the limit 0\.9: /,
    );
  });

  test('names the channels that died, in the receipt and in the report', () => {
    const [output] = broken.figures.outputs;
    const axis = output!.channels.find((each) => each.axis === 1)!;
    expect(axis).toMatchObject({ indices: BOXES + CLASSES, leftOut: 0 });
    expect(axis.similarity).toBe(broken.figures.channelSimilarity);
    expect(axis.worst).toHaveLength(5);
    for (const { index, cosine } of axis.worst) {
      expect(index).toBeGreaterThanOrEqual(BOXES);
      expect(cosine).toBe(0);
    }
    expect(receipt.results).toMatchObject({ channelSimilarity: axis.similarity });
    const summary = actionSummary(receipt);
    expect(summary).toMatch(/Channel similarity \| 0\.\d+ \| ≥ 0\.9 \| ❌ fail/);
    expect(summary).toMatch(/`found` \| 1 \| 0\.\d+ \| 84 \| 0 \| \d+: 0/);
  });

  test('is what the layers are ranked by, so that the Concat comes first', () => {
    const [first] = broken.figures.diagnosis!.layers;
    expect(first!.nodes).toEqual(['head']);
    expect(first!.channelSimilarity).toBeLessThan(0.2);
    expect(broken.figures.diagnosis!.excludeNodes).toEqual(['head']);
  });

  test('under a scale each, both pass', async () => {
    const { verdict, failures, figures } = await against('apart');
    expect(failures).toEqual([]);
    expect(verdict).toBe('pass');
    expect(figures.channelSimilarity).toBeGreaterThan(0.99);
  });

  test('passes where the limit is taken away', async () => {
    const { verdict } = await against('concat', { minChannelSimilarity: null });
    expect(verdict).toBe('pass');
  });
});
