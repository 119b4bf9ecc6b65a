import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test, vi } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { readModel, writeModel } from '../../src/model/index.ts';
import { realModels } from '../support/real-models.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const faults = vi.hoisted(() => ({ countdown: Number.POSITIVE_INFINITY, call: '' }));

/** Disks report some errors only when told to sync, which no file system does on demand: the calls are made to fail. */
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>();
  const failing = <A extends unknown[], R>(call: string, real: (...args: A) => R) => {
    return (...args: A): R => {
      if (faults.call === call && --faults.countdown < 0) {
        throw Object.assign(new Error(`ENOSPC: no space left on device, ${call}`), { code: 'ENOSPC', syscall: call });
      }
      return real(...args);
    };
  };
  return {
    ...fs,
    fsyncSync: failing('fsync', fs.fsyncSync),
    renameSync: failing('rename', fs.renameSync),
    writeSync: failing('write', fs.writeSync as (...args: unknown[]) => number),
  };
});

test.each([
  ['fsync', 0],
  ['fsync', 1],
  ['fsync', 2],
  ['rename', 0],
  ['rename', 1],
  ['write', 0],
  ['write', 10],
])('when %s fails (call %d) the old model stays and nothing else', async (call, nth) => {
  const folder = temp();
  const output = path.join(folder, 'm.onnx');
  await writeModel(await readModel(realModels.speech16k), output, { external: 'always' });
  const before = readFileSync(output);
  const other = await readModel(realModels.speechHalf);
  Object.assign(faults, { call, countdown: nth });
  try {
    const writing = writeModel(other, output, { external: 'always' });
    await expect(writing).rejects.toBeInstanceOf(InputError);
    await expect(writing).rejects.toThrow(/does not fit on its disk/);
  } finally {
    faults.call = '';
  }
  expect(readFileSync(output).equals(before)).toBe(true);
  expect(readdirSync(folder).sort()).toEqual(['m.onnx', 'm.onnx.data']);
  await readModel(output);
});
