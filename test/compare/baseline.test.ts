import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { openBaseline } from '../../src/compare/baseline.ts';
import { digestFile } from '../../src/model/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const shape = { samples: 1, outputs: ['y'] };
const key = { reference: 'a'.repeat(64), samples: 'b'.repeat(64), ort: '1.30.0', provider: 'cpu' };

/** A stored baseline whose description is `change`d. */
async function stored(
  change: (file: Record<string, unknown>, output: Record<string, unknown>) => void,
): Promise<string> {
  const directory = temp();
  const text = JSON.stringify([key.reference, key.samples, key.ort, key.provider]);
  const folder = path.join(directory, createHash('sha256').update(text).digest('hex').slice(0, 32));
  mkdirSync(folder);
  for (const place of [folder, directory]) writeFileSync(path.join(place, 'y.bin'), 'abcd');
  const { root } = await digestFile(path.join(folder, 'y.bin'));
  const output: Record<string, unknown> = { name: 'y', dtype: 'float32', dims: [1], length: 4, file: 'y.bin', root };
  const file: Record<string, unknown> = { schema: 1, key, outputs: [[output]], timings: [], figures: null };
  change(file, output);
  writeFileSync(path.join(folder, 'baseline.json'), JSON.stringify(file));
  return directory;
}

it('is used where it is what this tool stored', async () => {
  const baseline = await openBaseline(await stored(() => undefined), key, shape, silentLog);
  expect(baseline.outputs).toHaveLength(1);
});

it.each<[string, Parameters<typeof stored>[0]]>([
  ['names a file outside its folder', (_, output) => Object.assign(output, { file: '../y.bin' })],
  ['names a file by an absolute path', (_, output) => Object.assign(output, { file: '/etc/passwd' })],
  ['is about another reference', (file) => Object.assign(file, { key: { ...key, reference: 'c'.repeat(64) } })],
  ['has outputs of fewer samples', (file) => Object.assign(file, { outputs: [] })],
  ['lacks an output', (file) => Object.assign(file, { outputs: [[]] })],
  ['has an output of another name', (_, output) => Object.assign(output, { name: 'z' })],
  ['has fewer bytes than it says', (_, output) => Object.assign(output, { length: 1 })],
  ['has outputs of another type', (file) => Object.assign(file, { outputs: [[null]] })],
  ['has times of another type', (file) => Object.assign(file, { timings: [{ cpu: 'x' }] })],
  ['has figures of another type', (file) => Object.assign(file, { figures: { figures: 3 } })],
])('is as good as none where it %s', async (_, change) => {
  const baseline = await openBaseline(await stored(change), key, shape, silentLog);
  expect(baseline).toMatchObject({ outputs: null, timings: [], figures: null });
});
