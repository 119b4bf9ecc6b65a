import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { inspect, inspectionText } from '../../src/inspect/index.ts';
import { DataType } from '../../src/model/index.ts';
import { quantize } from '../../src/quantize/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { runScript } from '../support/child.ts';
import {
  external,
  floats,
  graph,
  model,
  modelFunction,
  node,
  saveExternalModel,
  saveModel,
  sparseFile,
  value,
} from '../support/onnx-builder.ts';
import { runCli } from '../support/program.ts';
import { realModels } from '../support/real-models.ts';
import { smallModel } from '../support/small-model.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

describe('inspect', () => {
  it('says what a model is: signature, operators, weights, sharing, subgraphs, functions', async () => {
    const branch = (name: string) =>
      graph({ nodes: [node('MatMul', ['x', 'w'], [name])], outputs: [value(name, [1, 8])] });
    const file = saveModel(
      temp(),
      model(
        graph({
          inputs: [value('x', ['batch', 8]), value('c', [], DataType.BOOL)],
          outputs: [value('y', ['batch', 8])],
          initializers: [floats('w', [8, 8], new Float32Array(64)), floats('v', [8, 8], new Float32Array(64))],
          nodes: [
            node('If', ['c'], ['i'], { then_branch: branch('a'), else_branch: branch('b') }),
            node('Twice', ['i'], ['t'], {}, { domain: 'local' }),
            node('MatMul', ['t', 'v'], ['y']),
          ],
        }),
        {
          domains: { local: 1 },
          metadata: { author: 'nobody' },
          functions: [
            modelFunction({
              domain: 'local',
              name: 'Twice',
              inputs: ['p'],
              outputs: ['q'],
              nodes: [node('Add', ['p', 'p'], ['q'])],
            }),
          ],
        },
      ),
    );
    const told = await inspect(file);
    expect(told).toMatchObject({
      model: file,
      opsets: [
        { domain: 'ai.onnx', version: 17 },
        { domain: 'local', version: 1 },
      ],
      metadata: { author: 'nobody' },
      inputs: [
        { name: 'x', type: 'FLOAT', dims: ['batch', 8] },
        { name: 'c', type: 'BOOL', dims: [] },
      ],
      outputs: [{ name: 'y', type: 'FLOAT', dims: ['batch', 8] }],
      sizes: [{ name: 'batch', role: 'batch', size: 1 }],
      subgraphs: [{ nodes: 1 }, { nodes: 1 }],
      functions: [{ name: 'local::Twice', nodes: 1 }],
      externalFiles: [],
    });
    // The weight of both branches counts once for its operator.
    expect(told.operators[0]).toEqual({ operator: 'MatMul', count: 3, weightBytes: 512 });
    expect(told.operators.map(({ operator }) => operator)).toContain('local:Twice');
    expect(told.weights).toMatchObject({ count: 2, bytes: 512, shared: { count: 1, bytes: 256 } });
    expect(told.weights.largest[0]).toEqual({ name: 'w', type: 'FLOAT', dims: [8, 8], bytes: 256, readers: 2 });
  });

  it('estimates what each method then makes of it', async () => {
    const folder = temp();
    const file = saveModel(folder, smallModel());
    const { methods } = await inspect(file);
    expect(methods.map(({ method, bits }) => `${method} ${bits}`)).toEqual([
      'dynamic 8',
      'static 8',
      'weight-only 8',
      'weight-only 4',
      'fp16 16',
      'auto undefined',
    ]);
    for (const each of methods) {
      if ('refused' in each) throw new Error(each.refused);
      const { method, bits } = each;
      if (method === 'auto') {
        // Without calibration data it makes what dynamic makes, among others.
        const dynamic = (methods[0] as { bytes: number }).bytes;
        expect(each.bytes).toBeLessThanOrEqual(dynamic);
        expect(each.mostBytes).toBeGreaterThanOrEqual(dynamic);
        continue;
      }
      const output = path.join(folder, `${method}-${bits}.onnx`);
      const made = await quantize(
        {
          model: file,
          method,
          ...(bits === 16 ? {} : { bits }),
          ...(method === 'static' ? { calibrationData: 'generated' } : {}),
          output,
        },
        { log: silentLog },
      );
      const size = readFileSync(made.model).length;
      expect(Math.abs(size - each.bytes) / size, `${each.method} ${each.bits}`).toBeLessThan(0.25);
      expect(made.nodesQuantized).toBe(each.nodesQuantized);
    }
    const again = await inspect(path.join(folder, 'dynamic-8.onnx'));
    expect(again.methods[0]).toMatchObject({ method: 'dynamic', refused: expect.stringMatching(/quantized/) });
  });

  it('says of external data how much of it is used', async () => {
    const folder = temp();
    saveExternalModel(folder, smallModel());
    const { externalFiles, bytes } = await inspect(path.join(folder, 'model.onnx'));
    expect(externalFiles).toEqual([
      { path: 'model.onnx.data', bytes: 49_152, unused: 0, modified: expect.stringMatching(/^\d{4}-.*Z$/) },
    ]);
    expect(bytes).toBeGreaterThan(49_152);
    writeFileSync(path.join(folder, 'model.onnx.data'), '');
    await expect(inspect(path.join(folder, 'model.onnx'))).rejects.toThrow('model.onnx.data');
  });

  it('shows a published model as text, as JSON and as a page that needs nothing else', async () => {
    const folder = temp();
    const { code, stdout } = await runCli(['inspect', realModels.speech, '--page', 'page.html'], folder);
    expect(code).toBe(0);
    expect(stdout).toContain('state is a state: it takes what stateN gave the time before.');
    expect(stdout).toMatch(/^subgraphs +\d+ with \d+ nodes$/m);
    expect(stdout).toMatch(/^dynamic, 8 bits +[\d.]+ /m);
    const page = readFileSync(path.join(folder, 'page.html'), 'utf8');
    expect(page).toContain('<h2>What each method would do');
    expect(page).toContain('<svg');
    expect(page).not.toMatch(/<script|https?:\/\/(?!www\.w3\.org)/);
    const { stdout: json } = await runCli(['inspect', realModels.speech, '--json', '--top', '3'], folder);
    expect(JSON.parse(json).result.weights.largest).toHaveLength(3);
  });

  it('shows hostile names as what they are', async () => {
    const file = saveModel(
      temp(),
      model(
        graph({
          inputs: [value('x\u001b[2J\n::error::', [1, 4])],
          outputs: [value('y', [1, 4])],
          initializers: [floats('w\u202e', [4, 4], new Float32Array(16))],
          nodes: [node('MatMul', ['x\u001b[2J\n::error::', 'w\u202e'], ['y'])],
        }),
      ),
    );
    for (const line of inspectionText(await inspect(file)).split('\n')) {
      expect(line).not.toMatch(/[\p{Cc}\u202e]/u);
      expect(line.trimStart()).not.toMatch(/^::/);
    }
  });

  // Only Linux tells a process's high-water mark in /proc.
  it.skipIf(process.platform !== 'linux')('reads the graph of 4 GB and no weight: memory does not grow with it', () => {
    const folder = temp();
    const count = 16;
    const rows = 8192;
    const bytes = rows * rows * 4;
    sparseFile(path.join(folder, 'big.data'), count * bytes);
    const names = Array.from({ length: count }, (_, index) => `w${index}`);
    const file = saveModel(
      folder,
      model(
        graph({
          inputs: [value('h0', ['batch', rows])],
          outputs: [value(`h${count}`, ['batch', rows])],
          initializers: names.map((name, index) =>
            external(name, DataType.FLOAT, [rows, rows], {
              location: 'big.data',
              offset: index * bytes,
              length: bytes,
            }),
          ),
          nodes: names.map((name, index) => node('MatMul', [`h${index}`, name], [`h${index + 1}`])),
        }),
      ),
    );
    const { total, peakMiB } = runScript<{ total: number; peakMiB: number }>(
      `const { inspect } = await import(lib('inspect/index.js'));
       const { bytes } = await inspect(args[0]);
       process.stdout.write(JSON.stringify({ total: bytes, peakMiB: peakBytes() / 2 ** 20 }));`,
      [file],
    );
    expect(total).toBeGreaterThan(count * bytes);
    expect(peakMiB).toBeLessThan(128);
  });
});
