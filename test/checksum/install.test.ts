import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { type ChecksumOptions, createManifest, verifyManifest } from '../../src/checksum/index.ts';
import { DataType, digestFiles, modelFiles } from '../../src/model/index.ts';
import { readReceipt, silentLog } from '../../src/receipt/index.ts';
import { external, graph, model, node, saveModel, value } from '../support/onnx-builder.ts';
import { runCli } from '../support/program.ts';
import { useTemp } from '../support/temp.ts';
import { saveModelPair } from './support.ts';

const temp = useTemp();
let incoming: string;
let production: string;
beforeEach(() => {
  const folder = temp();
  incoming = path.join(folder, 'incoming');
  production = path.join(folder, 'production');
  mkdirSync(incoming);
});

const context = { log: silentLog };
const at = (name: string) => path.join(incoming, name);
const inProduction = (name: string) => path.join(production, name);
const sums = (folder: string) => path.join(folder, 'SHA256SUMS');
const create = (...names: string[]) =>
  createManifest({ path: names.map(at), manifest: sums(incoming), report: incoming }, context);
const install = (names: string[], more: Partial<ChecksumOptions> = {}) =>
  verifyManifest({ path: names.map(at), manifest: sums(incoming), installTo: production, ...more }, context);
const verifyProduction = () => verifyManifest({ path: [], manifest: sums(production) }, context);
const listed = () =>
  readFileSync(sums(production), 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.slice(66))
    .sort();
const rootOfModel = async (file: string) => (await digestFiles(await modelFiles(file))).root;
const contents = (folder: string) => Object.fromEntries(readdirSync(folder).map((name) => [name, read(folder, name)]));
const read = (folder: string, name: string) => readFileSync(path.join(folder, name), 'latin1');

describe('install', () => {
  it('copies a verified pair byte for byte, with a manifest and a receipt about the copy', async () => {
    saveModelPair(incoming);
    writeFileSync(at('labels.txt'), 'a\nb\n');
    await create('m.onnx', 'labels.txt');
    const result = await install(['m.onnx', 'labels.txt']);
    expect(result.verified).toBe(true);
    for (const name of ['m.onnx', 'm.onnx.data', 'labels.txt']) {
      expect(readFileSync(inProduction(name))).toEqual(readFileSync(at(name)));
    }
    expect(result.receipts).toEqual([inProduction('m.checksum.json')]);
    const roots = [at('m.checksum.json'), inProduction('m.checksum.json')].map(
      async (f) => (await readReceipt(f)).modelRoot,
    );
    expect(await roots[0]).toBe(await roots[1]);
    expect((await verifyProduction()).verified).toBe(true);
    expect(readdirSync(production).sort()).toEqual(
      ['SHA256SUMS', 'SHA256SUMS.json', 'labels.txt', 'm.checksum.json', 'm.onnx', 'm.onnx.data'].sort(),
    );
  });

  it('takes only what path names from an artifact that lists more, and wants a path', async () => {
    // What stands there live: a, with its data and its receipt.
    saveModelPair(incoming, 'a.onnx');
    await create('a.onnx');
    await install(['a.onnx']);
    writeFileSync(inProduction('a.validate.json'), '{}');
    const before = contents(production);
    // An artifact for b that lists another a and a receipt of its own making.
    saveModelPair(incoming, 'a.onnx', 16);
    saveModelPair(incoming, 'b.onnx');
    writeFileSync(at('a.validate.json'), '{"forged":true}');
    await create('a.onnx', 'b.onnx', 'a.validate.json');
    await expect(install([])).rejects.toThrow(/install-to is given without path/);
    const result = await install(['b.onnx']);
    expect(result.verified).toBe(true);
    const { SHA256SUMS: _, 'SHA256SUMS.json': __, ...others } = before;
    expect(contents(production)).toMatchObject(others);
    expect(listed()).toEqual(['a.onnx', 'a.onnx.data', 'b.onnx', 'b.onnx.data']);
    expect((await verifyProduction()).verified).toBe(true);
  });

  it('refuses another model under the name, with both roots, whatever the manifests say', async () => {
    mkdirSync(production);
    saveModelPair(production);
    const live = await rootOfModel(inProduction('m.onnx'));
    const before = contents(production);
    saveModelPair(incoming, 'm.onnx', 16);
    await create('m.onnx');
    const wanted = await rootOfModel(at('m.onnx'));
    // A graph that stands in SHA256SUMS.json only.
    rmSync(sums(incoming));
    const refusal = install(['m.onnx']);
    await expect(refusal).rejects.toThrow(live);
    await expect(refusal).rejects.toThrow(wanted);
    expect(contents(production)).toEqual(before);

    const replaced = await install(['m.onnx'], { ifExists: 'replace' });
    expect(replaced.verified).toBe(true);
    expect(await readReceipt(inProduction('m.checksum.json'))).toBeDefined();
    expect((await verifyProduction()).verified).toBe(true);
  });

  it('refuses to put another file in the place of one, and a file that is no model', async () => {
    mkdirSync(production);
    writeFileSync(inProduction('labels.txt'), 'live');
    writeFileSync(inProduction('m.onnx'), 'no model');
    writeFileSync(at('labels.txt'), 'other');
    saveModelPair(incoming);
    await create('m.onnx', 'labels.txt');
    await expect(install(['labels.txt'])).rejects.toThrow(/is another file, with the root/);
    await expect(install(['m.onnx'])).rejects.toThrow(/stands there already and cannot be read/);
    expect(readFileSync(inProduction('labels.txt'), 'utf8')).toBe('live');
    await install(['m.onnx', 'labels.txt'], { ifExists: 'replace' });
    expect((await verifyProduction()).verified).toBe(true);
  });

  it('leaves the same bytes alone, with or without a manifest there', async () => {
    saveModelPair(incoming);
    await create('m.onnx');
    mkdirSync(production);
    saveModelPair(production);
    chmodSync(inProduction('m.onnx'), 0o444);
    const result = await install(['m.onnx']);
    expect(result.verified).toBe(true);
    expect(listed()).toEqual(['m.onnx', 'm.onnx.data']);
    expect((await install(['m.onnx'])).verified).toBe(true);
    expect((await verifyProduction()).verified).toBe(true);
  });

  it('takes away what a killed run left, also where the bytes stand already', async () => {
    saveModelPair(incoming);
    writeFileSync(at('labels.txt'), 'a\nb\n');
    await create('m.onnx', 'labels.txt');
    await install(['m.onnx', 'labels.txt']);
    const whole = readdirSync(production);
    // A lock that nobody holds, and what was being written under it.
    for (const name of ['.m.onnx.lock', '.m.onnx.0123456789ab.graph.tmp', '.m.onnx.0123456789ab.data.tmp']) {
      writeFileSync(inProduction(name), '');
    }
    await install(['m.onnx', 'labels.txt']);
    expect(readdirSync(production)).toEqual(whole);
  });

  it('takes the same artifact again where installing had to write it anew', async () => {
    const parts = {
      inputs: [value('x', [1, 8])],
      outputs: [value('y', [1, 8])],
      nodes: [node('MatMul', ['x', 'a'], ['h']), node('MatMul', ['h', 'b'], ['y'])],
      initializers: ['a', 'b'].map((name) => {
        writeFileSync(at(`${name}.bin`), new Uint8Array(256).fill(name.charCodeAt(0)));
        return external(name, DataType.FLOAT, [8, 8], { location: `${name}.bin`, offset: 0, length: 256 });
      }),
    };
    saveModel(incoming, model(graph(parts)), 'm.onnx');
    await create('m.onnx');
    await install(['m.onnx']);
    expect(await rootOfModel(inProduction('m.onnx'))).not.toBe(await rootOfModel(at('m.onnx')));
    const before = contents(production);
    for (const ifExists of ['refuse', 'replace'] as const) {
      const again = await install(['m.onnx'], { ifExists });
      expect(again).toMatchObject({ verified: true, verdict: 'pass' });
      expect(contents(production)).toMatchObject({ 'm.onnx': before['m.onnx'], SHA256SUMS: before.SHA256SUMS });
    }
    // One byte of one weight.
    const weights = readFileSync(at('b.bin'));
    weights[100] = 1;
    writeFileSync(at('b.bin'), weights);
    await create('m.onnx');
    await expect(install(['m.onnx'])).rejects.toThrow(/is another model, with the root/);
  });

  it('takes the same artifact again where other weights stood in the way of its data', async () => {
    for (const seed of [1, 2]) {
      saveModelPair(incoming, 'm.onnx', 32, seed);
      await create('m.onnx');
      await install(['m.onnx'], { ifExists: 'replace' });
    }
    expect(listed()[1]).toMatch(/^m\.onnx\.[0-9a-f]{8}\.data$/);
    const before = contents(production);
    expect((await install(['m.onnx'])).verified).toBe(true);
    expect(contents(production)).toMatchObject({ 'm.onnx': before['m.onnx'], SHA256SUMS: before.SHA256SUMS });
    saveModelPair(incoming, 'm.onnx', 32, 1);
    await create('m.onnx');
    await expect(install(['m.onnx'])).rejects.toThrow(/is another model, with the root/);
  });

  it('leaves no dead names of weights in the manifest, and keeps names of weights that live', async () => {
    saveModelPair(incoming, 'm.onnx', 32, 1);
    await create('m.onnx');
    await install(['m.onnx']);
    for (const seed of [2, 3]) {
      saveModelPair(incoming, 'm.onnx', 32, seed);
      await create('m.onnx');
      await install(['m.onnx'], { ifExists: 'replace' });
      expect(listed()).toHaveLength(2);
      expect((await verifyProduction()).verified).toBe(true);
    }
    // A copy of the graph still uses the weights, which therefore stay, and stay listed.
    copyFileSync(inProduction('m.onnx'), inProduction('kept.onnx'));
    saveModelPair(incoming, 'm.onnx', 32, 4);
    await create('m.onnx');
    await install(['m.onnx'], { ifExists: 'replace' });
    expect(listed()).toHaveLength(3);
    expect((await verifyProduction()).verified).toBe(true);
  });

  it('installs nothing where one byte differs, or the root is not the one that was meant', async () => {
    saveModelPair(incoming);
    await create('m.onnx');
    const other = await install(['m.onnx'], { root: 'ab'.repeat(32) });
    expect(other).toMatchObject({ verdict: 'fail', mismatched: ['m.onnx'] });
    expect(other.failures[0]).toContain(`has the root ${await rootOfModel(at('m.onnx'))} where abab`);
    expect((await readReceipt(at('m.checksum.json'))).verdict).toBe('fail');
    appendFileSync(at('m.onnx.data'), 'x');
    expect((await install(['m.onnx'])).verdict).toBe('fail');
    expect(existsSync(production)).toBe(false);
  });

  it('takes a root for one model only', async () => {
    saveModelPair(incoming, 'a.onnx');
    saveModelPair(incoming, 'b.onnx');
    await create('a.onnx', 'b.onnx');
    await expect(install(['a.onnx', 'b.onnx'], { root: 'ab'.repeat(32) })).rejects.toThrow(/path names 2/);
    const root = await rootOfModel(at('a.onnx'));
    expect((await install(['a.onnx'], { root })).verified).toBe(true);
  });

  it('does not delete weights that a renamed model uses', async () => {
    saveModelPair(incoming, 'prod.onnx', 32, 1);
    await create('prod.onnx');
    await install(['prod.onnx']);
    copyFileSync(inProduction('prod.onnx'), inProduction('prod.onnx.bak'));
    copyFileSync(inProduction('prod.onnx'), inProduction('X.ONNX'));
    saveModelPair(incoming, 'prod.onnx', 32, 2);
    await create('prod.onnx');
    await install(['prod.onnx'], { ifExists: 'replace' });
    rmSync(inProduction('X.ONNX'));
    await rootOfModel(inProduction('prod.onnx.bak'));
    copyFileSync(inProduction('prod.onnx.bak'), inProduction('X.ONNX'));
    rmSync(inProduction('prod.onnx.bak'));
    saveModelPair(incoming, 'prod.onnx', 32, 3);
    await create('prod.onnx');
    await install(['prod.onnx'], { ifExists: 'replace' });
    await rootOfModel(inProduction('X.ONNX'));
  });

  it('loses no entry where several install at once, and nothing else', async () => {
    const names = Array.from({ length: 5 }, (_, index) => `m${index}.onnx`);
    for (const [index, name] of names.entries()) saveModelPair(incoming, name, 8, index);
    await create(...names);
    const flags = (name: string) => ['--mode', 'verify', '--manifest', sums(incoming), '--path', at(name)];
    const runs = await Promise.all(
      names.map((name) => runCli(['checksum', ...flags(name), '--install-to', production], incoming)),
    );
    for (const { code, stderr } of runs) expect(code, stderr).toBe(0);
    expect(listed()).toEqual(names.flatMap((name) => [name, `${name}.data`]));
    expect((await verifyProduction()).verified).toBe(true);
    expect(readdirSync(production).filter((name) => /tmp|lock/.test(name))).toEqual([]);
  });
});
