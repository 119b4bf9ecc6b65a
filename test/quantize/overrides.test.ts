import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ModelProtoSchema } from '../../src/model/index.ts';
import {
  formatOverrides,
  type Overrides,
  parseOverrides,
  type QuantizeOptions,
  quantize,
  readOverrides,
} from '../../src/quantize/index.ts';
import { readReceipt, silentLog } from '../../src/receipt/index.ts';
import { floats, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { ortRun } from '../support/ort-run.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';
import { cosine } from './real-models.ts';

const temp = useTemp();
const random = seeded(11);

/** Four products in a row, `/layer.0/MatMul` to `/layer.2/MatMul` and `/head/MatMul`. */
function layers() {
  const names = ['/layer.0/MatMul', '/layer.1/MatMul', '/layer.2/MatMul', '/head/MatMul'];
  return saveModel(
    temp(),
    model(
      graph({
        inputs: [value('v0', [2, 64])],
        outputs: [value('v4', [2, 64])],
        nodes: names.map((name, i) => node('MatMul', [`v${i}`, `W${i}`], [`v${i + 1}`], {}, { name })),
        initializers: names.map((_, i) => floats(`W${i}`, [64, 64], random.floats(64 * 64, 0.2))),
      }),
    ),
  );
}

async function made(overrides: Overrides, options: Partial<QuantizeOptions> = {}) {
  const source = layers();
  const output = path.join(path.dirname(source), 'out.onnx');
  const result = await quantize({ model: source, output, threads: 1, overrides, ...options }, { log: silentLog });
  const forms = Object.fromEntries(result.plan.nodes.map(({ name, form }) => [name, form]));
  const operators = fromBinary(ModelProtoSchema, readFileSync(output)).graph!.node.map(({ opType }) => opType);
  return { source, output, forms, operators, result };
}

describe('overrides', () => {
  it('give single nodes another method, or leave them: the most specific pattern counts', async () => {
    const { source, output, forms, result } = await made({
      '/layer.*': { method: 'weight-only', bits: 4 },
      '/layer.1/*': { method: 'weight-only', bits: 8, blockSize: 64 },
      '/layer.2/MatMul': 'keep',
    });
    expect(forms).toEqual({
      '/layer.0/MatMul': 'blocks',
      '/layer.1/MatMul': 'blocks',
      '/layer.2/MatMul': 'kept',
      '/head/MatMul': 'dynamic',
    });
    const tensors = fromBinary(ModelProtoSchema, readFileSync(output)).graph!.initializer;
    expect(tensors.map(({ name }) => name)).toEqual(expect.arrayContaining(['W0_Q4', 'W1_Q8', 'W2', 'W3_quantized']));
    const feeds = { v0: { dims: [2, 64], data: random.floats(128) } };
    const [a, b] = [await ortRun(source, feeds), await ortRun(output, feeds)];
    expect(cosine(a.v4!.data as Float32Array, b.v4!.data as Float32Array)).toBeGreaterThan(0.98);
    const { inputs } = await readReceipt(result.report);
    expect(JSON.parse(inputs.overrides!)).toMatchObject({ '/layer.2/MatMul': 'keep' });
  });

  it('change options of the same method, and inherit the others', async () => {
    const { operators, output } = await made(
      { '/head/*': { bits: 8 } },
      { method: 'weight-only', bits: 4, blockSize: 16 },
    );
    expect(operators).toEqual(['MatMulNBits', 'MatMulNBits', 'MatMulNBits', 'MatMulNBits']);
    const { initializer } = fromBinary(ModelProtoSchema, readFileSync(output)).graph!;
    expect(initializer.map(({ name }) => name)).toEqual(expect.arrayContaining(['W0_Q4', 'W3_Q8']));
    expect(initializer.find(({ name }) => name === 'W3_scales')!.dims).toEqual([64n, 4n]);
  });

  it.each([
    [{ '/layer.9/*': 'keep' }, 'no node is called `/layer.9/*`'],
    [
      { '/layer.*': 'keep', '*/MatMul': { method: 'dynamic' } },
      'Overrides `/layer.*` and `*/MatMul` say different things of node `/layer.0/MatMul`',
    ],
    [{ '/head/*': { bits: 4 } }, 'Override `/head/*`: Input `bits` is 4, which method `dynamic` does not do'],
    [{ '/head/*': { method: 'weight-only', blockSize: 48 } }, 'Override `/head/*`: Input `block-size` is 48'],
    [{ '/head/*': { method: 'static' } }, 'Override `/head/*`: '],
  ] as [Overrides, string][])('that cannot be are refused in a sentence: %o', async (overrides, sentence) => {
    await expect(made(overrides)).rejects.toThrow(sentence);
  });

  it('say the same by two patterns: fine', async () => {
    const { forms } = await made({ '/layer.*': 'keep', '*/MatMul': 'keep' }).catch((error: Error) => ({
      forms: error.message,
    }));
    expect(forms).toContain('Nothing in the model');
  });
});

describe('an overrides file', () => {
  it('is YAML of patterns', async () => {
    const file = path.join(temp(), 'overrides.yaml');
    writeFileSync(
      file,
      '# sensitive\n"/head/*": keep\n/a: { keep: true }\n/b:\n  method: weight-only\n  bits: 8\n  block-size: 32\n',
    );
    expect(await readOverrides(file)).toEqual({
      '/head/*': 'keep',
      '/a': 'keep',
      '/b': { method: 'weight-only', bits: 8, blockSize: 32 },
    });
  });

  it.each([
    ['a: [1', 'are not YAML'],
    ['a: keep\na: keep\n', 'name a pattern twice'],
    ['- a\n', 'are no list of names'],
    ['a: drop\n', 'say "drop", which is neither `keep` nor options (a).'],
    ['a: { keep: false }\n', 'say `keep` beside other options, or not `true` (a).'],
    ['a: { keep: true, bits: 4 }\n', 'say `keep` beside other options'],
    ['a: { blocksize: 32 }\n', 'set `blocksize`, and may set method, bits, block-size, algorithm'],
    ['a: { bits: four }\n', 'set `bits` to "four" (a).'],
    ['a: {}\n', 'say nothing of a pattern (a).'],
    ['x: &x [*x]\n', 'The overrides'],
  ])('that says something else is refused in a sentence: %s', (text, sentence) => {
    expect(() => parseOverrides(text, 'o.yaml')).toThrow(sentence);
  });

  it('is read as it was written', () => {
    const override = fc.oneof(
      fc.constant('keep' as const),
      fc.record(
        {
          method: fc.constantFrom('dynamic' as const, 'weight-only' as const, 'static' as const),
          bits: fc.constantFrom(4 as const, 8 as const),
          blockSize: fc.constantFrom(16, 32),
          weightSymmetric: fc.boolean(),
        },
        { requiredKeys: ['method'] },
      ),
    );
    // A name may be anything that a model has: control characters, quotes, colons.
    const name = fc.string({ unit: 'binary', minLength: 1 }).filter((text) => text !== '__proto__');
    fc.assert(
      fc.property(fc.dictionary(name, override, { maxKeys: 8 }), (overrides) => {
        if (Object.keys(overrides).length === 0) return;
        expect(parseOverrides(formatOverrides(overrides), 'o.yaml')).toEqual({ ...overrides });
      }),
    );
  });
});
