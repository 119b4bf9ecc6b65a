import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { saveModel } from '../support/onnx-builder.ts';
import { runCli } from '../support/program.ts';
import { realModels } from '../support/real-models.ts';
import { useTemp } from '../support/temp.ts';
import { brought, save, unguessable } from './models.ts';

const temp = useTemp();

/** Runs the chain with nothing but a model, and returns what its receipts say. */
async function chain(folder: string, model: string, flags: string[] = []) {
  const { code, stdout, stderr } = await runCli(['pipeline', '--model', model, ...flags], folder);
  const outputs = Object.fromEntries(
    [...stdout.matchAll(/^([\w-]+) {2,}(.*)$/gm)].map(([, name, text]) => [name, text]),
  );
  expect(stderr, stderr).not.toContain('dims');
  const receipt = (action: string) =>
    JSON.parse(
      readFileSync(path.join(folder, 'report', `${path.basename(outputs.model!, '.onnx')}.${action}.json`), 'utf8'),
    );
  return { code, outputs, stderr, validated: receipt('validate').results, compared: receipt('compare').results };
}

describe('the chain with --model alone reaches a verdict', () => {
  for (const each of brought) {
    it(`for ${each.what}`, async () => {
      const folder = temp();
      const { outputs, stderr, validated, compared } = await chain(folder, path.basename(save(folder, each)));
      expect(outputs.verdict, stderr).toMatch(/^(pass|fail|inconclusive)$/);
      expect(compared.similarity).toBeGreaterThan(0.9);
      // What was guessed is in both receipts, and the same: it was settled once.
      expect(compared.samples.notes).toEqual(validated.samples.notes);
      for (const [name, size] of Object.entries(each.sizes)) {
        expect(compared.samples.notes.join('\n')).toContain(`${name}=${size}`);
      }
      expect(stderr).toContain(compared.samples.notes[0]);
    });
  }

  for (const [name, file] of Object.entries(realModels)) {
    it(`for ${name}, a published model`, async () => {
      const folder = temp();
      copyFileSync(file, path.join(folder, 'model.onnx'));
      const { outputs, stderr, compared } = await chain(folder, 'model.onnx');
      expect(outputs.verdict, stderr).toMatch(/^(pass|fail|inconclusive)$/);
      expect(compared.similarity).toBeGreaterThan(0.9);
    });
  }

  const detector = brought.find(({ sizes }) => 'x.2' in sizes)!;
  it.each([
    ['static, on inputs of the sizes that were guessed', ['--method', 'static', '--calibration-data', 'generated']],
    ['static, on given ones', ['--method', 'static', '--calibration-data', 'images.json']],
    ['auto', ['--method', 'auto', '--search-seconds', '20']],
  ])('by method %s', async (_, flags) => {
    const folder = temp();
    const model = path.basename(save(folder, detector));
    const image = (value: number) => ({ x: { dims: [1, 3, 128, 128], data: new Array(3 * 128 * 128).fill(value) } });
    writeFileSync(path.join(folder, 'images.json'), JSON.stringify([image(0.5), image(1)]));
    const { outputs, stderr, compared } = await chain(folder, model, flags);
    expect(outputs.verdict, stderr).toMatch(/^(pass|fail|inconclusive)$/);
    expect(compared.samples.notes.join('\n')).toContain('x.2=384');
    // Said once, by whoever found out.
    expect(stderr.split('The inputs are made: x [1,3,384,384]')).toHaveLength(flags.includes('generated') ? 3 : 2);
  });

  it('or asks before anything is quantized', async () => {
    const folder = temp();
    saveModel(folder, unguessable());
    const { code, stderr } = await runCli(['pipeline', '--model', 'model.onnx'], folder);
    expect(code).toBe(1);
    expect(stderr).toContain('Say what it takes: --dims "width=<size>", or bring --samples "<file>".');
    expect(stderr).not.toContain('── quantize');
  });
});
