import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { ModelProtoSchema } from '../../src/model/index.ts';
import { quantize } from '../../src/quantize/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { saveModel } from '../support/onnx-builder.ts';
import { useTemp } from '../support/temp.ts';
import { type Recorded, recordOf } from './golden/canonical.ts';

const temp = useTemp();
const folder = path.join(import.meta.dirname, 'golden');
const golden: { models: Record<string, Record<string, Recorded>> } = JSON.parse(
  readFileSync(path.join(folder, 'blocks.json'), 'utf8'),
);

async function quantized(name: string, label: string): Promise<Recorded> {
  const [bits, , block, symmetry, format] = label.split(' ');
  const output = path.join(temp(), 'quantized.onnx');
  const model = fromBinary(ModelProtoSchema, readFileSync(path.join(folder, 'models', `${name}.onnx`)));
  // 1.32 writes operator set 21 whatever the model; here a model has to be of it for DequantizeLinear with blocks.
  if (format) model.opsetImport.find(({ domain }) => domain === '')!.version = 21n;
  await quantize(
    {
      model: saveModel(temp(), model),
      output,
      report: path.dirname(output),
      method: 'weight-only',
      bits: bits === '4' ? 4 : 8,
      blockSize: Number(block),
      weightSymmetric: symmetry === 'symmetric',
      opTypes: bits === '4' && !format ? ['MatMul', 'Gather'] : ['MatMul'],
      ...(format ? { quantFormat: 'qdq' } : {}),
      threads: 1,
    },
    { log: silentLog },
  );
  return recordOf(fromBinary(ModelProtoSchema, readFileSync(output)));
}

/**
 * GatherBlockQuantized takes 4-bit tensors of ONNX or bytes. Bytes need no IR version of their own and serve a head
 * that is tied to the table; 1.32 writes 4-bit tensors, signed ones where symmetric: the same values in other bytes.
 */
const TABLES = /^blocks-gather$/;

const cases = Object.entries(golden.models)
  .flatMap(([name, recorded]) => Object.entries(recorded).map(([label, expected]) => ({ name, label, expected })))
  // A weight with more axes is stored in 8 bits: its product would have to get the axes back.
  .filter(({ name, label }) => !(name === 'blocks-leading-ones' && label.endsWith('qdq')));

describe("parity with onnxruntime 1.32's block-wise quantizer", () => {
  it.each(cases)('$name, $label', async ({ name, label, expected }) => {
    const made = await quantized(name, label);
    if (label.endsWith('qdq')) {
      // Weights that are too small to gain from it stay as they are.
      const stored = Object.entries(made.tensors).filter(([tensor]) => tensor.includes('_DQ_'));
      expect(stored.length).toBeGreaterThan(0);
      expect(expected.tensors).toMatchObject(Object.fromEntries(stored));
      return;
    }
    expect(made.operators).toEqual(expected.operators);
    const ofTables = (tensor: string) => TABLES.test(name) && /^[EF]_(Q4|zero_points)$/.test(tensor);
    const comparable = (tensors: Recorded['tensors']) =>
      Object.fromEntries(Object.entries(tensors).filter(([tensor]) => !ofTables(tensor)));
    expect(comparable(made.tensors)).toEqual(comparable(expected.tensors));
    if (!label.startsWith('4') || !label.endsWith(' asymmetric')) return;
    const digestOf = (key: string | undefined) => key?.split(' ').at(-1);
    for (const [tensor, key] of Object.entries(expected.tensors).filter(([each]) => ofTables(each))) {
      // An odd number of them ends within a byte: there the next row goes on in it, here it begins with the next.
      if (/^21 \[\d+,\d*[13579]\]/.test(key)) continue;
      expect(digestOf(made.tensors[tensor]), tensor).toBe(digestOf(key));
    }
  });
});
