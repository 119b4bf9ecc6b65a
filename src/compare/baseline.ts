import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { InputError, messageOf } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import { digestFile } from '../model/index.ts';
import { readRegularFileIfThere } from '../read-file.ts';
import { isJsonObject, type Log } from '../receipt/index.ts';
import { type CacheService, makeScratch } from '../runtime/index.ts';
import type { FigureName } from './gates.ts';
import type { StoredTensor } from './metrics/outputs.ts';

/** What decides the reference's outputs: its bytes, the samples, the runtime and its provider. */
export interface BaselineKey {
  /** Root of the reference model. */
  reference: string;
  /** SHA-256 over all samples. */
  samples: string;
  /** Version of onnxruntime-node. */
  ort: string;
  provider: string;
}

/** The reference's inference times on one machine. */
export interface StoredTiming {
  cpu: string;
  cores: number;
  threads: number;
  /** ISO 8601. */
  measuredAt: string;
  ms: number[];
  loadMs: number;
  residentBytes: number;
  peakBytes: number;
}

/** The figures of the first model that passed against this reference: what later ones are held to. */
export interface StoredFigures {
  cpu: string;
  measuredAt: string;
  modelRoot: string;
  figures: Partial<Record<FigureName, number>>;
}

/** The stored reference of one key: a folder of outputs with `baseline.json`. */
export interface Baseline {
  folder: string;
  /** Outputs by sample; null where nothing is stored yet. */
  outputs: StoredTensor[][] | null;
  timings: StoredTiming[];
  figures: StoredFigures | null;
  /** It came out of the cache service, which others may write to, and nobody has held it against the reference yet. */
  unchecked?: boolean;
}

interface BaselineFile {
  schema: 1;
  key: BaselineKey;
  /** `file` is relative to the folder; `root` as in `src/model/digest.ts`. */
  outputs: { name: string; dtype: string; dims: number[]; length: number; file: string; root: string }[][];
  timings: StoredTiming[];
  figures: StoredFigures | null;
}

const FILE = 'baseline.json';
/** Stands beside it until what the cache gave has been held against the reference, whatever ends the run before that. */
const UNCHECKED = 'unchecked';

/**
 * Looks for the baseline of `key` in `directory`, then in the cache. Outputs whose bytes are not what they were, or that
 * are not `outputs` of so many samples, are worth nothing: they are removed and made anew.
 */
export async function openBaseline(
  directory: string,
  key: BaselineKey,
  { samples, outputs: names }: { samples: number; outputs: readonly string[] },
  log: Log,
  cache?: CacheService,
): Promise<Baseline> {
  const folder = path.join(path.resolve(directory), nameOf(key));
  const empty: Baseline = { folder, outputs: null, timings: [], figures: null };
  const kept = await readBaseline(folder, key);
  const file = kept ?? (await restored(folder, key, cache, log));
  if (!file) return empty;
  const unchecked = existsSync(path.join(folder, UNCHECKED));
  const { timings, figures } = file;
  const outputs = file.outputs.map((sample) =>
    sample.map(({ file: name, root, ...tensor }) => ({ ...tensor, path: path.join(folder, name), root })),
  );
  const dropped = async (what: string): Promise<Baseline> => {
    log.warning(`${what}; the reference runs again.`);
    await rm(folder, { recursive: true, force: true });
    return { ...empty, figures };
  };
  const wanted = [...names].sort().join('\n');
  const named = (sample: StoredTensor[]) => sample.map(({ name }) => name).sort();
  if (outputs.length !== samples || outputs.some((sample) => named(sample).join('\n') !== wanted)) {
    return dropped(`The baseline ${folder} has other outputs than the model`);
  }
  for (const output of outputs.flat()) {
    const found = await digestFile(output.path).catch(() => undefined);
    if (found?.root === output.root && found.size === output.length) continue;
    return dropped(`The stored output ${output.path} is not what was stored`);
  }
  return { folder, outputs, timings, figures, unchecked };
}

/** Notes that the reference answers as the outputs say. The times remain somebody else's, and go. */
export async function acceptBaseline({ folder }: Baseline, key: BaselineKey): Promise<void> {
  const file = await readBaseline(folder, key);
  if (file) await writeBaseline(folder, { ...file, timings: [] });
  await rm(path.join(folder, UNCHECKED), { force: true });
}

/** Removes outputs that are not the reference's, and what else came with them. */
export async function refuseBaseline({ folder }: Baseline, log: Log): Promise<Baseline> {
  log.warning(
    `The baseline from the cache service is not what the reference answers; it runs again. See who may write there.`,
  );
  await rm(folder, { recursive: true, force: true });
  return { folder, outputs: null, timings: [], figures: null };
}

/** Times of the reference taken on this very machine and setting, if there are any. */
export function timingFor(
  baseline: Baseline,
  machine: Pick<StoredTiming, 'cpu' | 'cores' | 'threads'>,
): StoredTiming | undefined {
  return baseline.timings.find(
    ({ cpu, cores, threads }) => cpu === machine.cpu && cores === machine.cores && threads === machine.threads,
  );
}

/** A folder beside the baselines for outputs in the making; `storeOutputs` renames it, the caller removes it otherwise. */
export async function stageOutputs(directory: string): Promise<string> {
  const folder = path.resolve(directory);
  try {
    makeFolder(folder);
    return await makeScratch(folder, '.partial');
  } catch (error) {
    throw new InputError(`baseline: ${directory} cannot be written (${messageOf(error)}); name a writable folder.`);
  }
}

/** Keeps outputs that lie in `staged` under the baseline's name. A run that was faster with the same key wins. */
export async function storeOutputs(
  baseline: Baseline,
  key: BaselineKey,
  staged: string,
  outputs: StoredTensor[][],
): Promise<void> {
  const described: BaselineFile['outputs'] = [];
  for (const sample of outputs) {
    const tensors: BaselineFile['outputs'][number] = [];
    for (const { name, dtype, dims, length, path: file } of sample) {
      const { root } = await digestFile(file);
      tensors.push({ name, dtype, dims, length, file: path.relative(staged, file).replaceAll(path.sep, '/'), root });
    }
    described.push(tensors);
  }
  await writeBaseline(staged, { schema: 1, key, outputs: described, timings: [], figures: baseline.figures });
  await rename(staged, baseline.folder).catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST' && error.code !== 'EPERM') throw error;
    await rm(staged, { recursive: true, force: true });
  });
}

/** Adds times or figures to what is stored. */
export async function updateBaseline(
  { folder }: Baseline,
  key: BaselineKey,
  add: { timing?: StoredTiming; figures?: StoredFigures },
): Promise<void> {
  const file = await readBaseline(folder, key);
  if (!file) return;
  const timings = add.timing ? [...file.timings, add.timing] : file.timings;
  await writeBaseline(folder, { ...file, timings, figures: add.figures ?? file.figures });
}

/** Offers a baseline that is new to the cache, whose entries are written once. A broken cache costs a warning. */
export async function cacheBaseline({ folder }: Baseline, cache: CacheService, log: Log): Promise<void> {
  await cache.save(folder, cacheKey(folder)).catch((error: unknown) => {
    log.warning(`The baseline was not cached: ${messageOf(error)}.`);
  });
}

function nameOf(key: BaselineKey): string {
  const text = JSON.stringify([key.reference, key.samples, key.ort, key.provider]);
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}

const cacheKey = (folder: string): string => `onnx-compare-baseline-${path.basename(folder)}`;

async function restored(
  folder: string,
  key: BaselineKey,
  cache: CacheService | undefined,
  log: Log,
): Promise<BaselineFile | undefined> {
  if (!cache) return undefined;
  let file: BaselineFile | undefined;
  try {
    makeFolder(folder);
    await writeFile(path.join(folder, UNCHECKED), '');
    if (await cache.restore(folder, cacheKey(folder))) file = await readBaseline(folder, key);
  } catch (error) {
    log.warning(`The cache gave no baseline: ${messageOf(error)}.`);
  }
  if (file === undefined) await rm(folder, { recursive: true, force: true });
  return file;
}

/** Has some 200 bytes for each output of each sample. */
const MAX_FILE_BYTES = 64 * 2 ** 20;

/** Undefined where there is none for this key; a broken one is as good as none. */
async function readBaseline(folder: string, key: BaselineKey): Promise<BaselineFile | undefined> {
  const bytes = await readRegularFileIfThere(path.join(folder, FILE), 'baseline:', MAX_FILE_BYTES);
  if (bytes === undefined) return undefined;
  let file: unknown;
  try {
    file = JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
  return isBaseline(file) && nameOf(file.key) === nameOf(key) ? file : undefined;
}

/** Whoever may write to the cache service may have written this. */
function isBaseline(value: unknown): value is BaselineFile {
  if (!isJsonObject(value) || value.schema !== 1 || !isJsonObject(value.key)) return false;
  const { outputs, timings, figures } = value;
  const sound = (list: unknown, each: (item: unknown) => boolean) => Array.isArray(list) && list.every(each);
  return (
    sound(outputs, (sample) => sound(sample, isOutput)) &&
    sound(timings, isTiming) &&
    (figures === null ||
      (isJsonObject(figures) && isTexts(figures, ['cpu', 'measuredAt', 'modelRoot']) && isNumbers(figures.figures)))
  );
}

function isOutput(value: unknown): boolean {
  if (!isJsonObject(value) || !isTexts(value, ['name', 'dtype', 'file', 'root'])) return false;
  const parts = String(value.file).split(/[\\/]/);
  // A file of this folder or below, on any system.
  const below = !parts.some((part) => part === '' || part === '..') && !path.win32.isAbsolute(String(value.file));
  const counts = [value.length, ...(Array.isArray(value.dims) ? value.dims : [undefined])];
  return below && counts.every((count) => Number.isSafeInteger(count) && Number(count) >= 0);
}

function isTiming(value: unknown): boolean {
  if (!isJsonObject(value) || !isTexts(value, ['cpu', 'measuredAt'])) return false;
  const { cores, threads, loadMs, residentBytes, peakBytes, ms } = value;
  return Array.isArray(ms) && isNumbers({ cores, threads, loadMs, residentBytes, peakBytes, ...ms });
}

function isTexts(value: Record<string, unknown>, keys: readonly string[]): boolean {
  return keys.every((key) => typeof value[key] === 'string');
}

function isNumbers(value: unknown): boolean {
  return isJsonObject(value) && Object.values(value).every((each) => Number.isFinite(each));
}

async function writeBaseline(folder: string, file: BaselineFile): Promise<void> {
  const temporary = path.join(folder, `${FILE}.${randomBytes(4).toString('hex')}.tmp`);
  await writeFile(temporary, `${JSON.stringify(file, null, 2)}\n`);
  await rename(temporary, path.join(folder, FILE));
}
