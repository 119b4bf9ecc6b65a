import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdirSync, readdirSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test, vi } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { digestFiles, modelFiles, readModel, writeModel } from '../../src/model/index.ts';
import { quantize } from '../../src/quantize/index.ts';
import type { Progress } from '../../src/receipt/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { scriptArguments } from '../support/child.ts';
import { floats, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { ortRun } from '../support/ort-run.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
afterEach(() => {
  vi.restoreAllMocks();
});

/** FAULT_KILLS=2000 kills for longer. */
const KILLS = Number(process.env.FAULT_KILLS ?? 200);
const SIDE = 256;

/** A model with external weights made from `seed`, in a folder of its own. */
async function source(seed: number): Promise<string> {
  const main = graph({
    nodes: [node('MatMul', ['x', 'W'], ['y'], {}, { name: 'matmul' })],
    inputs: [value('x', [1, SIDE])],
    outputs: [value('y', [1, SIDE])],
    initializers: [floats('W', [SIDE, SIDE], seeded(seed).floats(SIDE * SIDE))],
  });
  const folder = temp();
  const file = path.join(folder, 'external.onnx');
  await writeModel(await readModel(saveModel(folder, model(main), 'inline.onnx')), file, { external: 'always' });
  return file;
}

/** Root of a model's weights; the graph beside them may name them differently. Throws where the model is not whole. */
async function weightsOf(file: string): Promise<string> {
  const { externalFiles } = await readModel(file);
  return (await digestFiles(externalFiles)).root;
}

/** Runs `quantize` and does something at the first progress of a step. */
function quantizeWith(model: string, output: string, label: string, act: () => void) {
  let done = false;
  const progress = (now: Progress) => {
    if (done || now.label !== label) return;
    done = true;
    act();
  };
  return quantize({ model, output }, { log: { ...silentLog, progress } });
}

test(`killed ${KILLS} times at random moments, the old model or the new one stands, and the next run leaves no litter`, async () => {
  const sources = [await source(1), await source(2)];
  const roots: string[] = [];
  for (const each of sources) {
    const output = path.join(temp(), 'm.onnx');
    await quantize({ model: each, output }, { log: silentLog });
    roots.push(await weightsOf(output));
    await ortRun(output, { x: { dims: [1, SIDE], data: seeded(5).floats(SIDE) } });
  }
  const script = `
    const { quantize } = await import(lib('quantize/index.js'));
    const nothing = () => {};
    const log = { info: nothing, warning: nothing, error: nothing, debug: nothing, progress: nothing };
    console.log('ready');
    for (let turn = Number(args[3]); ; turn++) {
      await quantize({ model: args[turn % 2], output: args[2] }, { log });
      console.log('done');
    }`;
  const seen = new Set<string>();
  const killInFolder = async (lane: number) => {
    const folder = temp();
    const output = path.join(folder, 'm.onnx');
    await quantize({ model: sources[0]!, output }, { log: silentLog });
    const random = seeded(lane);
    // How long a run takes here: kills are spread over a run and the beginning of the next.
    let runMs = 0;
    for (let round = 0; round <= KILLS / 2; round++) {
      const child = spawn(process.execPath, scriptArguments(script, [...sources, output, String(round + 1)]), {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await once(child.stdout!, 'data');
      const started = performance.now();
      if (round === 0) {
        await once(child.stdout!, 'data');
        runMs = performance.now() - started;
      } else await sleep(random.next() * 1.5 * runMs);
      child.kill('SIGKILL');
      await once(child, 'exit');
      const root = await weightsOf(output);
      expect(roots).toContain(root);
      seen.add(root);
    }
    await quantize({ model: sources[1]!, output }, { log: silentLog });
    expect(await weightsOf(output)).toBe(roots[1]);
    const [data] = (await modelFiles(output)).slice(1);
    expect(readdirSync(folder).sort()).toEqual([path.basename(data!), 'm.onnx', 'm.quantize.json'].sort());
  };
  await Promise.all([killInFolder(1), killInFolder(2)]);
  // Otherwise every kill came too early or too late to prove anything.
  expect(seen.size).toBe(2);
}, 600_000);

test.each(['Reading weights', 'Writing weights'])('a source that changes during "%s" is noticed', async (label) => {
  const model = await source(1);
  const folder = temp();
  const output = path.join(folder, 'm.onnx');
  const running = quantizeWith(model, output, label, () => appendFileSync(`${model}.data`, 'x'));
  await expect(running).rejects.toBeInstanceOf(InputError);
  await expect(running).rejects.toThrow(/was changed while it was read/);
  expect(readdirSync(folder)).toEqual([]);
});

test('of two runs on one output the second says who is writing, and the first is not disturbed', async () => {
  const model = await source(1);
  const output = path.join(temp(), 'm.onnx');
  let second: Promise<unknown> | undefined;
  await quantizeWith(model, output, 'Reading weights', () => {
    second = quantize({ model, output }, { log: silentLog }).catch((error) => error);
  });
  const refused = await second;
  expect(refused).toBeInstanceOf(InputError);
  expect(String(refused)).toContain(`process ${process.pid}`);
  await ortRun(output, { x: { dims: [1, SIDE], data: seeded(5).floats(SIDE) } });
  expect(readdirSync(path.dirname(output)).sort()).toEqual(['m.onnx', 'm.onnx.data', 'm.quantize.json']);
});

test('a disk that is full when synced keeps the old model and leaves nothing', async () => {
  const [old, other] = [await source(1), await source(2)];
  const folder = temp();
  const output = path.join(folder, 'm.onnx');
  await quantize({ model: old, output }, { log: silentLog });
  const root = await weightsOf(output);
  const before = readdirSync(folder);
  const handle = await open(old);
  const prototype = Object.getPrototypeOf(handle) as FileHandle;
  await handle.close();
  vi.spyOn(prototype, 'sync').mockRejectedValue(
    Object.assign(new Error('ENOSPC: no space left on device, fsync'), { code: 'ENOSPC', syscall: 'fsync' }),
  );
  const running = quantize({ model: other, output }, { log: silentLog });
  await expect(running).rejects.toBeInstanceOf(InputError);
  await expect(running).rejects.toThrow(/does not fit on its disk/);
  expect(await weightsOf(output)).toBe(root);
  expect(readdirSync(folder)).toEqual(before);
});

test('a full disk and a read-only one are one sentence each, and nothing is left', async (context) => {
  const folder = path.join(temp(), 'small');
  mkdirSync(folder);
  const mount = (...options: string[]) => spawnSync('mount', ['-t', 'tmpfs', ...options, 'tmpfs', folder]).status === 0;
  // The quantized weights take 64 KiB.
  if (!mount('-o', 'size=32k')) return context.skip('mounting a tmpfs needs root on Linux');
  try {
    const model = await source(1);
    const run = () => quantize({ model, output: path.join(folder, 'm.onnx') }, { log: silentLog });
    const full = run();
    await expect(full).rejects.toBeInstanceOf(InputError);
    await expect(full).rejects.toThrow(/does not fit on its disk/);
    expect(readdirSync(folder)).toEqual([]);
    expect(mount('-o', 'remount,ro')).toBe(true);
    const readOnly = run();
    await expect(readOnly).rejects.toBeInstanceOf(InputError);
    await expect(readOnly).rejects.toThrow(/read-only/);
  } finally {
    spawnSync('umount', [folder]);
  }
});
