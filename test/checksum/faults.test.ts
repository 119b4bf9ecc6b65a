import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { createManifest, verifyManifest } from '../../src/checksum/index.ts';
import { digestFiles, modelFiles } from '../../src/model/index.ts';
import { silentLog } from '../../src/receipt/index.ts';
import { seeded } from '../support/random.ts';
import { useTemp } from '../support/temp.ts';
import { saveModelPair } from './support.ts';

const temp = useTemp();
/** FAULT_KILLS=2000 kills for longer. */
const KILLS = Number(process.env.FAULT_KILLS ?? 200);
const LIB = fileURLToPath(new URL('../../lib/checksum/index.js', import.meta.url));
const context = { log: silentLog };
/** Weights that take some blocks to copy. */
const SIDE = 512;

/** An artifact of a model and a text; another `seed` makes both others. */
async function artifact(seed: number): Promise<string> {
  const folder = path.join(temp(), 'incoming');
  mkdirSync(folder);
  saveModelPair(folder, 'm.onnx', SIDE, seed);
  writeFileSync(path.join(folder, 'labels.txt'), `labels ${seed}\n`);
  const files = ['m.onnx', 'labels.txt'].map((name) => path.join(folder, name));
  await createManifest({ path: files, manifest: path.join(folder, 'SHA256SUMS'), report: temp() }, context);
  return folder;
}

function install(incoming: string, installTo: string) {
  const names = ['m.onnx', 'labels.txt'].map((name) => path.join(incoming, name));
  const manifest = path.join(incoming, 'SHA256SUMS');
  return verifyManifest({ path: names, manifest, installTo, ifExists: 'replace', threads: 1 }, context);
}

/** Root of a model's weights; the graph beside them may name them differently. Throws where the model is not whole. */
async function weightsOf(file: string): Promise<string> {
  return (await digestFiles((await modelFiles(file)).slice(1))).root;
}

test(`an install killed ${KILLS} times leaves the old model or the new one, and the next run no litter`, async () => {
  const artifacts = [await artifact(1), await artifact(2)];
  const roots = await Promise.all(artifacts.map((folder) => weightsOf(path.join(folder, 'm.onnx'))));
  // A file and no `-e`, whose Node.js options workers would inherit.
  const script = path.join(temp(), 'install.mjs');
  writeFileSync(
    script,
    `const { verifyManifest } = await import(${JSON.stringify(pathToFileURL(LIB).href)});
    const args = process.argv.slice(2);
    const nothing = () => {};
    const log = { info: nothing, warning: nothing, error: nothing, debug: nothing, progress: nothing };
    console.log('ready');
    for (let turn = Number(args[3]); ; turn++) {
      const incoming = args[turn % 2];
      await verifyManifest({
        path: [incoming + '/m.onnx', incoming + '/labels.txt'],
        manifest: incoming + '/SHA256SUMS',
        installTo: args[2],
        ifExists: 'replace',
        threads: 1,
      }, { log });
      console.log('done');
    }`,
  );
  const seen = new Set<string>();
  let littered = 0;
  const killInFolder = async (lane: number) => {
    const production = path.join(temp(), 'production');
    const model = path.join(production, 'm.onnx');
    await install(artifacts[0]!, production);
    const random = seeded(lane);
    let runMs = 0;
    for (let round = 0; round <= KILLS / 2; round++) {
      const args = [...artifacts, production, String(round + 1)];
      const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
      await once(child.stdout!, 'data');
      const started = performance.now();
      if (round === 0) {
        await once(child.stdout!, 'data');
        runMs = performance.now() - started;
      } else await sleep(random.next() * 1.5 * runMs);
      child.kill('SIGKILL');
      await once(child, 'exit');
      // Whole, and one of the two.
      const root = await weightsOf(model);
      expect(roots).toContain(root);
      seen.add(root);
      if (readdirSync(production).some((name) => /tmp|lock/.test(name))) littered++;
      // Mostly the next run is the next one to be killed.
      if (round % 4 > 0) continue;
      const next = artifacts[(round + 1) % 2]!;
      await install(next, production);
      expect(await weightsOf(model)).toBe(roots[(round + 1) % 2]);
      const data = path.basename((await modelFiles(model))[1]!);
      const expected = ['SHA256SUMS', 'SHA256SUMS.json', 'labels.txt', 'm.checksum.json', 'm.onnx', data];
      expect(readdirSync(production).sort()).toEqual(expected.sort());
      const all = { path: [], manifest: path.join(production, 'SHA256SUMS'), report: temp() };
      expect((await verifyManifest(all, context)).failures).toEqual([]);
    }
  };
  await Promise.all([killInFolder(1), killInFolder(2)]);
  // Otherwise every kill came too early or too late to prove anything.
  expect(seen.size).toBe(2);
  expect(littered).toBeGreaterThan(0);
}, 600_000);
