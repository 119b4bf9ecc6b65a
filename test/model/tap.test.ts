import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { makeNode, readModel, tapped, withGraph, writeModel, writeTemporary } from '../../src/model/index.ts';
import { loadTensor } from '../support/load-tensor.ts';
import { floats, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

/** A model with 4 KiB of weights in external data. */
async function pair(folder: string) {
  const file = saveModel(
    temp(),
    model(
      graph({
        nodes: [node('MatMul', ['x', 'W'], ['h']), node('Relu', ['h'], ['y'])],
        inputs: [value('x', [1, 32])],
        outputs: [value('y', [1, 32])],
        initializers: [
          floats(
            'W',
            [32, 32],
            Float32Array.from({ length: 1024 }, (_, i) => i),
          ),
        ],
      }),
    ),
  );
  const output = path.join(folder, 'model.onnx');
  await writeModel(await readModel(file), output, { external: 'always' });
  return readModel(output);
}

const outputs = (each: { proto: Awaited<ReturnType<typeof pair>>['proto'] }) =>
  each.proto.graph!.output.map(({ name }) => name);

test('taps are further outputs, each once, and may be made by nodes of their own', async () => {
  const read = await pair(temp());
  const made = tapped(read, ['h', 'y', 'h', 'h::shape'], [makeNode('Shape', ['h'], ['h::shape'])]);
  expect(outputs(made)).toEqual(['y', 'h', 'h::shape']);
  expect(made.proto.graph!.node.map(({ opType }) => opType)).toEqual(['MatMul', 'Relu', 'Shape']);
  expect(outputs(read)).toEqual(['y']);
  expect(read.proto.graph!.node).toHaveLength(2);
});

test('what stayed in the file for the graph itself comes along', async () => {
  const proto = model(
    graph({ nodes: [node('Relu', ['x'], ['y'])], inputs: [value('x', [1])], outputs: [value('y', [1])] }),
  );
  const data = Buffer.concat([Buffer.from([0x80, 0x80, 0x08]), Buffer.alloc(2 ** 17, 7)]);
  proto.graph!.$unknown = [{ no: 999, wireType: 2, data }];
  const folder = temp();
  const read = await readModel(saveModel(folder, proto));
  expect(read.omitted.size).toBe(1);
  const output = path.join(folder, 'out.onnx');
  await writeModel(withGraph(read, { name: 'changed' }), output);
  const again = await readModel(output);
  expect(again.proto.graph!.name).toBe('changed');
  expect(readFileSync(output).includes(Buffer.alloc(2 ** 17, 7))).toBe(true);
});

test('a temporary model shares the weights with the original, and with others in its folder', async () => {
  const [home, folder] = [temp(), temp()];
  const read = await pair(home);
  for (const name of ['one.onnx', 'two.onnx']) await writeTemporary(tapped(read, ['h']), path.join(folder, name));
  expect(readdirSync(folder).sort()).toEqual(['model.onnx.data', 'one.onnx', 'two.onnx']);
  expect(statSync(path.join(folder, 'model.onnx.data')).ino).toBe(statSync(read.externalFiles[0]!).ino);
  const again = await readModel(path.join(folder, 'two.onnx'));
  expect(outputs(again)).toEqual(['y', 'h']);
});

test('through a symbolic link it is the file behind it that is shared', async () => {
  const home = temp();
  const read = await pair(home);
  const data = read.externalFiles[0]!;
  renameSync(data, path.join(home, 'stored'));
  symlinkSync('stored', data);
  const folder = temp();
  await writeTemporary(await readModel(read.path), path.join(folder, 'one.onnx'));
  const [tensor] = (await readModel(path.join(folder, 'one.onnx'))).tensors.values();
  expect(new Float32Array(Uint8Array.from(loadTensor(tensor!)).buffer)[1023]).toBe(1023);
});

test('where links cannot be, the weights are copied, and what stands there is left alone', async () => {
  const folder = temp();
  const read = await pair(temp());
  writeFileSync(path.join(folder, 'model.onnx.data'), 'of somebody else');
  await writeTemporary(read, path.join(folder, 'one.onnx'));
  expect(readFileSync(path.join(folder, 'model.onnx.data'), 'utf8')).toBe('of somebody else');
  expect(statSync(path.join(folder, 'one.onnx.data')).size).toBe(4096);
  mkdirSync(path.join(folder, 'deep'));
  const nested = await readModel(path.join(folder, 'one.onnx'));
  await writeTemporary(nested, path.join(folder, 'deep', 'two.onnx'));
  expect(statSync(path.join(folder, 'deep', 'one.onnx.data')).nlink).toBe(2);
});
