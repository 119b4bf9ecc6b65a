import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { quantize } from '../../src/quantize/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { type OrtFeed, ortRun } from '../support/ort-run.ts';
import { useTemp } from '../support/temp.ts';

interface Demo {
  sentences: string[];
  questions: string[];
  tokensOf(sentence: string): OrtFeed;
  nearest(embedding: ArrayLike<number>, known: ArrayLike<number>[]): string;
  writeTransformer(file: string): void;
}

const folder = useTemp();
const demo = fileURLToPath(new URL('../../examples/demo/transformer.mjs', import.meta.url));

test('the transformer of the demo finds the sentence that is meant, in 32 and in 8 bits', async () => {
  const { sentences, questions, tokensOf, nearest, writeTransformer }: Demo = await import(pathToFileURL(demo).href);
  const model = path.join(folder(), 'sentences.onnx');
  writeTransformer(model);
  const { model: int8 } = await quantize({ model }, { log: silentLog });
  for (const file of [model, int8]) {
    const embed = async (sentence: string) =>
      (await ortRun(file, { tokens: tokensOf(sentence) })).embedding!.data as Float32Array;
    const known: Float32Array[] = [];
    for (const sentence of sentences) known.push(await embed(sentence));
    const found: string[] = [];
    for (const question of questions) found.push(nearest(await embed(question), known));
    expect(found[0]).toContain('Turn the kitchen lights off.');
    expect(found[1]).toContain('What will the weather be in Madrid tomorrow?');
  }
});
