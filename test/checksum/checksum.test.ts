import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ChecksumOptions, createManifest, verifyManifest } from '../../src/checksum/index.ts';
import { InputError } from '../../src/errors.ts';
import { CHUNK_BYTES, rootOf } from '../../src/model/digest.ts';
import { createReceipt, type Log, readReceipt, silentLog, writeReceipt } from '../../src/receipt/index.ts';
import { sparseFile } from '../support/onnx-builder.ts';
import { useTemp } from '../support/temp.ts';
import { saveModelPair as savePair } from './support.ts';

const temp = useTemp();
let folder: string;
const workingDirectory = process.cwd();
beforeEach(() => {
  folder = temp();
  process.chdir(folder);
});
afterEach(() => process.chdir(workingDirectory));

const context = { log: silentLog, now: () => new Date('2026-01-02T03:04:05Z') };
const create = (lines: string[], more: Partial<ChecksumOptions> = {}) =>
  createManifest({ path: lines, manifest: 'SHA256SUMS', ...more }, context);
const verify = (lines: string[] = [], more: Partial<ChecksumOptions> = {}) =>
  verifyManifest({ path: lines, manifest: 'SHA256SUMS', ...more }, context);
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
/** Has coreutils check the manifest, where this system has them (in their usual place: PATH may hold no more than node). */
const expectSha256sumAgrees = (...names: string[]) => {
  const tool = ['/usr/bin/sha256sum', '/bin/sha256sum'].find((file) => existsSync(file));
  if (tool === undefined) return;
  const said = execFileSync(tool, ['--strict', '-c', 'SHA256SUMS'], { encoding: 'utf8' });
  expect(said).toBe(names.map((name) => `${name}: OK\n`).join(''));
};
/** An entry that differs by `name` in an otherwise fine result. */
const only = (result: Awaited<ReturnType<typeof verify>>, name: string) => {
  expect(result.mismatched).toEqual([name]);
  expect(result.verdict).toBe('fail');
  expect(result.failures).toHaveLength(1);
  return result.files.find((file) => file.name === name);
};

const saveModelPair = (name?: string, side?: number) => savePair(folder, name, side);

/** Two and a bit chunks, with something to find in each. */
function saveBigFile(name = 'big.bin'): { size: number; chunks: string[] } {
  const size = 2 * CHUNK_BYTES + 1000;
  const patches = [0, 1, 2].map((chunk) => ({
    offset: chunk * CHUNK_BYTES + 500,
    bytes: Buffer.from(`chunk ${chunk}`),
  }));
  sparseFile(name, size, patches);
  const bytes = readFileSync(name);
  return {
    size,
    chunks: [0, 1, 2].map((chunk) => sha256(bytes.subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES))),
  };
}

describe('create', () => {
  it('writes what sha256sum checks, and a model brings its data along', async () => {
    mkdirSync('models');
    saveModelPair('models/m.onnx');
    const result = await create(['models/m.onnx']);
    expectSha256sumAgrees('models/m.onnx', 'models/m.onnx.data');
    expect(result).toMatchObject({
      verified: true,
      verdict: 'pass',
      mismatched: [],
      manifest: path.join(folder, 'SHA256SUMS'),
    });
    expect(result.files.map(({ name }) => name)).toEqual(['models/m.onnx', 'models/m.onnx.data']);
  });

  it.each([1, 2, 5])('digests whole files and their chunks in one read, on %i threads', async (threads) => {
    const { size, chunks } = saveBigFile();
    const read: number[] = [];
    const log: Log = { ...silentLog, progress: ({ done }) => read.push(done) };
    await createManifest({ path: ['big.bin'], manifest: 'SHA256SUMS', threads }, { ...context, log });
    expectSha256sumAgrees('big.bin');
    const json = JSON.parse(readFileSync('SHA256SUMS.json', 'utf8'));
    expect(json).toEqual({
      schema: 1,
      chunkBytes: CHUNK_BYTES,
      files: [{ path: 'big.bin', size, sha256: sha256(readFileSync('big.bin')), chunks, root: rootOf(chunks) }],
    });
    expect(read.at(-1)).toBe(size);
  });

  it('takes chunk digests from the quantize receipt', async () => {
    const { size, chunks } = saveBigFile();
    // A last digest that the file does not have shows that nobody computed it.
    const claimed = [...chunks.slice(0, 2), 'ee'.repeat(32)];
    await receiptFor('big.bin', size, claimed);
    await create(['big.bin']);
    expect(JSON.parse(readFileSync('SHA256SUMS.json', 'utf8')).files[0].chunks).toEqual(claimed);
    expectSha256sumAgrees('big.bin');
    // And verify tells the file from the receipt.
    expect(only(await verify(), 'big.bin')?.differences).toEqual([{ offset: 2 * CHUNK_BYTES, length: 1000 }]);
  });

  it('does not take them for a file that was changed after the receipt', async () => {
    const { size, chunks } = saveBigFile();
    await receiptFor('big.bin', size, [...chunks.slice(0, 2), 'ee'.repeat(32)]);
    const later = new Date(Date.now() + 60_000);
    utimesSync('big.bin', later, later);
    await create(['big.bin']);
    expect(JSON.parse(readFileSync('SHA256SUMS.json', 'utf8')).files[0].chunks).toEqual(chunks);
  });

  it('refuses a file that does not begin as its receipt says', async () => {
    const { size, chunks } = saveBigFile();
    await receiptFor('big.bin', size, ['ee'.repeat(32), ...chunks.slice(1)]);
    await expect(create(['big.bin'])).rejects.toThrow(/big\.bin is not what .*big\.quantize\.json says was written/);
    expect(readdirSync('.').sort()).toEqual(['big.bin', 'big.quantize.json']);
  });

  it('replaces its own entries and leaves the others', async () => {
    writeFileSync('a', 'old a');
    writeFileSync('b', 'b');
    writeFileSync('c', 'c');
    await create(['b', 'a']);
    writeFileSync('SHA256SUMS', `# kept\n${readFileSync('SHA256SUMS', 'utf8')}`);
    writeFileSync('a', 'new a');
    await create(['a', 'c']);
    expect(readFileSync('SHA256SUMS', 'utf8')).toBe(
      `# kept\n${sha256(Buffer.from('new a'))} *a\n${sha256(Buffer.from('b'))} *b\n${sha256(Buffer.from('c'))} *c\n`,
    );
    const { files } = JSON.parse(readFileSync('SHA256SUMS.json', 'utf8'));
    expect(files.map(({ path }: { path: string }) => path)).toEqual(['a', 'b', 'c']);
    expect((await verify()).verified).toBe(true);
  });

  it('gives the same bytes twice', async () => {
    saveModelPair();
    await create(['m.onnx']);
    const before = [readFileSync('SHA256SUMS'), readFileSync('SHA256SUMS.json')];
    await create(['*']);
    expect([readFileSync('SHA256SUMS'), readFileSync('SHA256SUMS.json')]).toEqual(before);
  });

  it('takes folders, globs and exclusions, and passes over manifests and its own receipts', async () => {
    mkdirSync('x/y', { recursive: true });
    for (const name of ['x/a.bin', 'x/b.txt', 'x/y/c.bin', 'x/y/[1].bin', 'top.bin']) writeFileSync(name, name);
    const names = async (...lines: string[]) => (await create(lines)).files.map(({ name }) => name);
    expect(await names('x')).toEqual(['x/a.bin', 'x/b.txt', 'x/y/[1].bin', 'x/y/c.bin']);
    expect(await names('**/*.bin', '!x/y')).toEqual(['top.bin', 'x/a.bin']);
    expect(await names('x/*.b?n')).toEqual(['x/a.bin']);
    expect(await names('x/[!a]*')).toEqual(['x/b.txt']);
    expect(await names('x/y/[1].bin')).toEqual(['x/y/[1].bin']);
    expect(await names('*')).toEqual(['top.bin']);
  });

  it('puts a bare manifest beside files that lie elsewhere', async () => {
    const elsewhere = temp();
    writeFileSync(path.join(elsewhere, 'f'), 'f');
    const result = await create([path.join(elsewhere, 'f')]);
    expect(result.manifest).toBe(path.join(elsewhere, 'SHA256SUMS'));
    expect((await verify([path.join(elsewhere, 'f')])).verified).toBe(true);
    await expect(create([path.join(elsewhere, 'f')], { manifest: './SHA256SUMS' })).rejects.toThrow(
      /set the input manifest/,
    );
  });

  it.each([
    ['a missing file', ['none.bin'], /"none\.bin" names no file/],
    ['a glob without files', ['*.none'], /"\*\.none" names no file/],
    ['no path', [], /input path is empty/],
    ['a broken model', ['broken.onnx'], /broken\.onnx/],
  ])('refuses %s in a sentence and writes nothing', async (_, lines, sentence) => {
    writeFileSync('broken.onnx', 'no model');
    await expect(create(lines)).rejects.toThrow(InputError);
    await expect(create(lines)).rejects.toThrow(sentence);
    expect(readdirSync('.')).toEqual(['broken.onnx']);
  });

  it('refuses to write over a manifest that it cannot read', async () => {
    writeFileSync('a', 'a');
    writeFileSync('SHA256SUMS', 'what is this');
    await expect(create(['a'])).rejects.toThrow(/Line 1 .* no checksum line/);
    expect(readFileSync('SHA256SUMS', 'utf8')).toBe('what is this');
  });

  it('stops when it is told to', async () => {
    saveBigFile();
    const controller = new AbortController();
    const log: Log = { ...silentLog, progress: () => controller.abort(new Error('told to')) };
    const options = { path: ['big.bin'], manifest: 'SHA256SUMS' };
    await expect(createManifest(options, { log, signal: controller.signal })).rejects.toThrow('told to');
    expect(readdirSync('.')).toEqual(['big.bin']);
  });
});

describe('verify', () => {
  it('passes what create wrote, and writes a receipt with the root of the model', async () => {
    saveModelPair();
    const created = await create(['m.onnx']);
    const before = await readReceipt(created.receipts[0] as string);
    const result = await verify();
    expect(result).toMatchObject({ verified: true, failures: [], warnings: [] });
    expect(result.receipts).toEqual([path.join(folder, 'm.checksum.json')]);
    const receipt = await readReceipt('m.checksum.json');
    const digests = ['m.onnx', 'm.onnx.data'].map((name) => sha256(readFileSync(name)));
    expect(receipt).toMatchObject({ action: 'checksum', verdict: 'pass', modelRoot: rootOf(digests) });
    expect(receipt.modelRoot).toBe(before.modelRoot);
    expect(receipt.files.map(({ path, root }) => [path, root])).toEqual([
      ['m.onnx', rootOf(digests.slice(0, 1))],
      ['m.onnx.data', rootOf(digests.slice(1))],
    ]);
  });

  it('names file and bytes of the first difference, and counts the others', async () => {
    const { size } = saveBigFile();
    writeFileSync('good.bin', 'good');
    await create(['big.bin', 'good.bin']);
    patch('big.bin', CHUNK_BYTES + 7, 'x');
    patch('big.bin', size - 1, 'x');
    const result = await verify();
    expect(only(result, 'big.bin')).toMatchObject({
      status: 'different',
      differences: [
        { offset: CHUNK_BYTES, length: CHUNK_BYTES },
        { offset: 2 * CHUNK_BYTES, length: 1000 },
      ],
    });
    expect(result.failures[0]).toBe(
      `big.bin differs, first in bytes ${CHUNK_BYTES}-${2 * CHUNK_BYTES - 1} (2 of 3 chunks of 64 MiB): copy it again.`,
    );
  });

  it('needs no SHA256SUMS.json', async () => {
    saveModelPair();
    saveBigFile();
    const { receipts } = await create(['m.onnx', 'big.bin']);
    const { modelRoot } = await readReceipt(receipts[0] as string);
    rmSync('SHA256SUMS.json');
    expect((await verify()).verified).toBe(true);
    expect((await readReceipt(receipts[0] as string)).modelRoot).toBe(modelRoot);
    patch('big.bin', 3, 'x');
    const result = await verify();
    expect(only(result, 'big.bin')?.status).toBe('different');
    expect(result.failures[0]).toMatch(/big\.bin differs somewhere in bytes 0-134218727: its SHA-256 is [0-9a-f]{64}/);
  });

  it('needs no SHA256SUMS either', async () => {
    saveModelPair();
    await create(['m.onnx']);
    rmSync('SHA256SUMS');
    expect((await verify([], { manifest: 'SHA256SUMS.json' })).verified).toBe(true);
  });

  it('tells missing, truncated, overlong, renamed and unreadable files apart', async () => {
    const names = ['missing', 'truncated', 'overlong', 'Renamed', 'folder', 'ok'];
    for (const name of names) writeFileSync(name, '0123456789');
    await create(names);
    rmSync('missing');
    truncateSync('truncated', 4);
    appendFileSync('overlong', 'more');
    renameSync('Renamed', 'renamed');
    rmSync('folder');
    mkdirSync('folder');
    const { failures, mismatched, files } = await verify();
    expect(mismatched.sort()).toEqual(['Renamed', 'folder', 'missing', 'overlong', 'truncated']);
    expect(failures.sort()).toEqual([
      'Renamed is here as renamed: rename it, since Linux tells capitals from small letters.',
      'folder is not a file: remove what is there and copy the file again.',
      'missing is missing: copy it here again.',
      'overlong is too long: it has 14 bytes and 10 are listed; copy it again.',
      'truncated is truncated: 4 of 10 bytes are here, bytes 4-9 are missing; copy it again.',
    ]);
    expect(files.find(({ name }) => name === 'truncated')?.differences).toEqual([{ offset: 4, length: 6 }]);
  });

  it.skipIf(process.getuid?.() === 0 || process.platform === 'win32')('tells a file that may not be read', async () => {
    writeFileSync('secret', 'secret');
    await create(['secret']);
    chmodSync('secret', 0);
    expect(only(await verify(), 'secret')?.status).toBe('unreadable');
  });

  it('reads a manifest with Windows line ends, and says so', async () => {
    saveModelPair();
    await create(['m.onnx']);
    rmSync('SHA256SUMS.json');
    writeFileSync(
      'SHA256SUMS',
      `\uFEFF${readFileSync('SHA256SUMS', 'utf8').replaceAll('\n', '\r\n').toUpperCase().replaceAll('M.ONNX', 'm.onnx').replaceAll('.DATA', '.data')}`,
    );
    const result = await verify();
    expect(result.verified).toBe(true);
    expect(result.warnings).toEqual([expect.stringMatching(/Windows line ends \(CRLF\)/)]);
  });

  it('reports manifests that disagree', async () => {
    writeFileSync('a', 'a');
    await create(['a']);
    writeFileSync('SHA256SUMS', `${sha256(Buffer.from('other'))} *a\n`);
    expect(only(await verify(), 'a')?.status).toBe('contradictory');
  });

  it('checks what path names, with the data of models, whether it can be read or not', async () => {
    saveModelPair();
    writeFileSync('other', 'other');
    await create(['m.onnx', 'other']);
    patch('other', 0, 'x');
    expect((await verify(['m.onnx'])).files.map(({ name }) => name)).toEqual(['m.onnx', 'm.onnx.data']);
    truncateSync('m.onnx.data', 10);
    const result = await verify(['m.onnx']);
    expect(only(result, 'm.onnx.data')?.status).toBe('truncated');
    expect(await readReceipt('m.checksum.json')).toMatchObject({
      verdict: 'fail',
      results: { mismatched: ['m.onnx.data'] },
    });
    await expect(verify(['nothing'])).rejects.toThrow(/"nothing" names nothing that .* lists/);
  });

  it('gives each model the verdict of its own files', async () => {
    saveModelPair('good.onnx');
    saveModelPair('bad.onnx');
    await create(['*.onnx']);
    patch('bad.onnx.data', 0, 'x');
    only(await verify(), 'bad.onnx.data');
    expect(await readReceipt('good.checksum.json')).toMatchObject({ verdict: 'pass', results: { failures: [] } });
    expect(await readReceipt('bad.checksum.json')).toMatchObject({ verdict: 'fail' });
  });

  it('fails for files that the manifest does not list, where they were asked for or a model needs them', async () => {
    saveModelPair();
    await create(['m.onnx']);
    writeFileSync('new', 'new');
    expect((await verify()).verified).toBe(true);
    expect(only(await verify(['m.onnx', 'new']), 'new')?.status).toBe('unlisted');
    const lines = readFileSync('SHA256SUMS', 'utf8').split('\n');
    writeFileSync('SHA256SUMS', `${lines[0]}\n`);
    rmSync('SHA256SUMS.json');
    expect(only(await verify(), 'm.onnx.data')?.status).toBe('unlisted');
  });

  it.each([
    ['no manifest', undefined, /There is no manifest/],
    ['an empty manifest', '', /lists no files/],
    ['a name that leads out', `${'ab'.repeat(32)}  ../x\n`, /not inside the manifest's folder/],
  ])('refuses %s', async (_, text, sentence) => {
    if (text !== undefined) writeFileSync('SHA256SUMS', text);
    await expect(verify()).rejects.toThrow(InputError);
    await expect(verify()).rejects.toThrow(sentence);
  });

  it('reads empty files', async () => {
    writeFileSync('empty', '');
    await create(['empty']);
    expect((await verify()).verified).toBe(true);
    expectSha256sumAgrees('empty');
  });
});

function patch(file: string, offset: number, text: string): void {
  const bytes = readFileSync(file);
  bytes.write(text, offset);
  writeFileSync(file, bytes);
}

async function receiptFor(file: string, size: number, chunks: string[]): Promise<void> {
  const receipt = createReceipt({
    now: new Date(),
    action: 'quantize',
    inputs: {},
    modelRoot: rootOf(chunks),
    files: [{ path: file, role: 'written', size, root: rootOf(chunks), chunks }],
    environment: { os: 'Linux', arch: 'x64', cpu: 'CPU', cores: 2, isa: [], node: process.version },
    results: {},
    verdict: 'pass',
  });
  await writeReceipt(receipt, `${path.parse(file).name}.quantize.json`);
}
