import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { InputError, messageOf } from '../../errors.ts';
import { bytesOfFeeds } from '../dtype.ts';
import type { Feeds, ValueInfo } from '../types.ts';
import { openNpy, openNpz, type Stack } from './arrays.ts';
import { checkFeeds } from './check.ts';
import { describeFeeds, generateFeeds, type Recipe } from './generate.ts';
import { openJson } from './json.ts';
import { parseDims, parseRanges, type Range, resolveShapes } from './options.ts';
import { type Expected, readExpected, readTestDataSet } from './tensor-proto.ts';
import { readWav, wavFeeds } from './wav.ts';

export interface SampleOptions {
  /** Sizes of symbolic dimensions: `batch=1,seq=16`, also `x.2=48` by position or `x=1x3x48x320` whole. */
  dims?: string;
  /** Bounds of generated values, inclusive: `audio_codes=0..1023`. */
  ranges?: string;
  /** Samples to make; for files at most as many as there are. Default 8. */
  count?: number;
  /** Default 0. */
  seed?: number;
  /** Hz that the model expects of a WAV, default 16000. */
  sampleRate?: number;
  /** What was found out about the model's inputs before; it overrules `dims`. */
  settled?: SettledInputs;
}

/** Sizes and values of generated inputs, found out once for all that feed the same model. */
export interface SettledInputs {
  /** The shape of every input. */
  shapes: Readonly<Record<string, readonly number[]>>;
  /** Bounds that the graph sets (ids within an embedding table), by input; the option `ranges` overrules them. */
  ranges: Readonly<Record<string, Range>>;
  /** Inputs that take what the model gave the time before. */
  states: readonly string[];
  /** What the states hold in each sample; the last is repeated. */
  carried: readonly Feeds[];
  /** Hz. */
  sampleRate: number;
  /** What was guessed, a sentence each. */
  notes: readonly string[];
}

/** Inputs for a model, made or read one at a time. */
export interface Samples {
  readonly length: number;
  /** What a reader of the figures must know: ranges that were guessed, samples that repeat. */
  readonly notes: readonly string[];
  /** Name for reports: a file, a member of it, or `generated 3 (seed 0)`. */
  name(index: number): string;
  /** Every index gives the same feeds each time. Checked against the model's inputs; throws InputError. */
  get(index: number): Promise<Feeds>;
  /** What the model should answer, where the sample says so, and what could not be read of it. */
  expected?(index: number): Promise<Expected>;
}

/** Samples are asked for again and again while timing; this many bytes of them are kept. */
const KEPT_BYTES = 32 * 2 ** 20;

/** Samples that timed runs go through, and the bytes they may have together. */
export const TIMED_SAMPLES = 8;
const TIMED_BYTES = 256 * 2 ** 20;

/** The samples of one file or test data set, read when asked for. */
interface Source extends Stack {
  file: string;
  expected?(): Promise<Expected>;
}

const NOTHING_EXPECTED: Expected = { outputs: [], notes: [] };

const DEFAULT_COUNT = 8;
const DEFAULT_SAMPLE_RATE = 16_000;

/**
 * Samples from a `.npz`, `.npy`, `.wav` or `.json` file, from a folder of those or of ONNX `test_data_set_*`, or, without
 * `spec`, generated from the signature.
 * @throws InputError for a file that is broken, empty or does not fit the model
 */
export async function loadSamples(
  spec: string | undefined,
  inputs: readonly ValueInfo[],
  options: SampleOptions = {},
): Promise<Samples> {
  assertNumeric(inputs);
  return spec ? fromFiles(spec, inputs, options) : generated(inputs, options);
}

/** SHA-256 over all samples, names and shapes included, lower-case hex. */
export async function digestSamples(samples: Samples): Promise<string> {
  const hash = createHash('sha256');
  for (let index = 0; index < samples.length; index++) {
    const feeds = await samples.get(index);
    for (const name of Object.keys(feeds).sort()) {
      const { dtype, dims, data } = feeds[name]!;
      hash.update(JSON.stringify([index, name, dtype, dims])).update(data);
    }
  }
  return hash.digest('hex');
}

/** @throws InputError for an input that nothing can be fed to */
export function assertNumeric(inputs: readonly ValueInfo[]): void {
  const odd = inputs.find(({ dtype }) => dtype === 'other' || dtype === 'string');
  if (odd) throw new InputError(`Input ${odd.name} is no tensor of numbers, and nothing else can be fed here.`);
}

async function generated(inputs: readonly ValueInfo[], options: SampleOptions): Promise<Samples> {
  const { count = DEFAULT_COUNT, settled } = options;
  const recipe = recipeOf(inputs, options);
  const notes = [...(settled?.notes ?? describeFeeds(recipe))];
  const { carried = [] } = settled ?? {};
  const get = remembering((index) => ({ ...generateFeeds(recipe, index), ...(carried[index] ?? carried.at(-1)) }));
  const first = digestOf(await get(0));
  if (count > 1 && first === digestOf(await get(1))) {
    notes.push('The inputs leave no room for samples that differ; give ranges.');
  }
  return { length: count, notes, name: (index) => `generated ${index} (seed ${recipe.seed})`, get };
}

/** What generated samples are made by. @throws InputError for sizes and ranges that do not fit or are missing */
export function recipeOf(inputs: readonly ValueInfo[], options: SampleOptions): Recipe {
  const { settled } = options;
  return {
    inputs,
    shapes: settled?.shapes ?? resolveShapes(inputs, parseDims(options.dims), 'strict'),
    ranges: parseRanges(options.ranges, inputs),
    inferred: settled?.ranges ?? {},
    states: new Set(settled?.states),
    seed: options.seed ?? 0,
    sampleRate: options.sampleRate ?? settled?.sampleRate ?? DEFAULT_SAMPLE_RATE,
  };
}

async function fromFiles(spec: string, inputs: readonly ValueInfo[], options: SampleOptions): Promise<Samples> {
  const sources = await sourcesOf(path.resolve(spec), inputs, options);
  if (sources.length === 0) {
    throw new InputError(
      `samples: ${spec} holds no sample; it should be a .npz, .npy, .wav or .json file, or a folder of those or of test_data_set_*.`,
    );
  }
  const total = sources.reduce((sum, source) => sum + source.length, 0);
  const length = Math.min(total, options.count ?? total);
  const at = (index: number): { source: Source; within: number; name: string } => {
    let within = index;
    for (const source of sources) {
      if (within < source.length) {
        return { source, within, name: source.length === 1 ? source.file : `${source.file}[${within}]` };
      }
      within -= source.length;
    }
    throw new RangeError(`sample ${index} of ${length}`);
  };
  const get = remembering(async (index) => {
    const { source, within, name } = at(index);
    const feeds = await source.read(within);
    checkFeeds(feeds, inputs, name);
    return feeds;
  });
  const notes: string[] = [];
  const first = digestOf(await get(0));
  if (length === 1) notes.push('There is one sample only, so every inference sees the same input.');
  else if (first === digestOf(await get(1))) notes.push(`${at(0).name} and ${at(1).name} are the same.`);
  const expected = async (index: number) => (await at(index).source.expected?.()) ?? NOTHING_EXPECTED;
  return { length, notes, name: (index) => at(index).name, get, expected };
}

/**
 * The samples that timed runs go through in turn: as many as fit the bound. They go to the child at once, so that
 * handing them over is not in the times.
 */
export async function timedFeeds(samples: Samples): Promise<Feeds[]> {
  const feeds: Feeds[] = [];
  let bytes = 0;
  for (let index = 0; index < Math.min(samples.length, TIMED_SAMPLES); index++) {
    const sample = await samples.get(index);
    bytes += bytesOfFeeds(sample);
    if (feeds.length > 0 && bytes > TIMED_BYTES) break;
    feeds.push(sample);
  }
  return feeds;
}

/** The same samples, of which the first few are made or read once and are the same objects each time. */
function remembering(read: (index: number) => Promise<Feeds> | Feeds): (index: number) => Promise<Feeds> {
  const kept = new Map<number, Feeds>();
  let bytes = 0;
  return async (index) => {
    const known = kept.get(index);
    if (known) return known;
    const feeds = await read(index);
    bytes += bytesOfFeeds(feeds);
    if (bytes <= KEPT_BYTES) kept.set(index, feeds);
    return feeds;
  };
}

async function sourcesOf(file: string, inputs: readonly ValueInfo[], options: SampleOptions): Promise<Source[]> {
  const kind = await stat(file).catch((error: unknown) => {
    throw new InputError(`samples: ${file} cannot be read (${messageOf(error)}); name an existing file or folder.`);
  });
  if (kind.isDirectory()) return sourcesOfFolder(file, inputs, options);
  return [{ file, ...(await openStack(file, inputs, options)) }];
}

async function openStack(file: string, inputs: readonly ValueInfo[], options: SampleOptions): Promise<Stack> {
  switch (path.extname(file).toLowerCase()) {
    case '.npz':
      return openNpz(file, inputs);
    case '.npy':
      return openNpy(file, inputs);
    case '.json':
      return openJson(file, inputs);
    case '.wav':
      return openWav(file, inputs, options);
    default:
      throw new InputError(`samples: ${file} is of no known kind; give .npz, .npy, .wav, .json or a folder.`);
  }
}

async function sourcesOfFolder(
  folder: string,
  inputs: readonly ValueInfo[],
  options: SampleOptions,
): Promise<Source[]> {
  const names = (await readdir(folder)).sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  if (names.some((name) => /^(in|out)put_\d+\.pb$/.test(name))) return [testDataSet(folder, inputs)];
  const sets = names.filter((name) => name.startsWith('test_data_set_'));
  if (sets.length > 0) return sets.map((name) => testDataSet(path.join(folder, name), inputs));
  const files = names.filter((name) => /\.(npz|npy|wav|json)$/i.test(name));
  const sources: Source[] = [];
  for (const name of files) sources.push(...(await sourcesOf(path.join(folder, name), inputs, options)));
  return sources;
}

const testDataSet = (folder: string, inputs: readonly ValueInfo[]): Source => ({
  file: folder,
  length: 1,
  read: () => readTestDataSet(folder, inputs),
  expected: () => readExpected(folder),
});

async function openWav(file: string, inputs: readonly ValueInfo[], options: SampleOptions): Promise<Stack> {
  const sampleRate = options.sampleRate ?? DEFAULT_SAMPLE_RATE;
  const shapes = resolveShapes(inputs, parseDims(options.dims), 'open');
  return wavFeeds(await readWav(file), { file, inputs, shapes, sampleRate });
}

function digestOf(feeds: Feeds): string {
  const hash = createHash('sha256');
  for (const name of Object.keys(feeds).sort()) hash.update(name).update(feeds[name]!.data);
  return hash.digest('hex');
}
