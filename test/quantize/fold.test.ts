import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { readModel, writeModel } from '../../src/model/index.ts';
import { foldModel } from '../../src/quantize/fold/index.ts';
import { floats, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { type OrtFeed, ortRun } from '../support/ort-run.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';
import { realModels } from './real-models.ts';

const temp = useTemp();
const random = seeded(3);
const weight = (name: string, ...dims: number[]) =>
  floats(
    name,
    dims,
    Array.from({ length: dims.reduce((a, b) => a * b, 1) }, () => random.normal()),
  );
const channel = (name: string, size: number) =>
  floats(
    name,
    [1, size, 1, 1],
    Array.from({ length: size }, () => 0.5 + Math.abs(random.normal())),
  );

/** Folds a model, checks that it computes the same, and returns its operators. */
async function folded(file: string, feeds: Record<string, OrtFeed>): Promise<string[]> {
  const folder = temp();
  const { model: result } = foldModel(await readModel(file), path.join(folder, 'weights'));
  const output = path.join(folder, 'folded.onnx');
  await writeModel(result, output);
  const [before, after] = [await ortRun(file, feeds), await ortRun(output, feeds)];
  expect(Object.keys(after)).toEqual(Object.keys(before));
  for (const [name, { data, dims }] of Object.entries(before)) {
    expect(after[name]!.dims).toEqual(dims);
    let [largest, difference] = [0, 0];
    for (const [at, expected] of (data as Float32Array).entries()) {
      largest = Math.max(largest, Math.abs(expected));
      difference = Math.max(difference, Math.abs(Number(after[name]!.data[at]) - expected));
    }
    expect(difference).toBeLessThan(1e-4 * largest);
  }
  return result.proto.graph!.node.map(({ opType }) => opType).filter((opType) => opType !== 'Constant');
}

describe('published models compute the same with fewer nodes', () => {
  it.each(realModels.filter(({ name }) => name.startsWith('PP-OCR')))('$name', async ({ file, feeds }) => {
    const before = (await readModel(file)).proto.graph!.node.filter(({ opType }) => opType !== 'Constant').length;
    const operators = await folded(file, feeds());
    expect(operators.length).toBeLessThan(before * 0.75);
    expect(operators).not.toContain('BatchNormalization');
  });
});

describe('what stands around a convolution', () => {
  const x: OrtFeed = { dims: [1, 3, 6, 6], data: Float32Array.from({ length: 108 }, () => random.normal()) };
  const run = (nodes: ReturnType<typeof node>[], initializers: ReturnType<typeof floats>[], outputs = ['y']) =>
    folded(
      saveModel(
        temp(),
        model(
          graph({
            nodes,
            inputs: [value('x', [1, 3, 6, 6])],
            outputs: outputs.map((name) => value(name, [null, null, null, null])),
            initializers,
          }),
          { opset: 13 },
        ),
      ),
      { x },
    );
  const bn = ['g', 'b', 'm', 'v'];
  const statistics = () => bn.map((name) => floats(name, [4], [0.5, 1, 1.5, 2]));

  it('is taken in: BatchNormalization, then Mul, Add, Sub and Div by constants', async () => {
    const nodes = [
      node('Conv', ['x', 'W'], ['c'], { pads: { ints: [1, 1, 1, 1] } }),
      node('BatchNormalization', ['c', ...bn], ['n']),
      node('Mul', ['n', 's'], ['t']),
      node('Sub', ['t', 's'], ['u']),
      node('Div', ['u', 's'], ['y']),
    ];
    expect(await run(nodes, [weight('W', 4, 3, 3, 3), ...statistics(), channel('s', 4)])).toEqual(['Conv']);
  });

  it('is taken in before it, an Add only where nothing is padded', async () => {
    const padded = (pads: number) => [
      node('Mul', ['x', 's'], ['m0']),
      node('Add', ['m0', 's'], ['a']),
      node('Conv', ['a', 'W'], ['y'], { pads: { ints: [pads, pads, pads, pads] } }),
    ];
    const initializers = () => [weight('W', 4, 3, 3, 3), channel('s', 3)];
    expect(await run(padded(0), initializers())).toEqual(['Conv']);
    // s × x + b as s × (x + b ÷ s): the Mul goes, the Add cannot.
    expect(await run(padded(1), initializers())).toEqual(['Add', 'Conv']);
  });

  it('is taken into depthwise and transposed convolutions', async () => {
    const nodes = [
      node('Conv', ['x', 'W'], ['c'], { group: 3 }),
      node('Mul', ['c', 's'], ['m0']),
      node('ConvTranspose', ['m0', 'T'], ['t']),
      node('Add', ['t', 's2'], ['y']),
    ];
    const initializers = [weight('W', 3, 1, 3, 3), channel('s', 3), weight('T', 3, 4, 2, 2), channel('s2', 4)];
    expect(await run(nodes, initializers)).toEqual(['Conv', 'ConvTranspose']);
  });

  it('stays where another reads the value, shares the weight or wants the name', async () => {
    const shared = [node('Conv', ['x', 'W'], ['c']), node('Mul', ['c', 's'], ['y']), node('Relu', ['c'], ['z'])];
    const initializers = () => [weight('W', 4, 3, 3, 3), channel('s', 4)];
    expect(await run(shared, initializers(), ['y', 'z'])).toEqual(['Conv', 'Mul', 'Relu']);
    const output = [node('Conv', ['x', 'W'], ['y']), node('Mul', ['y', 's'], ['z'])];
    expect(await run(output, initializers(), ['y', 'z'])).toEqual(['Conv', 'Mul']);
    const twice = [node('Conv', ['x', 'W'], ['c']), node('Mul', ['c', 's'], ['y']), node('Conv', ['x', 'W'], ['z'])];
    expect(await run(twice, initializers(), ['y', 'z'])).toEqual(['Conv', 'Mul', 'Conv']);
  });

  it('is written as x × HardSigmoid(x), and what changes nothing goes', async () => {
    const nodes = [
      node('Identity', ['x'], ['i']),
      node('Transpose', ['i'], ['p'], { perm: { ints: [0, 2, 3, 1] } }),
      node('Transpose', ['p'], ['q'], { perm: { ints: [0, 3, 1, 2] } }),
      node('Add', ['q', 'three'], ['a']),
      node('Clip', ['a', 'zero', 'six'], ['c']),
      node('Mul', ['q', 'c'], ['m0']),
      node('Div', ['m0', 'six'], ['y']),
    ];
    const scalars = [floats('three', [], [3]), floats('zero', [], [0]), floats('six', [], [6])];
    expect(await run(nodes, scalars)).toEqual(['HardSigmoid', 'Mul']);
  });
});
