import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type CompareOptions, compare } from '../../src/compare/index.ts';
import { parseMetric } from '../../src/compare/metric.ts';
import { DataType } from '../../src/model/index.ts';
import { readReceipt } from '../../src/receipt/index.ts';
import { npyHeader } from '../../src/runtime/index.ts';
import { parseNpyHeader } from '../../src/runtime/samples/npy.ts';
import { floats, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

/** Twice the input, and a count whose name no file may have. */
function doubling(factor: number) {
  return model(
    graph({
      inputs: [value('x', ['batch', 4])],
      nodes: [node('Mul', ['x', 'factor'], ['y']), node('Cast', ['x'], ['a/b:c'], { to: DataType.INT64 })],
      outputs: [value('y', ['batch', 4]), value('a/b:c', ['batch', 4], DataType.INT64)],
      initializers: [floats('factor', [], [factor])],
    }),
  );
}

/** Reads a .npy file of float32 or int64 as numbers. Runs in a process of its own, so it knows nothing of ours. */
const PROGRAM = `
  const { readFileSync, readdirSync } = require('node:fs');
  const [, , mode, reference, model, samples] = process.argv;
  const read = (file) => {
    const bytes = readFileSync(file);
    const start = 10 + bytes.readUInt16LE(8);
    const wide = bytes.toString('latin1', 10, start).includes("'<i8'");
    const data = bytes.buffer.slice(bytes.byteOffset + start, bytes.byteOffset + bytes.length);
    return wide ? [...new BigInt64Array(data)].map(Number) : [...new Float32Array(data)];
  };
  const names = readdirSync(reference).sort();
  if (mode === 'fail') { console.error('no ground truth'); process.exit(3); }
  if (mode === 'hang') setInterval(() => {}, 1000);
  else if (mode === 'words') console.log('about 0.8');
  else {
    let sum = 0;
    for (const name of names) {
      const y = read(reference + '/' + name + '/y.npy');
      const z = read(model + '/' + name + '/y.npy');
      const x = read(samples + '/' + name + '/x.npy');
      const n = read(model + '/' + name + '/a_b_c.npy');
      for (let i = 0; i < 4; i++) if (y[i] === 2 * x[i] && z[i] === y[i] && n[i] === Math.trunc(x[i])) sum++;
    }
    console.log('looking at ' + names.join(' '));
    console.log(mode === 'json' ? JSON.stringify({ metric: sum / 4 / names.length, places: 4 }) : sum / 4 / names.length);
  }
`;

async function run(mode: string, factor: number, options: Partial<CompareOptions> = {}) {
  const folder = temp();
  const program = path.join(folder, 'my metric.cjs');
  writeFileSync(program, PROGRAM);
  const temporaryFolder = path.join(folder, 'spool');
  mkdirSync(temporaryFolder);
  const reference = saveModel(folder, doubling(2), 'reference.onnx');
  const quantized = saveModel(folder, doubling(factor), 'model.onnx');
  const metricCommand = `"${process.execPath}" "${program}" ${mode}`;
  const result = await compare(
    { reference, model: quantized, count: 3, maxSeconds: 0.2, threads: 1, metricCommand, ...options },
    { temporaryFolder },
  ).finally(() => expect(readdirSync(temporaryFolder)).toEqual([]));
  return result;
}

describe('metric-command', () => {
  test('is given what both models answered and what they were fed, and its number is a gate', async () => {
    const { verdict, figures, report } = await run('json', 2, { minMetric: 1 });
    expect(figures.metric).toMatchObject({ value: 1, others: { places: 4 } });
    expect(verdict).toBe('pass');
    expect((await readReceipt(report)).results).toMatchObject({ metric: { value: 1 } });
  });

  test('fails where the number is too low', async () => {
    const { verdict, failures } = await run('number', 2.001, { minMetric: 0.5 });
    expect(verdict).toBe('fail');
    expect(failures).toEqual([expect.stringMatching(/^The metric 0 is below the limit 0\.5: /)]);
  });

  test.each([
    ['fail', {}, /^metric-command failed: exit 3\nno ground truth$/],
    ['words', {}, /printed "about 0\.8": its last line must be a number, or a JSON object/],
    ['hang', { timeoutSeconds: 20 }, /^metric-command failed: stopped after 20000 ms/],
  ])('a program that ends in "%s" is said to, and nothing is left', async (mode, options, sentence) => {
    await expect(run(mode, 2, options)).rejects.toThrow(sentence);
  });

  test.each([
    ['python score.py | tail -1', /'metric-command' has '\|' outside quotes/],
    ['no-such-program-anywhere', /cannot be run/],
  ])('%s is refused in a sentence', async (metricCommand, sentence) => {
    await expect(run('number', 2, { metricCommand })).rejects.toThrow(sentence);
  });

  test('min-metric without a program is refused before anything runs', async () => {
    const folder = temp();
    const options = { reference: path.join(folder, 'none'), model: path.join(folder, 'none'), minMetric: 0.5 };
    await expect(compare(options)).rejects.toThrow(/give metric-command too/);
    expect(existsSync(path.join(folder, 'none.compare.json'))).toBe(false);
  });
});

describe('what a program prints', () => {
  test.each([
    ['0.83\n', 0.83],
    ['loading…\n 1e-3 \r\n\n', 0.001],
    ['{"metric": 0.5, "wer": 0.1}', 0.5],
    ['{\n  "metric": 2\n}\n', 2],
  ])('%j is a number', (stdout, expected) => {
    expect(parseMetric(stdout).value).toBe(expected);
  });

  test.each(['', '\n', 'nan', 'Infinity', '{}', '{"metric": "0.5"}', '{"metric": null}', '[1]', '0.5 mAP', 'null'])(
    '%j is none',
    (stdout) => {
      expect(() => parseMetric(stdout)).toThrow(/must be a number, or a JSON object/);
    },
  );
});

test('an array file that we write is one that we read', () => {
  const dtypes = ['float32', 'float64', 'float16', 'int8', 'uint8', 'bool', 'int16', 'int64', 'uint64'] as const;
  const bytes = { float32: 4, float64: 8, float16: 2, int8: 1, uint8: 1, bool: 1, int16: 2, int64: 8, uint64: 8 };
  fc.assert(
    fc.property(
      fc.constantFrom(...dtypes),
      fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 12 }),
      (dtype, dims) => {
        const count = dims.reduce((product, size) => product * size, 1);
        fc.pre(count <= 1000);
        const data = new Uint8Array(count * bytes[dtype]).fill(7);
        const header = npyHeader(dtype, dims);
        expect(header.length % 64).toBe(0);
        const file = Buffer.concat([header, data]);
        const { start, ...said } = parseNpyHeader(file, 'x.npy');
        const read = { ...said, data: new Uint8Array(file.subarray(start)) };
        expect({ ...read, data: [...read.data] }).toEqual({ dtype, dims, data: [...data] });
      },
    ),
  );
});
