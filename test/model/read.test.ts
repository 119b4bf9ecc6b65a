import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { InputError } from '../../src/errors.ts';
import {
  assertUnchanged,
  DataType,
  ModelProtoSchema,
  modelFiles,
  orphanedBytes,
  readModel,
  type TensorProto,
  walkTensors,
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
import { canMakePipes } from '../support/pipes.ts';
import { seeded } from '../support/random.ts';
import { realModels } from '../support/real-models.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

async function sentence(file: string): Promise<string> {
  const error = await readModel(file).then(
    () => expect.fail('the model was read'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(InputError);
  const { message } = error as InputError;
  expect(message).toMatch(/^The [^\n]*\.$/);
  return message;
}

/** A model of one MatMul whose weight is `weight`. */
function oneWeight(weight: TensorProto) {
  return model(
    graph({
      nodes: [node('MatMul', ['x', weight.name], ['y'])],
      inputs: [value('x', [1, 4])],
      outputs: [value('y', [1, null])],
      initializers: [weight],
    }),
  );
}

test.each(Object.entries(realModels))('finds every tensor of %s as protobuf-es decodes it', async (_, file) => {
  const read = await readModel(file);
  const whole = fromBinary(ModelProtoSchema, readFileSync(file));
  const expected = [...walkTensors(whole)];
  const found = [...walkTensors(read.proto)];
  expect(found.map(({ name, role }) => [name, role])).toEqual(expected.map(({ name, role }) => [name, role]));
  let compared = 0;
  for (const [index, { tensor }] of found.entries()) {
    const raw = expected[index]!.tensor.rawData;
    const ref = read.tensors.get(tensor)!;
    if (raw.length === 0) continue;
    expect(loadTensor(ref).equals(raw)).toBe(true);
    compared += raw.length;
  }
  expect(compared).toBeGreaterThan(500_000);
  for (const { tensor } of found) expect(tensor.rawData.length).toBeLessThan(1024);
});

test('finds tensors wherever they are stored', async () => {
  const random = seeded(3);
  const values = random.floats(600);
  const inner = graph({
    nodes: [constant(floats('inner', [600], values)), node('Identity', ['inner'], ['o'])],
    outputs: [value('o', [600])],
    initializers: [floats('captured', [600], values, { typed: true })],
  });
  const halves = Uint16Array.from({ length: 600 }, (_, index) => 0x3c00 + index);
  const proto = model(
    graph({
      nodes: [
        node('If', ['flag'], ['y'], { then_branch: inner, else_branch: inner }),
        constant(int64s('ints', [3], [1, -2, 3], { typed: true })),
      ],
      outputs: [value('y', [600])],
      initializers: [
        floats('raw', [20, 30], values),
        floats('typed', [600], values, { typed: true }),
        floats('small', [2], [1, 2], { typed: true }),
        tensor('flag', DataType.BOOL, [], { int32Data: [1] }),
        tensor('half', DataType.FLOAT16, [2], { int32Data: [0x3c00, 0xc000] }),
        tensor('halves', DataType.FLOAT16, [600], { int32Data: [...halves] }),
        tensor('words', DataType.STRING, [2], { stringData: [Buffer.from('a'), Buffer.from('b')] }),
      ],
    }),
    {
      functions: [
        modelFunction({
          domain: 'f',
          name: 'F',
          inputs: [],
          outputs: ['c'],
          nodes: [constant(floats('c', [600], values))],
        }),
      ],
    },
  );
  const read = await readModel(saveModel(temp(), proto));
  const byName = new Map([...read.tensors.values()].map((ref) => [ref.name, ref]));
  const bytes = Buffer.from(bytesOf(values));
  for (const name of ['raw', 'typed', 'inner', 'captured', 'c']) {
    expect(byName.get(name)!.source.kind).toBe('file');
    expect(loadTensor(byName.get(name)!).equals(bytes)).toBe(true);
  }
  expect(loadTensor(byName.get('small')!)).toEqual(Buffer.from(bytesOf(Float32Array.of(1, 2))));
  expect(loadTensor(byName.get('ints')!)).toEqual(Buffer.from(bytesOf(BigInt64Array.of(1n, -2n, 3n))));
  expect(loadTensor(byName.get('half')!)).toEqual(Buffer.from(bytesOf(Uint16Array.of(0x3c00, 0xc000))));
  expect(byName.get('raw')).toMatchObject({ dtype: DataType.FLOAT, dims: [20, 30], length: 2400 });
  expect(byName.has('halves')).toBe(false);
  expect(byName.has('words')).toBe(false);
});

test('finds external data, also beyond 2^32', async () => {
  const folder = temp();
  const at = 2 ** 32 + 4096;
  const values = Float32Array.of(1, 2, 3, 4);
  const weight = external('W', DataType.FLOAT, [4], { location: 'sub/m.data', offset: at, length: 16 });
  mkdirSync(path.join(folder, 'sub'));
  sparseFile(path.join(folder, 'sub', 'm.data'), at + 16, [{ offset: at, bytes: bytesOf(values) }]);
  const file = saveModel(folder, oneWeight(weight));
  const read = await readModel(file);
  expect(loadTensor([...read.tensors.values()][0]!)).toEqual(Buffer.from(bytesOf(values)));
  expect(await modelFiles(file)).toEqual([file, path.join(folder, 'sub', 'm.data')]);
  expect(orphanedBytes(read)).toEqual([{ path: path.join(folder, 'sub', 'm.data'), bytes: at }]);
});

test('a model without orphaned bytes reports none, a rerun that appended is reported', async () => {
  const folder = temp();
  const file = saveExternalModel(folder, oneWeight(floats('W', [4, 4], seeded(1).floats(16))));
  expect(orphanedBytes(await readModel(file))).toEqual([]);
  writeFileSync(`${file}.data`, Buffer.alloc(100_064), { flag: 'r+' });
  expect(orphanedBytes(await readModel(file))).toEqual([{ path: `${file}.data`, bytes: 100_000 }]);
});

test('names that are not UTF-8 stay apart', async () => {
  const weight = floats('AB', [1], [1]);
  const file = saveModel(temp(), oneWeight(weight));
  const bytes = readFileSync(file);
  bytes.write('\xff', bytes.lastIndexOf('AB'), 'latin1');
  writeFileSync(file, bytes);
  const { proto } = await readModel(file);
  expect(proto.graph!.node[0]!.input[1]).toBe('AB');
  expect(proto.graph!.initializer[0]!.name).toBe('\u{10f7ff}B');
});

test('says what a file is that is no model', async () => {
  const folder = temp();
  const write = (name: string, content: string | Uint8Array) => {
    writeFileSync(path.join(folder, name), content);
    return path.join(folder, name);
  };
  const real = readFileSync(realModels.ocrDirection);
  expect(await sentence(path.join(folder, 'none.onnx'))).toMatch(/does not exist/);
  expect(await sentence(folder)).toMatch(/is a directory/);
  expect(await sentence('/dev/null')).toMatch(/is not a plain file/);
  expect(await sentence(write('empty.onnx', ''))).toMatch(/is empty/);
  expect(await sentence(write('text.onnx', 'hello world, this is no model at all'))).toMatch(/is not an ONNX model/);
  expect(await sentence(write('page.onnx', '<!DOCTYPE html><html>'))).toMatch(/web page/);
  expect(await sentence(write('lfs.onnx', 'version https://git-lfs.github.com/spec/v1\noid sha256:0\n'))).toMatch(
    /git lfs pull/,
  );
  expect(await sentence(write('nograph.onnx', Uint8Array.of(0x08, 8)))).toMatch(/no graph/);
  for (const length of [real.length - 1, 300_000, 100, 5]) {
    expect(await sentence(write('cut.onnx', real.subarray(0, length)))).toMatch(/is truncated/);
  }
  expect(await sentence(path.join(write('file', 'x'), 'm.onnx'))).toMatch(/does not exist/);
});

test.skipIf(!canMakePipes)('a pipe is refused, not waited for', async () => {
  const pipe = path.join(temp(), 'pipe.onnx');
  execFileSync('mkfifo', [pipe]);
  expect(await sentence(pipe)).toMatch(/is not a plain file/);
});

test.skipIf(process.getuid?.() === 0)('a file without permission is explained', async () => {
  const file = path.join(temp(), 'secret.onnx');
  writeFileSync(file, 'x', { mode: 0 });
  expect(await sentence(file)).toMatch(/may not be read by this user/);
});

test('more than 2 GiB is no graph file', async () => {
  const file = path.join(temp(), 'weights.data');
  sparseFile(file, 2 ** 31);
  expect(await sentence(file)).toMatch(/ends at 2 GiB/);
});

test.each([
  ['missing', { location: 'none.data' }, /does not exist/],
  ['a directory', { location: 'sub' }, /is a directory/],
  ['short', { location: 'm.data', offset: 8, length: 16 }, /ends at byte 24, but "m.data" has only 20 bytes/],
  ['an offset far outside', { location: 'm.data', offset: 2 ** 52 }, /has only 20 bytes/],
  [
    'a length that does not fit',
    { location: 'm.data', length: 20 },
    /said to be 20 bytes, but its dims and type need 16/,
  ],
  ['no location', { location: '' }, /has no location/],
  ['a parent', { location: '../m.data' }, /outside the model's directory/],
  ['a hidden parent', { location: 'sub/../../m.data' }, /outside the model's directory/],
  ['a Windows parent', { location: 'sub\\..\\..\\m.data' }, /outside the model's directory/],
  ['an absolute path', { location: '/etc/passwd' }, /absolute path/],
  ['a drive', { location: 'C:\\m.data' }, /absolute path/],
  ['a drive without a root', { location: 'C:m.data' }, /outside the model's directory/],
  ['a share', { location: '\\\\host\\m.data' }, /absolute path/],
  ['a NUL', { location: 'm\0.data' }, /absolute path|does not exist/],
  ['a link out', { location: 'link.data' }, /leads out of the model's directory/],
  ['a linked folder', { location: 'linked/m.data' }, /leads out of the model's directory/],
  ['a negative offset', { location: 'm.data', offset: '-4' }, /which is no byte count/],
  ['an offset beyond 2^53', { location: 'm.data', offset: '99999999999999999999' }, /which is no byte count/],
  ['a length that is no number', { location: 'm.data', length: '1e3' }, /which is no byte count/],
])('external data with %s is refused', async (_, at, expected) => {
  const outside = temp();
  const folder = temp();
  writeFileSync(path.join(outside, 'm.data'), Buffer.alloc(20));
  writeFileSync(path.join(folder, 'm.data'), Buffer.alloc(20));
  mkdirSync(path.join(folder, 'sub'));
  symlinkSync(path.join(outside, 'm.data'), path.join(folder, 'link.data'));
  symlinkSync(outside, path.join(folder, 'linked'));
  const file = saveModel(folder, oneWeight(external('W', DataType.FLOAT, [4], at)));
  expect(await sentence(file)).toMatch(expected);
});

test('a link inside the directory and a missing length are fine', async () => {
  const folder = temp();
  writeFileSync(path.join(folder, 'm.data'), Buffer.alloc(20));
  symlinkSync('m.data', path.join(folder, 'link.data'));
  const file = saveModel(
    folder,
    oneWeight(external('W', DataType.FLOAT, [4], { location: 'link.data', length: null })),
  );
  expect([...(await readModel(file)).tensors.values()][0]!.length).toBe(16);
});

/** The layout of a Hugging Face cache: `snapshots/<revision>/onnx/` holds links into one folder of blobs. */
async function cached() {
  const home = temp();
  const blobs = path.join(home, 'blobs');
  const snapshot = path.join(home, 'snapshots', '0a1b2c', 'onnx');
  mkdirSync(blobs);
  mkdirSync(snapshot, { recursive: true });
  const at = { location: 'model.onnx_data' };
  const made = saveModel(blobs, oneWeight(external('W', DataType.FLOAT, [4, 128], at)));
  renameSync(made, path.join(blobs, 'aaaa'));
  writeFileSync(path.join(blobs, 'bbbb'), bytesOf(Float32Array.from({ length: 512 }, (_, i) => i)));
  const link = (blob: string, name: string) =>
    symlinkSync(path.join('../../../blobs', blob), path.join(snapshot, name));
  link('aaaa', 'model.onnx');
  link('bbbb', 'model.onnx_data');
  return { home, snapshot, file: path.join(snapshot, 'model.onnx') };
}

test('a model and data that are links into one folder are read, as ONNX Runtime does', async () => {
  const { file } = await cached();
  const read = await readModel(file);
  expect(read.externalFiles).toEqual([path.join(path.dirname(file), 'model.onnx_data')]);
  const [ref] = read.tensors.values();
  expect(new Float32Array(Uint8Array.from(loadTensor(ref!)).buffer)[511]).toBe(511);
  const { y } = await ortRun(file, { x: { dims: [1, 4], data: Float32Array.of(0, 0, 0, 1) } });
  expect(y!.data[127]).toBe(511);
});

test.each([
  ['data elsewhere', (home: string) => ['model.onnx_data', path.join(home, 'secret')]],
  [
    'data in a folder whose name begins alike',
    (home: string) => ['model.onnx_data', path.join(home, 'blobs-of-others')],
  ],
])('a linked model with %s is refused', async (_, move) => {
  const { home, snapshot, file } = await cached();
  const [name, folder] = move(home) as [string, string];
  mkdirSync(folder);
  renameSync(path.join(home, 'blobs', 'bbbb'), path.join(folder, 'bbbb'));
  unlinkSync(path.join(snapshot, name));
  symlinkSync(path.join(folder, 'bbbb'), path.join(snapshot, name));
  expect(await sentence(file)).toMatch(/"model\.onnx_data", a link that leads out of the model's directory/);
});

test('a model that is no link gets no further folder', async () => {
  const { snapshot, file } = await cached();
  const bytes = readFileSync(file);
  unlinkSync(file);
  writeFileSync(file, bytes);
  expect(await sentence(path.join(snapshot, 'model.onnx'))).toMatch(/a link that leads out of the model's directory/);
});

test.each([
  [
    'too few bytes',
    tensor('W', DataType.FLOAT, [4, 4], { rawData: new Uint8Array(60) }),
    /FLOAT \[4,4\], 64 bytes, but holds 60/,
  ],
  [
    'too many bytes',
    tensor('W', DataType.FLOAT, [400], { rawData: new Uint8Array(2000) }),
    /1600 bytes, but holds 2000/,
  ],
  ['too few values', tensor('W', DataType.FLOAT, [400], { floatData: Array(399).fill(1) }), /holds 1596/],
  ['no data', tensor('W', DataType.FLOAT, [4], {}), /16 bytes, but holds 0/],
  ['negative dims', tensor('W', DataType.FLOAT, [-1, 4], {}), /impossible dims/],
  ['dims beyond 2^53', tensor('W', DataType.FLOAT, [2 ** 31, 2 ** 31], {}), /impossible dims/],
])('a tensor with %s is refused', async (_, weight, expected) => {
  expect(await sentence(saveModel(temp(), oneWeight(weight)))).toMatch(expected);
});

test('raw_data given twice is refused', async () => {
  const large = tensor('W', DataType.FLOAT, [512], { rawData: new Uint8Array(2048) });
  const once = toBinary(ModelProtoSchema, oneWeight(large));
  // A protobuf reader merges a repeated `graph`; inside one TensorProto the last raw_data would win.
  const tensorBytes = Buffer.from([0x4a, 0x80, 0x10, ...new Uint8Array(2048)]);
  const graphBytes = Buffer.concat([Buffer.from([0x08, 0x80, 0x04, 0x10, 1, 0x42, 1, 0x57]), tensorBytes, tensorBytes]);
  const field = (no: number, bytes: Buffer) =>
    Buffer.concat([Buffer.from([no * 8 + 2, (bytes.length & 0x7f) | 0x80, bytes.length >> 7]), bytes]);
  const file = path.join(temp(), 'twice.onnx');
  writeFileSync(file, Buffer.concat([once, field(7, field(5, graphBytes))]));
  expect(await sentence(file)).toMatch(/raw_data more than once/);
});

test('a source that changes is noticed by size and by time', async () => {
  const folder = temp();
  const file = saveExternalModel(folder, oneWeight(floats('W', [4, 4], seeded(1).floats(16))));
  const { stamps } = await readModel(file);
  expect(() => assertUnchanged(stamps)).not.toThrow();
  const { atime, mtime } = statSync(`${file}.data`);
  utimesSync(`${file}.data`, atime, new Date(mtime.getTime() + 1));
  expect(() => assertUnchanged(stamps)).toThrow(/was changed while it was read/);
  const again = await readModel(file);
  truncateSync(file, again.size - 1);
  expect(() => assertUnchanged(again.stamps)).toThrow(InputError);
});
