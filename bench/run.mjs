/**
 * `npm run bench`: measures what docs/benchmarks.md says.
 *
 *   --only quantize,start   groups to run (default: all in bench/groups)
 *   --size 4.29             size of the main model, GB of FP32 weights
 *   --pairs 5               alternating pairs for ratios
 *   --large 40              size of the sparse model, GB; 0 leaves it out
 *   --directory <path>      where the models go (default: a temporary folder); what is made there is removed
 *   --json <path>           result as JSON (default: report/bench.json)
 *   --write-docs            put the tables into docs/benchmarks.md
 *
 * BENCH_PYTHON names a Python with onnxruntime; without it `python3` is tried, and its rows are left out if it lacks it.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { findPython, run } from './support/child.mjs';
import { describeMachine } from './support/machine.mjs';
import { terminal, writeDocs } from './support/table.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    size: { type: 'string', default: '4.29' },
    pairs: { type: 'string', default: '5' },
    large: { type: 'string', default: '40' },
    directory: { type: 'string' },
    json: { type: 'string', default: path.join(root, 'report', 'bench.json') },
    'write-docs': { type: 'boolean', default: false },
  },
});

await run(process.execPath, [
  path.join(root, 'node_modules/typescript/bin/tsc'),
  '-p',
  path.join(root, 'tsconfig.lib.json'),
]);

const wanted = values.only?.split(',');
const names = readdirSync(path.join(root, 'bench', 'groups'))
  .filter((file) => file.endsWith('.mjs'))
  .map((file) => path.basename(file, '.mjs'));
for (const name of wanted ?? []) {
  if (!names.includes(name)) throw new Error(`There is no group ${name}; there are: ${names.join(', ')}`);
}

const directory = mkdtempSync(path.join(values.directory ?? os.tmpdir(), 'onnx-quantize-bench-'));
const clean = () => rmSync(directory, { recursive: true, force: true });
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    clean();
    process.exit(130);
  });
}

const context = {
  root,
  directory,
  sizeBytes: Number(values.size) * 1e9,
  largeBytes: Number(values.large) * 1e9,
  pairs: Number(values.pairs),
  python: await findPython(),
  log: (message) => console.error(message),
};

const groups = [];
try {
  for (const name of wanted ?? names) {
    const { group } = await import(`./groups/${name}.mjs`);
    context.log(`${group.title} …`);
    groups.push({ name, title: group.title, rows: await group.run(context) });
  }
} finally {
  clean();
}

const result = { date: new Date().toISOString(), machine: await describeMachine(root, context.python), groups };
mkdirSync(path.dirname(values.json), { recursive: true });
writeFileSync(values.json, `${JSON.stringify(result, null, 2)}\n`);
console.log(terminal(result));
console.log(`\nAs JSON: ${path.relative(process.cwd(), values.json)}`);
if (values['write-docs']) {
  const docs = path.join(root, 'docs', 'benchmarks.md');
  if (!existsSync(path.dirname(docs))) mkdirSync(path.dirname(docs));
  writeDocs(docs, result);
}
