import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { type QuantizeOptions, quantize, readOverrides } from '../../src/quantize/index.ts';
import { readReceipt, silentLog } from '../../src/receipt/index.ts';
import { npyHeader } from '../../src/runtime/index.ts';
import { type AutoContext, type AutoOptions, auto } from '../../src/tune/index.ts';
import { bytesOf, floats, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

/**
 * Convolutions of which one writes a channel a thousand times as large as its others: on one scale for all of them,
 * which is what static has for activations, the others are lost.
 */
function unevenConvolutions() {
  const random = seeded(3);
  const channels = 16;
  const weight = (name: string, from: number) =>
    floats(name, [channels, from, 3, 3], random.floats(channels * from * 9, Math.sqrt(2 / (from * 9))));
  const spread = new Float32Array(channels).fill(1);
  spread[0] = 1000;
  const back = Float32Array.from(spread, (factor) => 1 / factor);
  const conv = (index: number, from: string, to: string) => [
    node('Conv', [from, `W${index}`], [`c${index}`], { pads: { ints: [1, 1, 1, 1] } }, { name: `conv${index}` }),
    node('Relu', [`c${index}`], [to], {}, { name: `relu${index}` }),
  ];
  return model(
    graph({
      inputs: [value('x', [1, 4, 24, 24])],
      outputs: [value('y', [1, channels, 24, 24])],
      nodes: [
        ...conv(0, 'x', 'r0'),
        ...conv(1, 'r0', 'r1'),
        node('Mul', ['r1', 'spread'], ['wide'], {}, { name: 'widen' }),
        node(
          'MaxPool',
          ['wide'],
          ['pooled'],
          { kernel_shape: { ints: [3, 3] }, pads: { ints: [1, 1, 1, 1] } },
          { name: 'pool' },
        ),
        node('Mul', ['pooled', 'back'], ['narrow'], {}, { name: 'narrow' }),
        ...conv(2, 'narrow', 'r2'),
        ...conv(3, 'r2', 'y'),
      ],
      initializers: [
        weight('W0', 4),
        weight('W1', channels),
        weight('W2', channels),
        weight('W3', channels),
        floats('spread', [1, channels, 1, 1], spread),
        floats('back', [1, channels, 1, 1], back),
      ],
    }),
    { opset: 17 },
  );
}

/** A block of a transformer without its attention: products, Gelu by Erf, a residual. */
function transformer(layers = 2, width = 128) {
  const random = seeded(5);
  const weight = (name: string, from: number, to: number) =>
    floats(name, [from, to], random.floats(from * to, 1 / Math.sqrt(from)));
  const names = Array.from({ length: layers }, (_, i) => `/layer.${i}`);
  return model(
    graph({
      inputs: [value('h0', [1, 16, width])],
      outputs: [value(`h${layers}`, [1, 16, width])],
      nodes: names.flatMap((name, i) => [
        node('MatMul', [`h${i}`, `${name}/up`], [`u${i}`], {}, { name: `${name}/up/MatMul` }),
        node('Relu', [`u${i}`], [`r${i}`], {}, { name: `${name}/Relu` }),
        node('MatMul', [`r${i}`, `${name}/down`], [`d${i}`], {}, { name: `${name}/down/MatMul` }),
        node('Add', [`d${i}`, `h${i}`], [`h${i + 1}`], {}, { name: `${name}/Add` }),
      ]),
      initializers: names.flatMap((name) => [
        weight(`${name}/up`, width, 4 * width),
        weight(`${name}/down`, 4 * width, width),
      ]),
    }),
    { opset: 17 },
  );
}

/** Samples of one input, along a new first axis. */
function samples(folder: string, count: number, dims: number[]): string {
  const elements = count * dims.reduce((product, size) => product * size, 1);
  const file = path.join(folder, 'samples.npy');
  const data = bytesOf(seeded(17).floats(elements, 1));
  writeNpy(file, [count, ...dims], data);
  return file;
}

function writeNpy(file: string, dims: number[], data: Uint8Array) {
  writeFileSync(file, Buffer.concat([npyHeader('float32', dims), data]));
}

const context: AutoContext = { log: silentLog };
/** Times of so small models on whatever machine say nothing: no gate here. */
const anyTime = { maxSlowdown: 1000, maxSeconds: 120, threads: 1 };

async function replayed(source: string, overrides: string, replay: Record<string, string>) {
  const output = path.join(temp(), path.basename(overrides).replace('.overrides.yaml', '.onnx'));
  const options: QuantizeOptions = {
    model: source,
    output,
    method: replay.method as never,
    ...(replay.bits ? { bits: Number(replay.bits) as 4 } : {}),
    ...(replay['calibration-data'] ? { calibrationData: replay['calibration-data'] } : {}),
    ...(replay['calibration-count'] ? { calibrationCount: Number(replay['calibration-count']) } : {}),
    overrides: await readOverrides(overrides),
  };
  await quantize(options, { log: silentLog });
  return readFileSync(output);
}

describe('auto on convolutions of which static loses channels', () => {
  let source = '';
  let options: AutoOptions;
  let result: Awaited<ReturnType<typeof auto>>;
  beforeAll(async () => {
    const folder = temp();
    source = saveModel(folder, unevenConvolutions());
    options = { model: source, calibrationData: samples(folder, 12, [1, 4, 24, 24]), prefer: 'size', ...anyTime };
    result = await auto(options, context);
  }, 240_000);

  it('prints', () => {
    console.log(JSON.stringify(result.findings, null, 1));
  });
});
void transformer;
void replayed;
void readReceipt;
void readdirSync;
void expect;
