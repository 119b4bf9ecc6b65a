import { existsSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../support/child.mjs';
import { writeBenchModel } from '../support/model.mjs';
import { writeMiniLm } from './minilm.mjs';
import { packageFolder } from './packages.mjs';
import { COUNT, writeSamples } from './samples.mjs';

const PYTHON = fileURLToPath(new URL('../children/recipes.py', import.meta.url));

/** What each form must reach: auto's own gates. */
const GATES = { similarity: 0.98, channelSimilarity: 0.9 };
const HALF = COUNT / 2;
const QUARTER = COUNT / 4;

/**
 * One model in all forms: ours, and where Python is present onnxruntime.quantization's. All calibrate on the first half of
 * the samples; all figures are those of the last quarter, by which auto did not choose.
 */
export async function measureModel(entry, tools) {
  const { lib, directory, log, seconds, python, wants } = tools;
  const started = performance.now();
  const folder = path.join(directory, entry.name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  try {
    const model = await modelOf(entry, folder, tools);
    const samples = path.join(folder, 'samples.npz');
    await writeSamples(samples, { samples: entry.samples, model }, tools);
    const source = await lib.compare.readSubject(model);
    const runtime = await lib.runtime.resolveRuntime({ log: quiet });
    const inputs = lib.model.declaredInputs(source.model).map(lib.runtime.valueInfoOf);
    const last = section(await lib.runtime.loadSamples(samples, inputs, { count: COUNT }), COUNT - QUARTER, QUARTER);
    const forms = [];
    await lib.compare.withScorer({ reference: source.model, samples: last, runtime, log: quiet }, async (scorer) => {
      const judge = async (form, file, extra = {}) => {
        const row = { form, ...extra };
        try {
          const sizeRatio = sizeOf(file) / source.size;
          const { similarity, channelSimilarity, agreement } = await scorer.score(file);
          Object.assign(row, {
            similarity,
            channelSimilarity,
            agreement,
            sizeRatio,
            alike: isAlike({ similarity, channelSimilarity }),
          });
        } catch (error) {
          row.error = error.message;
        }
        forms.push(row);
        return row;
      };
      const time = async (row, file) => {
        if (row.error || seconds === 0) return;
        try {
          const { speed, residentBytes } = await scorer.time(file, { maxSeconds: seconds, limits: [], seed: 0 });
          const { speedup, interval, referenceP50Ms, modelP50Ms } = speed;
          Object.assign(row, { speedup, interval, referenceP50Ms, modelP50Ms, residentBytes });
        } catch (error) {
          row.error = error.message;
        }
      };
      for (const [form, options] of OURS.filter(([form]) => wants(form))) {
        log(`  ${entry.name}: ${form}`);
        const output = path.join(folder, `${form.replaceAll(/\W+/g, '-')}.onnx`);
        const calibration = options.method === 'static' ? { calibrationData: samples, calibrationCount: HALF } : {};
        const at = performance.now();
        try {
          await lib.quantize.quantize({ model, output, ...options, ...calibration }, { log: quiet });
        } catch (error) {
          forms.push({ form, error: error.message });
          continue;
        }
        const row = await judge(form, output, { seconds: (performance.now() - at) / 1000 });
        await time(row, output);
      }
      if (python && wants('Python')) await pythonForms({ model, samples, folder, entry, judge, time, forms }, tools);
      if (!wants('auto')) return;
      log(`  ${entry.name}: auto`);
      const output = path.join(folder, 'auto.onnx');
      const at = performance.now();
      try {
        const { findings } = await lib.tune.auto(
          { model, output, calibrationData: samples, report: folder },
          { log: quiet, temporaryFolder: folder },
        );
        const extra = {
          seconds: (performance.now() - at) / 1000,
          chosen: findings.chosen.form,
          trials: findings.trials,
        };
        const row = await judge('auto', output, { ...extra, sentence: findings.sentence, given: findings.given });
        await time(row, output);
      } catch (error) {
        forms.push({ form: 'auto', error: error.message, seconds: (performance.now() - at) / 1000 });
        const journal = path.join(folder, 'auto.auto.jsonl');
        if (existsSync(journal))
          forms.at(-1).journal = readFileSync(journal, 'utf8').trim().split('\n').map(JSON.parse);
      }
    });
    const wall = (performance.now() - started) / 1000;
    return {
      name: entry.name,
      what: entry.what,
      from: entry.from?.npm ?? entry.from?.pypi ?? 'built',
      size: source.size,
      root: source.root,
      forms,
      wall,
    };
  } finally {
    if (!tools.keep) rmSync(folder, { recursive: true, force: true });
  }
}

const OURS = [
  ['dynamic', { method: 'dynamic' }],
  ['static', { method: 'static' }],
  ['weight-only', { method: 'weight-only' }],
  ['8 bits in blocks', { method: 'weight-only', blockSize: 32 }],
  ['4 bits', { method: 'weight-only', bits: 4 }],
];

const quiet = { info() {}, warning() {}, error() {}, debug() {}, progress() {} };

async function modelOf({ from, build, file }, folder, tools) {
  const source = from && (await packageFolder(from, tools));
  if (source && !build) return path.join(source, file);
  const model = path.join(folder, file);
  if (build === 'minilm') await writeMiniLm(tools.root, source, model);
  else if (build.write) await build.write(tools.root, model);
  else await writeBenchModel(tools.root, model, build.bytes);
  return model;
}

/** Python's own default, and of what an expert would try the fastest that is alike enough. */
async function pythonForms({ model, samples, folder, entry, judge, time }, { python, log }) {
  log(`  ${entry.name}: Python`);
  const made = path.join(folder, 'python');
  mkdirSync(made);
  await run(python.path, [PYTHON, model, samples, String(HALF), made]).catch(({ message }) => log(message));
  const report = path.join(made, 'recipes.json');
  for (const { form, file, error, seconds } of existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : []) {
    const row = await judge(`Python: ${form}`, file ?? '', { seconds, ...(error ? { error } : {}) });
    if (error) row.error = error;
    else if (row.alike || !form.includes(',')) await time(row, file);
  }
}

const isAlike = ({ similarity, channelSimilarity }) =>
  similarity >= GATES.similarity && (channelSimilarity === null || channelSimilarity >= GATES.channelSimilarity);

function section(samples, from, length) {
  return {
    length,
    notes: samples.notes,
    name: (index) => samples.name(from + index),
    get: (index) => samples.get(from + index),
  };
}

const sizeOf = (file) =>
  [file, `${file}.data`].reduce((sum, each) => sum + (statSync(each, { throwIfNoEntry: false })?.size ?? 0), 0);
