import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { runScript } from '../support/child.ts';
import { external, floats, graph, model, node, saveModel, sparseFile, tensor, value } from '../support/onnx-builder.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const MIB = 2 ** 20;

/** What a process of its own says that reads a model: its CPU time, which no other process makes longer, and its peak memory. */
function readApart(file: string, then = '') {
  return runScript<{ name: string; message: string; ms: number; peak: number; tensors: number }>(
    `const { readModel, writeModel, indexGraphs, layoutModel } = await import(lib('model/index.js'));
     const cpuMs = () => Object.values(process.cpuUsage()).reduce((sum, us) => sum + us / 1000, 0);
     const result = {};
     try {
       const model = await readModel(args[0]);
       result.tensors = model.tensors.size;
       ${then}
     } catch (error) {
       Object.assign(result, { name: error.name, message: error.message });
     }
     console.log(JSON.stringify({ ...result, ms: cpuMs(), peak: peakBytes() }));`,
    [file],
  );
}

function varint(number: number): Buffer {
  const bytes: number[] = [];
  for (; number > 127; number = Math.floor(number / 128)) bytes.push((number % 128) | 128);
  return Buffer.from([...bytes, number]);
}

/** A length-delimited field. */
function field(no: number, ...content: Uint8Array[]): Buffer {
  const bytes = Buffer.concat(content);
  return Buffer.concat([varint(no * 8 + 2), varint(bytes.length), bytes]);
}

function repeated(times: number, ...bytes: number[]): Buffer {
  return Buffer.alloc(times * bytes.length, Buffer.from(bytes));
}

function save(...graphFields: Buffer[]): string {
  const file = path.join(temp(), 'hostile.onnx');
  writeFileSync(file, Buffer.concat([Buffer.from([0x08, 8]), field(7, ...graphFields)]));
  return file;
}

describe('the memory and time for a file made to hurt are bounded', () => {
  test.each([
    ['empty nodes', () => [repeated(4e6, 0x0a, 0)]],
    ['nodes of empty inputs', () => [field(1, repeated(2e7, 0x0a, 0))]],
    ['nested value infos', () => [repeated(4e6, 0x6a, 2, 0x12, 0)]],
    ['dims', () => [field(5, repeated(2e7, 0x08, 1))]],
    ['packed dims', () => [field(5, field(1, repeated(2e7, 1)))]],
    ['unknown fields', () => [repeated(1e7, 0xc0, 0x3e, 1)]],
    ['alternating data fields', () => [field(5, repeated(4e6, 0x28, 1, 0x38, 1))]],
    ['a long text', () => [field(10, Buffer.alloc(2e8, 65))]],
    ['a long text that is not UTF-8', () => [field(10, Buffer.alloc(2e8, 0xff))]],
  ])('%s', (_, make) => {
    const { name, message, ms, peak } = readApart(save(...make()));
    expect(name).toBe('InputError');
    expect(message).toMatch(/is too large: its graph without the weights would take more than 512 MiB/);
    expect(peak).toBeLessThan(640 * MIB);
    expect(ms).toBeLessThan(30_000);
  });

  test('strings and varints in bulk stay in the file', () => {
    const strings = field(5, Buffer.from([0x08, 1, 0x10, 8]), repeated(2e7, 0x32, 0));
    const integers = field(5, Buffer.from([0x10, 6]), varint(0x08), varint(4e7), field(5, repeated(4e7, 7)));
    const { tensors, peak } = readApart(save(strings, integers));
    expect(tensors).toBe(0);
    expect(peak).toBeLessThan(100 * MIB);
  });

  test('one tensor in 80,000 pieces is read and written in linear time', () => {
    const piece = field(5, field(5, repeated(1100, 7)));
    const pieces = Buffer.concat(Array.from({ length: 80_000 }, () => piece));
    const node = field(1, Buffer.from([0x22, 1, 0x58]), field(5, Buffer.from([0x0a, 1, 0x61]), pieces));
    const file = save(node);
    const { name, ms, peak } = readApart(file, `await writeModel(model, args[0] + '.out');`);
    expect(name).toBeUndefined();
    expect(ms).toBeLessThan(30_000);
    expect(peak).toBeLessThan(256 * MIB);
    const written = readFileSync(`${file}.out`);
    expect(written.includes(repeated(1100, 7))).toBe(true);
  });

  test('a name of 30 MB takes a few times its size', () => {
    const name = Buffer.alloc(30e6, 'n');
    const node = field(1, field(1, name), field(2, name), field(3, name));
    const file = save(node, field(11, field(1, name)));
    const { name: error, peak } = readApart(file, `await writeModel(model, args[0] + '.out');`);
    expect(error).toBeUndefined();
    expect(peak).toBeLessThan(400 * MIB);
    expect(readFileSync(`${file}.out`).equals(readFileSync(file))).toBe(true);
  });

  test('endless nesting', () => {
    let nested: Buffer = Buffer.alloc(0);
    for (let depth = 0; depth < 2000; depth++) nested = field(1, field(5, field(6, nested)));
    expect(readApart(save(nested))).toMatchObject({
      name: 'InputError',
      message: expect.stringMatching(/nest more than 100 deep/),
    });
    const groups = repeated(5e6, 0xc3, 0x3e);
    expect(readApart(save(groups))).toMatchObject({
      name: 'InputError',
      message: expect.stringMatching(/groups nest/),
    });
  });

  test.each([
    ['a length beyond 2^63', Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])],
    ['a varint without an end', repeated(100, 0xff)],
    ['a field number of 0', Buffer.from([0x02, 0])],
    ['a group that never began', Buffer.from([0xc4, 0x3e])],
  ])('%s', (_, bytes) => {
    expect(readApart(save(bytes))).toMatchObject({
      name: 'InputError',
      message: expect.stringMatching(/^The model [^\n]*\.$/),
    });
  });
});

describe('the size of a model does not matter', () => {
  /** A MatMul with side × side weights: in the graph file (sparse, so that it takes no disk), or beside it. */
  function large(inside: boolean, side = 21_760): string {
    const folder = temp();
    const bytes = side * side * 4;
    const empty = inside
      ? tensor('W', 1, [side, side], {})
      : external('W', 1, [side, side], { location: 'm.data', length: bytes });
    const proto = model(
      graph({
        nodes: [node('MatMul', ['x', 'W'], ['y'])],
        inputs: [value('x', [1, side])],
        outputs: [value('y', [1, side])],
        initializers: inside ? [] : [empty],
      }),
    );
    const file = saveModel(folder, proto);
    if (!inside) {
      sparseFile(path.join(folder, 'm.data'), bytes);
      return file;
    }
    // A second `graph` field merges with the first, as protobuf has it: here it brings the initializer.
    const dims = Buffer.concat([Buffer.from([0x08]), varint(side), Buffer.from([0x08]), varint(side)]);
    const head = Buffer.concat([dims, Buffer.from([0x10, 1, 0x42, 1, 0x57, 0x4a]), varint(bytes)]);
    const tensorHead = Buffer.concat([Buffer.from([0x2a]), varint(head.length + bytes)]);
    const graphHead = Buffer.concat([Buffer.from([0x3a]), varint(tensorHead.length + head.length + bytes)]);
    const before = saveModel(folder, model(graph({ nodes: [], outputs: [] })), 'head.onnx');
    const start = Buffer.concat([Buffer.from([0x08, 8, 0x42, 2, 0x10, 17]), graphHead, tensorHead, head]);
    sparseFile(before, start.length + bytes, [{ offset: 0, bytes: start }]);
    return before;
  }

  test('a single file of 1.9 GB takes no more memory than a pair, and less than 100 MiB', () => {
    const pair = readApart(large(false));
    const single = readApart(large(true));
    expect([pair.tensors, single.tensors]).toEqual([1, 1]);
    expect(single.peak).toBeLessThan(100 * MIB);
    expect(single.peak).toBeLessThan(pair.peak * 1.1);
    expect(single.ms).toBeLessThan(10_000);
  });

  test('writing takes no more either', () => {
    const file = large(true, 8192);
    const then = `await writeModel(model, args[0] + '.out.onnx', { external: 'always' });`;
    const { message, peak } = readApart(file, then);
    expect(message).toBeUndefined();
    expect(peak).toBeLessThan(100 * MIB);
  });
});

test('the memory of a small model is that of Node.js', () => {
  const proto = model(
    graph({ nodes: [node('Relu', ['W'], ['y'])], outputs: [value('y', [1])], initializers: [floats('W', [1], [1])] }),
  );
  expect(readApart(saveModel(temp(), proto)).peak).toBeLessThan(80 * MIB);
});
