import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { createManifest } from '../../src/checksum/index.ts';
import { DataType, digestFiles, modelFiles } from '../../src/model/index.ts';
import { quantize } from '../../src/quantize/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { external, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const SIDE = 32;

/** Two weights of different values in files of these names. */
function save(folder: string, first: string, second: string): string {
  mkdirSync(path.join(folder, 'd'), { recursive: true });
  for (const [index, name] of [first, second].entries()) {
    const values = seeded(index + 1).floats(SIDE * SIDE, 1);
    writeFileSync(path.join(folder, name), Buffer.from(values.buffer, values.byteOffset, values.byteLength));
  }
  return saveModel(
    folder,
    model(
      graph({
        nodes: [node('MatMul', ['x', 'A'], ['h']), node('MatMul', ['h', 'B'], ['y'])],
        inputs: [value('x', [1, SIDE])],
        outputs: [value('y', [1, SIDE])],
        initializers: [
          external('A', DataType.FLOAT, [SIDE, SIDE], { location: first }),
          external('B', DataType.FLOAT, [SIDE, SIDE], { location: second }),
        ],
      }),
    ),
  );
}

// On Windows both are one file.
test.skipIf(path.sep !== '/')(
  '`d/x` and `d\\x` are two files, with the weights of each and a place in the root',
  async () => {
    const folder = temp();
    const odd = save(folder, 'd/x', 'd\\x');
    const files = await modelFiles(odd);
    expect(files.map((file) => path.relative(folder, file))).toEqual(['model.onnx', 'd/x', 'd\\x']);
    const { root } = await digestFiles(files);
    const plain = save(temp(), 'd/x', 'd/y');
    const bytesOf = async (source: string) =>
      readFileSync((await quantize({ model: source, report: temp() }, { log: silentLog })).model);
    expect(await bytesOf(odd)).toEqual(await bytesOf(plain));

    const other = path.join(folder, 'd\\x');
    const bytes = readFileSync(other);
    bytes[5]! ^= 1;
    writeFileSync(other, bytes);
    expect((await digestFiles(await modelFiles(odd))).root).not.toBe(root);
    // A manifest cannot name it, since it would mean the other file on Windows.
    const manifest = path.join(folder, 'SHA256SUMS');
    await expect(createManifest({ path: [odd], manifest }, { log: silentLog })).rejects.toThrow(/a backslash/);
  },
);
