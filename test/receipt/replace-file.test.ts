import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { replaceFile } from '../../src/receipt/index.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();

test('what a killed writer left is removed by the next write, what a living one writes is not', async () => {
  const folder = temp();
  const gone = spawnSync(process.execPath, ['--eval', '']).pid;
  const others = [`r.json.${process.pid}.00112233.tmp`, 'r.json.tmp', `s.json.${gone}.00112233.tmp`];
  for (const name of [...others, `r.json.${gone}.00112233.tmp`]) writeFileSync(path.join(folder, name), 'half');
  await replaceFile(path.join(folder, 'r.json'), 'whole');
  expect(readFileSync(path.join(folder, 'r.json'), 'utf8')).toBe('whole');
  expect(readdirSync(folder).sort()).toEqual(['r.json', ...others].sort());
});
