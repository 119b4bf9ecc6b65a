import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { DataType, indexGraphs, readModel } from '../../src/model/index.ts';
import { plan as planOf, type QuantizeOptions, type QuantizeResults, quantize } from '../../src/quantize/index.ts';
import { readReceipt } from '../../src/receipt/index.ts';
import { useTemp } from '../support/temp.ts';
import { realModels } from './real-models.ts';

const temp = useTemp();
const golden = path.join(import.meta.dirname, 'golden', 'models');
const models = [
  ...readdirSync(golden).map((name) => ({ name, file: path.join(golden, name) })),
  ...realModels.map(({ name, file }) => ({ name, file })),
];
const OPERATORS = ['Attention', 'Conv', 'EmbedLayerNormalization', 'Gather', 'Gemm', 'LSTM', 'MatMul', 'Transpose'];
const ways: Omit<QuantizeOptions, 'model'>[] = [
  { method: 'dynamic', opTypes: OPERATORS },
  { method: 'dynamic', opTypes: OPERATORS, perChannel: false, weightType: 'uint8' },
  { method: 'weight-only', allowNothing: true },
  { method: 'weight-only', bits: 4, allowNothing: true },
  { method: 'fp16', allowNothing: true },
];

/** FLOAT constants by name, and the bytes of all that hold weights: FLOAT, and the 8-bit and 16-bit ones of `made`. */
async function weightsIn(file: string, known: ReadonlySet<string> = new Set()) {
  const { scopes } = indexGraphs(await readModel(file));
  const constants = scopes.flatMap(({ constants: own, path: place }) =>
    [...own.values()].map((constant) => ({ ...constant, place })),
  );
  // Raising the operator set turns attributes (the bounds of Clip) into constants, which are no weights.
  const counts = ({ name, place }: { name: string; place: string }) =>
    known.size === 0 || known.has(`${place} ${name}`) || /_(scale|zero_point)s?(_\d+)?(_broadcast)?(_\d+)?$/.test(name);
  const float = constants.filter((each) => each.dtype === DataType.FLOAT && counts(each));
  const made = constants.filter(({ dtype, name, place }) => dtype !== DataType.FLOAT && !known.has(`${place} ${name}`));
  const bytes = (list: typeof constants) => list.reduce((sum, { ref }) => sum + (ref?.length ?? 0), 0);
  return {
    bytes: bytes(float) + bytes(made.filter(({ dtype }) => [2, 3, 10].includes(dtype))),
    float: bytes(float),
    all: new Set(constants.map(({ place, name }) => `${place} ${name}`)),
  };
}

describe('what the plan claims, rebuilt from the written file', () => {
  for (const way of ways) {
    it.each(models)(`$name, ${way.method} ${way.weightType ?? ''}${way.bits ?? ''}`, async ({ file }) => {
      const folder = temp();
      const output = path.join(folder, 'out.onnx');
      const { plan, report } = await quantize({ model: file, output, sourceDigest: false, ...way });
      const source = await weightsIn(file);
      const written = await weightsIn(output, source.all);
      expect(plan.weights.before).toBe(source.float);
      expect(plan.weights.after).toBe(written.bytes);
      const { weights, resultBytes } = (await readReceipt(report)).results as unknown as QuantizeResults;
      expect(weights).toEqual(plan.weights);
      expect(resultBytes).toBe(statSync(output).size);
      expect(plan.disk).toBe(resultBytes);
      const alone = planOf(await readModel(file), { ...way, output });
      expect(Math.abs(alone.disk - resultBytes)).toBeLessThanOrEqual(128 * (plan.nodesQuantized + 1));
      const dry = await quantize({ model: file, output: path.join(folder, 'dry.onnx'), dryRun: true, ...way });
      expect({ ...dry.plan, output: '' }).toEqual({ ...plan, output: '' });
      expect(readdirSync(folder).filter((name) => name.startsWith('dry'))).toEqual([]);
    });
  }
});
