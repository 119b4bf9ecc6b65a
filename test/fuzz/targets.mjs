// A target per parser: whole inputs to begin with, and what is done with a broken one. Where a parser has checks in a row,
// `json` keeps the input JSON, so that what passes the first check is tried too.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { deflateRawSync } from 'node:zlib';
import { formatChunkedSums, formatSums, parseChunkedSums, parseSums } from '../../lib/checksum/manifest.js';
import { readHistory as readFigures } from '../../lib/compare/history.js';
import { parseRules } from '../../lib/config/check/rules.js';
import { parseJournal } from '../../lib/config/live/journal.js';
import { parseHistory } from '../../lib/config/states/history.js';
import { editYaml } from '../../lib/config/yaml/edit.js';
import { rootOf } from '../../lib/model/digest.js';
import { modelFiles, readModel } from '../../lib/model/index.js';
import { parseModelGates } from '../../lib/model-gates.js';
import { formatMeasurements, Measurements, parseMeasurements } from '../../lib/quantize/methods/static/measurements.js';
import { parseReceipt } from '../../lib/receipt/index.js';
import { loadSamples } from '../../lib/runtime/samples/index.js';

const here = (name) => new URL(`../../${name}`, import.meta.url);
const SHA = 'ab'.repeat(32);
const RECEIPT = {
  schema: 1,
  tool: { name: 'onnx-quantize-actions', version: '0.1.0' },
  action: 'validate',
  createdAt: '2026-01-02T03:04:05.000Z',
  verdict: 'pass',
  inputs: { model: 'm.onnx' },
  modelRoot: SHA,
  files: [{ path: 'm.onnx', role: 'read', size: 5, root: SHA, chunks: [SHA] }],
  environment: { os: 'linux', arch: 'x64', cpu: 'c', cores: 2, isa: ['avx2'], node: 'v20.0.0' },
  results: { memoryMb: 10, latencyP50Ms: 3 },
};
const KEY = 'models.audio_omni.model_path';
// Short ones leave time for many, and hold what a long one has no use for.
const YAML = [
  'base: &b {x: 1}',
  'list: [1, *b, "a\\n"] # c',
  'text: |-',
  '  one',
  '  two',
  'models:',
  '  <<: *b',
  '  audio_omni:',
  "    model_path: 'a.onnx' # live",
  '    max_memory_mb: 4_400',
  '',
].join('\n');
const FLOW = '{"models": {"audio_omni": {"model_path": "a.onnx", ? k : !!str v}}}\n';
const BUDGET =
  'version: 1\nlimit: memory.max # GB\non-demand:\n  - &a { name: a, mb: 5 }\n  - *a\ndownloads: &d [m/*.gguf]\nknown-keys: *d\n';
const KEYS = [{ key: 'audio_omni.model_path', from: 'a.onnx', to: 'b.onnx' }];
const ENTRY = {
  schema: 1,
  id: '20260102T030405Z-0a1b2c',
  at: '2026-01-02T03:04:05.000Z',
  action: 'promote',
  who: 'lucia',
  host: 'agi1',
  config: '/opt/sarai/config/sarai.yaml',
  configSha256: { before: SHA, after: SHA },
  keys: KEYS,
  model: { path: 'b.onnx', root: SHA, files: [{ path: 'b.onnx', size: 5, chunks: { 0: SHA } }] },
  receipts: [],
  health: [],
  forced: [],
  inconclusive: [],
  warnings: [],
};
const BACK = { bytes: 'YQ==', backup: 'b', mode: 384, edits: [{ key: 'a.b', value: 1 }] };
const FIGURES = {
  createdAt: '2026-01-02T03:04:05.000Z',
  model: 'm.onnx',
  modelRoot: SHA,
  referenceRoot: SHA,
  cpu: 'c',
  verdict: 'pass',
  figures: { similarity: 0.99, mse: 0.1 },
  referenceP50Ms: 2,
  modelP50Ms: 1,
  residentBytes: 5,
  size: 5,
};
const INPUTS = [{ name: 'x', dtype: 'float32', dims: ['batch', 3] }];
const chunked = () => {
  const digests = { size: 5, sha256: SHA, chunks: [SHA], root: rootOf([SHA]) };
  return new Map([
    ['m.onnx', digests],
    ['d/m.onnx.data', { size: 0, sha256: SHA, chunks: [], root: rootOf([]) }],
  ]);
};
const json = (value) => Buffer.from(JSON.stringify(value));

export const TARGETS = {
  onnx: {
    seeds: () => {
      const folder = here('test/quantize/golden/models/');
      return readdirSync(folder).map((name) => readFileSync(new URL(name, folder)));
    },
    async run(bytes, folder) {
      const file = path.join(folder, 'model.onnx');
      writeFileSync(file, bytes);
      await readModel(file);
      await modelFiles(file);
    },
  },
  yaml: {
    seeds: () => [Buffer.from(YAML), Buffer.from(FLOW), readFileSync(here('examples/sarai/config/sarai.yaml'))],
    run(bytes) {
      editYaml(bytes, [{ key: KEY, value: 'b.onnx' }], { name: 'c.yaml' });
    },
  },
  gates: {
    seeds: () => [readFileSync(here('examples/sarai/model-gates.yaml'))],
    run(bytes) {
      parseModelGates(bytes, 'model-gates.yaml')('models/onnx/vad_v5.onnx');
    },
  },
  budget: {
    seeds: () => [Buffer.from(BUDGET), readFileSync(here('examples/sarai/config/model-budget.yaml'))],
    run: (bytes) => parseRules(bytes, 'b.yaml'),
  },
  sums: {
    seeds: () => [
      Buffer.from(formatSums({ entries: new Map([...chunked()].map(([n, d]) => [n, d.sha256])), comments: ['# a'] })),
    ],
    run(bytes) {
      for (const name of parseSums(bytes, 'SHA256SUMS').entries.keys()) assertInside(name);
    },
  },
  'sums.json': {
    json: true,
    seeds: () => [Buffer.from(formatChunkedSums(chunked()))],
    run(bytes) {
      for (const name of parseChunkedSums(bytes, 'SHA256SUMS.json').keys()) assertInside(name);
    },
  },
  receipt: { json: true, seeds: () => [json(RECEIPT)], run: (bytes) => parseReceipt(bytes.toString('utf8'), 'r.json') },
  history: {
    json: true,
    seeds: () => [
      Buffer.from(`${JSON.stringify(ENTRY)}\n${JSON.stringify({ ...ENTRY, id: 'b', action: 'rollback' })}\n`),
    ],
    run: (bytes) => parseHistory(bytes.toString('utf8'), 'h.jsonl'),
  },
  figures: {
    json: true,
    seeds: () => [Buffer.from(`${JSON.stringify(FIGURES)}\n${JSON.stringify(FIGURES)}\n`)],
    async run(bytes, folder) {
      const file = path.join(folder, 'h.jsonl');
      writeFileSync(file, bytes);
      await readFigures(file);
    },
  },
  journal: {
    json: true,
    seeds: () => [
      json({ schema: 1, state: 'prepared', before: SHA, after: SHA, entry: ENTRY, backup: 'b' }),
      json({ schema: 2, state: 'proved', before: SHA, after: SHA, entry: ENTRY }),
      json({ schema: 2, state: 'reverting', before: SHA, after: SHA, entry: ENTRY, back: BACK }),
    ],
    run: (bytes) => parseJournal(bytes.toString('utf8'), 'journal'),
  },
  decisions: {
    json: true,
    seeds: () => {
      const made = new Measurements();
      made.values = new Map([['t', { dims: [1, 3], nonFinite: 0, min: -1, max: 1, range: { low: -1, high: 1 } }]]);
      made.errors.set('t', { decibels: 40, correction: Float64Array.of(0.5) });
      made.harm.set('t', 0.01);
      return [Buffer.from(formatMeasurements(made, SHA))];
    },
    run: (bytes) => parseMeasurements(bytes, SHA),
  },
  'samples.json': {
    ...samples('s.json'),
    json: true,
    seeds: () => [json([{ x: [[1, 2, 3]] }, { x: { dims: [1, 3], data: [1, 2, 3] } }])],
  },
  'samples.npy': { ...samples('s.npy'), seeds: () => [npy([2, 3])] },
  'samples.npz': { ...samples('s.npz'), seeds: () => [zip(npy([2, 3]), 8), zip(npy([4, 1, 3]), 0)] },
  'samples.wav': { ...samples('s.wav', [{ name: 'audio', dtype: 'float32', dims: ['n'] }]), seeds: () => [wav()] },
  'samples.pb': {
    ...samples('input_0.pb'),
    seeds: () => [
      Buffer.concat([Buffer.from([8, 1, 8, 3, 16, 1, 0x4a, 12]), Buffer.alloc(12, 1)]),
      Buffer.from([8, 1, 8, 3, 16, 1, 0x2a, 3, 1, 2, 3]),
    ],
  },
};

function samples(name, inputs = INPUTS) {
  return {
    async run(bytes, folder) {
      const file = path.join(folder, name);
      writeFileSync(file, bytes);
      const read = await loadSamples(name.endsWith('.pb') ? folder : file, inputs, { count: 3 });
      for (let index = 0; index < read.length; index++) await read.get(index);
    },
  };
}

/** A name leads nowhere but below its folder, on any system. */
function assertInside(name) {
  if (/^[A-Za-z]:|\\|^\/|\0/.test(name) || name.split('/').some((part) => part === '..' || part === '')) {
    throw new Error(`the name ${JSON.stringify(name)} was accepted`);
  }
}

function npy(dims) {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${dims.join(', ')},), }`.padEnd(117, ' ');
  const numbers = Buffer.alloc(4 * dims.reduce((product, size) => product * size, 1), 1);
  return Buffer.concat([Buffer.from('\x93NUMPY\x01\x00v\x00', 'latin1'), Buffer.from(`${text}\n`), numbers]);
}

function zip(content, method) {
  const packed = method === 0 ? content : deflateRawSync(content);
  const name = Buffer.from('x.npy');
  const local = Buffer.alloc(30);
  local.writeUInt32LE(0x04034b50, 0);
  local.writeUInt16LE(method, 8);
  local.writeUInt16LE(name.length, 26);
  const entry = Buffer.alloc(46);
  entry.writeUInt32LE(0x02014b50, 0);
  entry.writeUInt16LE(method, 10);
  entry.writeUInt32LE(packed.length, 20);
  entry.writeUInt32LE(content.length, 24);
  entry.writeUInt16LE(name.length, 28);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt32LE(30 + name.length + packed.length, 16);
  return Buffer.concat([local, name, packed, entry, name, end]);
}

function wav() {
  const bytes = Buffer.alloc(44 + 200, 3);
  bytes.write('RIFF\0\0\0\0WAVEfmt ', 0, 'latin1');
  bytes.writeUInt32LE(16, 16);
  for (const [offset, value] of [
    [20, 1],
    [22, 1],
    [34, 16],
  ])
    bytes.writeUInt16LE(value, offset);
  bytes.writeUInt32LE(16_000, 24);
  bytes.write('data', 36, 'latin1');
  bytes.writeUInt32LE(200, 40);
  return bytes;
}
