import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { takeLock } from '../../src/lock.ts';
import { DataType, openOutput, readModel, writeModel } from '../../src/model/index.ts';
import { jsonOf, scriptArguments } from '../support/child.ts';
import { external, floats, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { ortRun } from '../support/ort-run.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';

const temp = useTemp();
const size = 64;

/** The path of a model whose weights come from `seed`. */
function source(seed: number, folder = temp()): string {
  const main = graph({
    nodes: [node('MatMul', ['x', 'W'], ['y'])],
    inputs: [value('x', [1, size])],
    outputs: [value('y', [1, size])],
    initializers: [floats('W', [size, size], seeded(seed).floats(size * size))],
  });
  return saveModel(folder, model(main), `source${seed}.onnx`);
}

async function write(from: string, output: string, external: 'always' | 'never' = 'always') {
  return writeModel(await readModel(from), output, { external });
}

async function outputOf(file: string): Promise<number[]> {
  return [...(await ortRun(file, { x: { dims: [1, size], data: seeded(5).floats(size) } })).y!.data].map(Number);
}

test('other weights go to a name of their own, the old ones are removed, and a rerun gives the same files', async () => {
  const folder = temp();
  const output = path.join(folder, 'm.onnx');
  await write(source(1), output);
  expect(readdirSync(folder).sort()).toEqual(['m.onnx', 'm.onnx.data']);

  const replaced = await write(source(2), output);
  const name = path.basename(replaced.files[1]!.path);
  expect(name).toBe(`m.onnx.${replaced.files[1]!.root.slice(0, 8)}.data`);
  expect(readdirSync(folder).sort()).toEqual(['m.onnx', name].sort());
  expect(await outputOf(output)).toEqual(await outputOf(source(2)));

  expect(await write(source(2), output)).toEqual(replaced);
  expect(readdirSync(folder).sort()).toEqual(['m.onnx', name].sort());

  await write(source(1), output);
  expect(readdirSync(folder).sort()).toEqual(['m.onnx', 'm.onnx.data']);
  await write(source(1), output, 'never');
  expect(readdirSync(folder)).toEqual(['m.onnx']);
});

test('weights that a renamed model still uses stay', async () => {
  const folder = temp();
  const output = path.join(folder, 'm.onnx');
  await write(source(1), output);
  renameSync(output, path.join(folder, 'production.onnx'));
  await write(source(2), output);
  expect(await outputOf(path.join(folder, 'production.onnx'))).toEqual(await outputOf(source(1)));
  expect(await outputOf(output)).toEqual(await outputOf(source(2)));
  await write(source(3), output);
  expect(readdirSync(folder)).toHaveLength(4);
});

test.each(['above', 'above, through a link to the folder', 'beside, through a link to the data'])(
  'weights that a model uses from %s stay',
  async (from) => {
    const above = temp();
    const folder = path.join(above, 'deep/er');
    mkdirSync(folder, { recursive: true });
    const output = path.join(folder, 'm.onnx');
    await write(source(1), output);
    let [user, location] = [path.join(above, 'all.onnx.bak'), 'deep/er/m.onnx.data'];
    if (from.includes('to the folder')) {
      symlinkSync(folder, path.join(above, 'current'), 'junction');
      location = 'current/m.onnx.data';
    }
    if (from.includes('to the data')) {
      symlinkSync('m.onnx.data', path.join(folder, 'linked.bin'));
      [user, location] = [path.join(folder, 'user.onnx'), 'linked.bin'];
    }
    const weights = external('W', DataType.FLOAT, [size, size], { location, offset: 0, length: 4 * size * size });
    const parts = {
      nodes: [node('MatMul', ['x', 'W'], ['y'])],
      inputs: [value('x', [1, size])],
      outputs: [value('y', [1, size])],
      initializers: [weights],
    };
    saveModel(path.dirname(user), model(graph(parts)), path.basename(user));
    const before = readFileSync(path.join(folder, 'm.onnx.data'));
    for (const seed of [2, 3, 1]) await write(source(seed), output);
    expect(readFileSync(path.join(folder, 'm.onnx.data'))).toEqual(before);
    rmSync(user);
    await write(source(2), output);
    expect(readdirSync(folder).filter((name) => /^m\.onnx.*data$/.test(name))).toHaveLength(1);
  },
);

test('what a killed run left is removed by the next, and nothing else', async () => {
  const folder = temp();
  const output = path.join(folder, 'm.onnx');
  await write(source(1), output);
  const litter = [
    '.m.onnx.0123456789ab.graph.tmp',
    '.m.onnx.0123456789ab.data.tmp',
    'm.onnx.0badcafe.data',
    // Of another output, which may never be written again.
    '.o.onnx.0123456789ab.data.tmp',
    '.o.onnx.lock.0123456789ab.tmp',
  ];
  // n.onnx is being written right now.
  const others = ['.n.onnx.0123456789ab.graph.tmp', 'm.onnx.backup.data', 'n.onnx.0badcafe.data', 'm.onnx.tmp'];
  const writing = takeLock(path.join(folder, '.n.onnx.lock'), { what: 'n.onnx' });
  for (const name of [...litter, ...others]) writeFileSync(path.join(folder, name), 'x');
  const dead = { token: 'aaaaaaaaaaaa', host: hostname(), pid: process.pid, started: '1' };
  for (const name of ['.m.onnx.lock', '.o.onnx.lock']) writeFileSync(path.join(folder, name), JSON.stringify(dead));
  await write(source(2), output);
  writing.assertHeld();
  writing.release();
  const left = readdirSync(folder);
  expect(left).toEqual(expect.arrayContaining(others));
  expect(left.filter((name) => !others.includes(name))).toHaveLength(2);
});

test('a second run on the same output says who is writing', async () => {
  const folder = temp();
  const output = path.join(folder, 'm.onnx');
  const first = openOutput(output);
  expect(() => openOutput(output)).toThrow(`process ${process.pid}`);
  expect(() => openOutput(output)).toThrow(InputError);
  openOutput(path.join(folder, 'other.onnx')).abort();
  first.abort();
  expect(readdirSync(folder)).toEqual([]);
  openOutput(output).abort();
});

test.each([
  ['a process that is gone', { host: hostname(), pid: 2 ** 22 + 1, started: null }, true],
  ['an earlier process with the same id', { host: hostname(), pid: process.pid, started: '1' }, true],
  ['another machine', { host: 'elsewhere', pid: 1, started: '1' }, false],
])('the lock of %s', async (_, owner, taken) => {
  const folder = temp();
  const lock = path.join(folder, '.m.onnx.lock');
  writeFileSync(lock, JSON.stringify({ token: 'aaaaaaaaaaaa', ...owner }));
  const open = () => openOutput(path.join(folder, 'm.onnx')).abort();
  if (taken) expect(open).not.toThrow();
  else expect(open).toThrow(/process 1 on elsewhere/);
  expect(existsSync(lock)).toBe(!taken);
});

test('a run whose lock was taken over does not commit', async () => {
  const folder = temp();
  const output = openOutput(path.join(folder, 'm.onnx'));
  writeFileSync(output.graphPath, 'x');
  const other = { token: 'bbbbbbbbbbbb', host: hostname(), pid: process.pid, started: null };
  writeFileSync(path.join(folder, '.m.onnx.lock'), JSON.stringify(other));
  expect(() => output.commit(undefined)).toThrow(/took over/);
  expect(readdirSync(folder)).toEqual(['.m.onnx.lock']);
});

test('killed at any moment, the old model or the new one stands, and the next run leaves no litter', async () => {
  const folder = temp();
  const output = path.join(folder, 'm.onnx');
  const sources = [source(1), source(2)];
  const expected = [await outputOf(sources[0]!), await outputOf(sources[1]!)];
  await write(sources[0]!, output);
  const script = `
    const { readModel, writeModel } = await import(lib('model/index.js'));
    const models = [await readModel(args[0]), await readModel(args[1])];
    console.log('ready');
    for (let turn = 1; ; turn++) await writeModel(models[turn % 2], args[2], { external: 'always' });`;
  const random = seeded(11);
  for (let round = 0; round < 12; round++) {
    const child = spawn(process.execPath, scriptArguments(script, [...sources, output]), {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout!, 'data');
    await new Promise((resolve) => setTimeout(resolve, random.next() * 40));
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(expected).toContainEqual(await outputOf(output));
  }
  await write(sources[1]!, output);
  expect(readdirSync(folder)).toHaveLength(2);
});

test('of several runs at once each writes its model or says who is writing', async () => {
  const folder = temp();
  const output = path.join(folder, 'm.onnx');
  const script = `
    const { readModel, writeModel } = await import(lib('model/index.js'));
    const model = await readModel(args[0]);
    const said = [];
    for (let turn = 0; turn < 10; turn++) {
      await writeModel(model, args[1], { external: 'always' }).then(() => said.push('written'), (error) => said.push(error.name + ': ' + error.message));
    }
    console.log(JSON.stringify(said));`;
  const runs = [1, 2, 3, 4].map(async (seed) => {
    const child = spawn(process.execPath, scriptArguments(script, [source(seed), output]), {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    return JSON.parse((await child.stdout!.toArray()).join('')) as string[];
  });
  const said = (await Promise.all(runs)).flat();
  expect(said).toContain('written');
  for (const each of said) expect(each).toMatch(/^written$|^InputError: Another run .*\.$/);
  const expected = await Promise.all([1, 2, 3, 4].map((seed) => outputOf(source(seed))));
  expect(expected).toContainEqual(await outputOf(output));
  expect(readdirSync(folder)).toHaveLength(2);
});

test('a source that changes while it is read is noticed, and nothing is left', async () => {
  const from = source(1);
  const folder = temp();
  const read = await readModel(from);
  const { atime, mtime } = statSync(from);
  utimesSync(from, atime, new Date(mtime.getTime() + 1));
  const writing = writeModel(read, path.join(folder, 'm.onnx'));
  await expect(writing).rejects.toThrow(/was changed while it was read/);
  await expect(writing).rejects.toBeInstanceOf(InputError);
  expect(readdirSync(folder)).toEqual([]);
});

test.each([
  ['a folder', (folder: string) => folder, /is a directory/],
  [
    'a file in place of a folder',
    (folder: string) => path.join(saveModel(folder, model(graph({ nodes: [], outputs: [] }))), 'm.onnx'),
    /a part of its path is a file/,
  ],
])('an output in %s is refused in one sentence', async (_, outputIn, expected) => {
  const writing = write(source(1), outputIn(temp()));
  await expect(writing).rejects.toThrow(expected);
  await expect(writing).rejects.toBeInstanceOf(InputError);
});

test('a folder that does not exist is made, and removed again after a failure', async () => {
  const folder = temp();
  const output = path.join(folder, 'a', 'b', 'm.onnx');
  openOutput(output).abort();
  expect(readdirSync(folder)).toEqual([]);
  await write(source(1), output);
  expect(readdirSync(path.join(folder, 'a', 'b'))).toContain('m.onnx');
});

test.skipIf(process.platform !== 'linux')('a place that nobody may write is refused in one sentence', async () => {
  await expect(write(source(1), '/sys/m.onnx')).rejects.toThrow(/may not be written|read-only/);
});

/** Whether this user may mount a small file system in a namespace of their own. */
const canMount = spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', '-o', 'size=1m', 'none', '/mnt']).status === 0;

test.skipIf(!canMount).each([
  ['a full disk', 'mount -t tmpfs -o size=36k none "$1"', /does not fit on its disk/],
  ['a read-only file system', 'mount -t tmpfs -o ro none "$1"', /read-only file system/],
])('%s is explained and keeps the old model', (_, mount, expected) => {
  const folder = temp();
  const script = `
    const { readModel, writeModel } = await import(lib('model/index.js'));
    const output = args[0] + '/m.onnx';
    const first = await writeModel(await readModel(args[1]), output, { external: 'always' }).catch((error) => error);
    const second = await writeModel(await readModel(args[2]), output, { external: 'always' }).catch((error) => error);
    const standing = await readModel(output).then(() => true, () => false);
    console.log(JSON.stringify({ message: second.message, name: second.name, standing, files: fs.readdirSync(args[0]), first: first.message }));`;
  const run = scriptArguments(script, [folder, source(1), source(2)]);
  const shell = `${mount} && shift && exec "$@"`;
  const result = jsonOf<{ message: string; name: string; standing: boolean; files: string[]; first?: string }>(
    spawnSync('unshare', ['-rm', 'sh', '-c', shell, 'sh', folder, process.execPath, ...run], { encoding: 'utf8' }),
  );
  expect(result.name).toBe('InputError');
  expect(result.message).toMatch(expected);
  if (result.first) expect(result.files).toEqual([]);
  else expect(result).toMatchObject({ standing: true, files: ['m.onnx', 'm.onnx.data'] });
});

test('the graph file names the data file by its name alone', async () => {
  const folder = temp();
  const { files } = await write(source(1), path.join(folder, 'm.onnx'));
  expect(readFileSync(files[0]!.path).includes('location\x12\x0bm.onnx.data')).toBe(true);
});

test.skipIf(process.platform !== 'linux')('a folder that takes no files is refused, not tried for ever', () => {
  const script = `
    const { openOutput } = await import(lib('model/index.js'));
    try { openOutput('/proc/m.onnx'); } catch ({ name, message }) { console.log(JSON.stringify({ name, message })); }`;
  const run = spawnSync(process.execPath, scriptArguments(script, []), { encoding: 'utf8', timeout: 300_000 });
  const result = jsonOf<{ name: string; message: string }>(run);
  expect(result.name).toBe('InputError');
  expect(result.message).toContain('The folder "/proc" takes no lock file');
});
