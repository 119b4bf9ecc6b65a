import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/errors.ts';
import {
  assertOutputDiffers,
  DataType,
  digestFiles,
  layoutModel,
  orphanedBytes,
  readModel,
  type TensorProto,
  TensorProtoSchema,
  walkTensors,
  writeModel,
} from '../../src/model/index.ts';
import { loadTensor } from '../support/load-tensor.ts';
import {
  bytesOf,
  constant,
  external,
  floats,
  graph,
  int64s,
  model,
  modelFunction,
  node,
  saveExternalModel,
  saveModel,
  sparseFile,
  tensor,
  value,
} from '../support/onnx-builder.ts';
import { ortRun } from '../support/ort-run.ts';
import { seeded } from '../support/random.ts';
import { realModels } from '../support/real-models.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

/** x → MatMul with an initializer → MatMul with a Constant → If with a Constant in each branch. */
function mixedModel() {
  const random = seeded(7);
  const branch = (name: string) =>
    graph({
      name,
      nodes: [
        constant(floats(`${name}_w`, [16, 16], random.floats(256))),
        node('MatMul', ['t', `${name}_w`], [`${name}_y`]),
      ],
      outputs: [value(`${name}_y`, [1, 16])],
    });
  const proto = model(
    graph({
      nodes: [
        node('MatMul', ['x', 'A'], ['s']),
        constant(floats('B', [32, 16], random.floats(512))),
        node('Block', ['s', 'B'], ['t'], {}, { domain: 'local' }),
        node('If', ['flag'], ['y'], { then_branch: branch('yes'), else_branch: branch('no') }),
      ],
      inputs: [value('x', [1, 16])],
      outputs: [value('y', [1, 16])],
      initializers: [
        floats('A', [16, 32], random.floats(512), { typed: true }),
        tensor('flag', DataType.BOOL, [], { int32Data: [1] }),
        int64s('unused', [300], Array(300).fill(5), { typed: true }),
      ],
    }),
    {
      domains: { local: 1 },
      functions: [
        modelFunction({
          domain: 'local',
          name: 'Block',
          inputs: ['a', 'b'],
          outputs: ['c'],
          nodes: [
            constant(floats('k', [512], Array(512).fill(2))),
            node('Slice', ['k', 'zero', 'one'], ['first']),
            constant(int64s('zero', [1], [0])),
            constant(int64s('one', [1], [1])),
            node('MatMul', ['a', 'b'], ['ab']),
            node('Mul', ['ab', 'first'], ['c']),
          ],
        }),
      ],
      metadata: { origin: 'test', empty: '' },
    },
  );
  const [k, slice, zero, one, ...rest] = proto.functions[0]!.node;
  proto.functions[0]!.node = [k!, zero!, one!, slice!, ...rest];
  return proto;
}

const feeds = { x: { dims: [1, 16], data: seeded(9).floats(16) } };

async function outputOf(file: string): Promise<number[]> {
  return [...(await ortRun(file, feeds)).y!.data].map(Number);
}

describe('a model read and written', () => {
  test.each(Object.entries(realModels))('%s keeps its bytes, in one file or by way of a pair', async (_, file) => {
    const folder = temp();
    const source = await readModel(file);
    const [one, pair, back] = ['one', 'pair', 'back'].map((name) => path.join(folder, `${name}.onnx`));
    const written = await writeModel(source, one!);
    expect(readFileSync(one!).equals(readFileSync(file))).toBe(true);
    expect(await digestFiles([one!])).toMatchObject({ root: written.root });

    const apart = await writeModel(source, pair!, { external: 'always' });
    expect(apart.files.map((each) => path.basename(each.path))).toEqual(['pair.onnx', 'pair.onnx.data']);
    expect(await digestFiles(apart.files.map((each) => each.path))).toMatchObject({ root: apart.root });
    const read = await readModel(pair!);
    expect(orphanedBytes(read)).toEqual([]);
    await writeModel(read, back!, { external: 'never' });
    expect(readFileSync(back!).equals(readFileSync(file))).toBe(true);
  });

  test('keeps typed fields, functions, metadata, unknown fields and names that are not UTF-8', async () => {
    const folder = temp();
    const proto = mixedModel();
    proto.graph!.name = 'NAME';
    proto.graph!.node[0]!.$unknown = [{ no: 10, wireType: 2, data: Uint8Array.of(3, 1, 2, 3) }];
    proto.$unknown = [
      { no: 26, wireType: 2, data: Buffer.concat([Buffer.from([0x80, 0x80, 0x08]), Buffer.alloc(2 ** 17, 7)]) },
      { no: 4000, wireType: 0, data: Uint8Array.of(1) },
    ];
    const file = saveModel(folder, proto);
    const bytes = readFileSync(file);
    bytes.write('\xff\xfe', bytes.indexOf('NAME'), 'latin1');
    writeFileSync(file, bytes);
    const written = path.join(folder, 'out.onnx');
    await writeModel(await readModel(file), written);
    const original = readFileSync(file);
    const result = readFileSync(written);
    expect(result.length).toBe(original.length);
    // The large unknown field stands behind the small one; nothing else moved.
    const fields = (all: Buffer) => [
      all.includes(Buffer.alloc(2 ** 17, 7)),
      all.includes('\xff\xfeME', 0, 'latin1'),
      all.includes('origin'),
    ];
    expect(fields(result)).toEqual([true, true, true]);
    const again = path.join(folder, 'again.onnx');
    await writeModel(await readModel(written), again);
    expect(readFileSync(again).equals(result)).toBe(true);
  });

  test.each(['auto', 'always', 'never'] as const)('runs as before (%s)', async (external) => {
    const folder = temp();
    const expected = await outputOf(saveModel(folder, mixedModel()));
    for (const source of [saveModel(folder, mixedModel()), saveExternalModel(folder, mixedModel(), 'e.onnx')]) {
      const output = path.join(folder, `${external}.onnx`);
      await writeModel(await readModel(source), output, { external });
      expect(await outputOf(output)).toEqual(expected);
    }
  });
});

describe('external data', () => {
  test('is aligned, in the order of the graph, and the same on every run', async () => {
    const folder = temp();
    const source = await readModel(saveModel(folder, mixedModel()));
    const layout = layoutModel(source, { output: path.join(folder, 'out.onnx'), external: 'always' });
    const tensors = layout.data!.segments.filter(({ kind }) => kind === 'file');
    expect(tensors.map(({ length }) => length)).toEqual([2048, 2048, 1024, 1024]);
    for (const { offset } of tensors) expect(offset % 4096).toBe(0);
    for (const file of [layout.data!, layout.graph()]) {
      let end = 0;
      for (const { offset, length } of file.segments) {
        expect(offset).toBe(end);
        end += length;
      }
      expect(end).toBe(file.size);
    }
    const first = await writeModel(source, path.join(folder, 'out.onnx'), { external: 'always' });
    const second = await writeModel(source, path.join(folder, 'out.onnx'), { external: 'always' });
    expect(second).toEqual(first);
    expect(readdirSync(folder).sort()).toEqual(['model.onnx', 'out.onnx', 'out.onnx.data']);
  });

  test('tensors that share a range share it again', async () => {
    const folder = temp();
    const at = { location: 'm.data', offset: 0, length: 4096 };
    const proto = model(
      graph({
        nodes: [node('MatMul', ['x', 'A'], ['t']), node('MatMul', ['t', 'B'], ['y'])],
        inputs: [value('x', [1, 32])],
        outputs: [value('y', [1, 32])],
        initializers: [external('A', DataType.FLOAT, [32, 32], at), external('B', DataType.FLOAT, [32, 32], at)],
      }),
    );
    writeFileSync(path.join(folder, 'm.data'), bytesOf(seeded(2).floats(1024)));
    const output = path.join(folder, 'out.onnx');
    await writeModel(await readModel(saveModel(folder, proto)), output);
    expect(readFileSync(`${output}.data`).equals(readFileSync(path.join(folder, 'm.data')))).toBe(true);
    const [a, b] = [...(await readModel(output)).tensors.values()];
    expect(a!.source).toEqual(b!.source);
  });

  test('is used when one file would pass 2 GiB, and "never" says so', async () => {
    const folder = temp();
    const size = 1.2e9;
    const tensors = ['A', 'B'].map((name, index) =>
      external(name, DataType.INT8, [size], { location: 'm.data', offset: index * size, length: size }),
    );
    sparseFile(path.join(folder, 'm.data'), 2 * size);
    const proto = model(
      graph({
        nodes: [node('Concat', ['A', 'B'], ['y'], { axis: 0 })],
        outputs: [value('y', [null], 3)],
        initializers: tensors,
      }),
    );
    const source = await readModel(saveModel(folder, proto));
    const output = path.join(folder, 'out.onnx');
    expect(() => layoutModel(source, { output, external: 'never' })).toThrow(InputError);
    expect(() => layoutModel(source, { output, external: 'never' })).toThrow(/pass the 2 GiB/);
    // As if the bytes had been in one file, which they cannot be: made while writing.
    const contents = new Map(source.proto.graph!.initializer.map((each) => [each, { length: size, job: each.name }]));
    const layout = layoutModel({ ...source, externalFiles: [] }, { output, contents });
    expect(layout.data!.size).toBeGreaterThan(2 * size);
    expect(layout.graph().size).toBeLessThan(1000);
  });
});

test('a tensor can be given other content, made while writing', async () => {
  const folder = temp();
  const source = await readModel(saveModel(folder, mixedModel()));
  const replaced = [...walkTensors(source.proto)].find(({ name }) => name === 'B')!.tensor;
  const made: TensorProto = create(TensorProtoSchema, {
    name: 'B_quantized',
    dataType: DataType.INT8,
    dims: [32n, 16n],
  });
  source.proto.graph!.initializer.push(made);
  replaced.dataType = DataType.INT8;
  const contents = new Map([
    [replaced, { length: 512, job: 'first' }],
    [made, { length: 2000, job: 'second' }],
  ]);
  const output = path.join(folder, 'out.onnx');
  const inline = layoutModel(source, { output, contents }).graph();
  const jobs = inline.segments.flatMap((each) => (each.kind === 'job' ? [[each.job, each.length]] : []));
  expect(jobs).toEqual([
    ['first', 512],
    ['second', 2000],
  ]);
  expect(inline.segments.flatMap((each) => (each.kind === 'file' ? [each.length] : []))).not.toContain(512 * 4);

  const apart = layoutModel(source, { output, contents, external: 'always' });
  expect(apart.data!.segments.some((each) => each.kind === 'job' && each.job === 'second')).toBe(true);
  expect(apart.graph().segments.some((each) => each.kind === 'job' && each.job === 'first')).toBe(true);
  expect(apart.graph('longer-name.onnx.data').size).toBeGreaterThan(apart.graph().size);
});

test('layout leaves the model as it was', async () => {
  const folder = temp();
  const source = await readModel(saveExternalModel(folder, mixedModel()));
  const before = structuredClone(source.proto);
  layoutModel(source, { output: path.join(folder, 'a.onnx'), external: 'never' });
  layoutModel(source, { output: path.join(folder, 'a.onnx'), external: 'always' }).graph('b');
  expect(structuredClone(source.proto)).toEqual(before);
});

test('the source itself is no output, by whatever path', async () => {
  const folder = temp();
  const source = await readModel(saveModel(folder, mixedModel()));
  expect(() => assertOutputDiffers(source, path.join(folder, '.', 'model.onnx'))).toThrow(InputError);
  expect(() => assertOutputDiffers(source, path.join(folder, 'other.onnx'))).not.toThrow();
});

test('large tensors keep their bytes through a pair', async () => {
  const folder = temp();
  const source = await readModel(saveModel(folder, mixedModel()));
  await writeModel(source, path.join(folder, 'out.onnx'), { external: 'always' });
  const result = await readModel(path.join(folder, 'out.onnx'));
  const contentOf = (tensors: Iterable<Parameters<typeof loadTensor>[0]>) =>
    [...tensors].map((ref) => [ref.name, ref.dims, loadTensor(ref).toString('hex')]);
  expect(contentOf(result.tensors.values())).toEqual(contentOf(source.tensors.values()));
});
