import { createHash } from 'node:crypto';
import { copyFile } from 'node:fs/promises';
import path from 'node:path';
import { InputError } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import {
  assertOutputDiffers,
  assertUnchanged,
  copyModel,
  type FileDigest,
  type FileStamp,
  type Model,
  readModel,
  rootOf,
} from '../model/index.ts';
import { createReceipt, type FileIdentity, type Receipt, readReceipt, writeReceipt } from '../receipt/index.ts';
import { environment } from '../runtime/index.ts';
import { VERSION } from '../version.generated.ts';
import { type QuantizeOptions, type Settings, settingsOf } from './options.ts';
import {
  identitiesOf,
  inputsOf,
  progress,
  type QuantizeContext,
  type QuantizeResult,
  type QuantizeResults,
  receiptOf,
} from './quantize.ts';
import { digestSources, Pool } from './stream/index.ts';

/** What a run would quantize, identified by content. */
export interface Source {
  /** The same for every run with the same result: a name of 64 hex digits. */
  key: string;
  settings: Settings;
  model: Model;
  digests: FileDigest[];
}

/** What is known of a result that was not made but found. */
export type Reused = Omit<QuantizeResult, 'plan' | 'table'>;

/** Name of the receipt in a stored result. */
const RECEIPT = 'quantize.json';

/**
 * Digests the model and names its result: SHA-256 of the model's root, the options that change the result, the base
 * name of the output (graphs name their data by it) and the version of this tool.
 * @throws InputError as `quantize` does.
 */
export async function identify(options: QuantizeOptions, context: QuantizeContext): Promise<Source> {
  const settings = settingsOf(options);
  const model = await readModel(settings.model);
  assertOutputDiffers(model, settings.output);
  const digests = await digest(model.stamps, settings, context, 'Digesting the source');
  const { method, weightType, symmetric, perChannel, reduceRange, opTypes, includeNodes, excludeNodes } = settings;
  const identity = {
    version: VERSION,
    root: rootOf(digests.flatMap(({ chunks }) => chunks)),
    output: path.basename(settings.output),
    options: [method, weightType, symmetric, perChannel, reduceRange, opTypes, includeNodes, excludeNodes],
    allowNonFinite: settings.allowNonFinite,
  };
  const key = createHash('sha256').update(JSON.stringify(identity)).digest('hex');
  return { key, settings, model, digests };
}

/**
 * Puts a stored result in place and writes its receipt; undefined, with a warning, where what lies in `folder` is not
 * the result that its receipt tells of.
 * @throws InputError where the output or the receipt cannot be written.
 */
export async function reuse(
  { settings, model, digests }: Source,
  folder: string,
  options: QuantizeOptions,
  context: QuantizeContext,
): Promise<Reused | undefined> {
  const stored = path.join(folder, path.basename(settings.output));
  const found = await checkStored(stored, path.join(folder, RECEIPT), settings, context, digests).catch(explained);
  if (typeof found === 'string') {
    context.log.warning(`The result in the cache is not used, and the model is quantized: ${found}`);
    return undefined;
  }
  assertUnchanged(model.stamps);
  const written = await copyModel(stored, settings.output, found.digests);
  const { createdAt, environment: made, results } = found.receipt;
  const note = `Taken from the cache: quantized on ${createdAt} by this version, on ${made.cpu}.`;
  context.log.info(note);
  for (const warning of results.warnings) context.log.warning(warning);
  const file = receiptOf(settings);
  const receipt = createReceipt<QuantizeResults>({
    action: 'quantize',
    now: context.now?.() ?? new Date(),
    inputs: inputsOf(options),
    modelRoot: written.root,
    files: [
      ...identitiesOf('read', digests, pathsOf(model.stamps), file),
      ...identitiesOf('written', written.files, pathsOf(written.files), file),
    ],
    environment: (context.environment ?? environment)(),
    results: { ...results, notes: [...results.notes, note], fromCache: createdAt },
    verdict: 'pass',
  });
  await writeReceipt(receipt, file);
  const { compressionRatio, nodesQuantized } = results;
  const data = written.files[1]?.path ?? '';
  return { model: settings.output, data, root: written.root, compressionRatio, nodesQuantized, report: file };
}

/**
 * Copies a result and its receipt into `folder`, for `reuse`. False where the data has another name than usual,
 * because a model that stood at the output still uses that: such a graph fits this output only.
 */
export async function store({ model, data, report }: QuantizeResult, folder: string): Promise<boolean> {
  if (data !== '' && path.basename(data) !== `${path.basename(model)}.data`) return false;
  makeFolder(folder);
  for (const file of [model, ...(data ? [data] : [])]) await copyFile(file, path.join(folder, path.basename(file)));
  await copyFile(report, path.join(folder, RECEIPT));
  return true;
}

interface Stored {
  receipt: Receipt<QuantizeResults>;
  /** By absolute path. */
  digests: Map<string, FileDigest>;
}

/** Reads a stored result whole. @throws InputError that says how it is not what its receipt tells of. */
async function checkStored(
  stored: string,
  receiptFile: string,
  settings: Settings,
  context: QuantizeContext,
  sources: readonly FileDigest[],
): Promise<Stored> {
  const receipt = await readReceipt(receiptFile);
  if (!isQuantized(receipt) || !sameRoots(receipt, 'read', sources)) {
    throw new InputError('its receipt is about another model; delete that cache entry.');
  }
  const { stamps } = await readModel(stored);
  const digests = await digest(stamps, settings, context, 'Checking the cached result');
  if (!sameRoots(receipt, 'written', digests)) {
    throw new InputError('its files do not have the digests in its receipt; delete that cache entry.');
  }
  return { receipt, digests: new Map(stamps.map(({ path: file }, i) => [file, digests[i]!])) };
}

function isQuantized(receipt: Receipt): receipt is Receipt<QuantizeResults> {
  const { compressionRatio, nodesQuantized, notes, warnings } = receipt.results;
  const numbers = [compressionRatio, nodesQuantized].every((figure) => typeof figure === 'number');
  const complete = numbers && Array.isArray(notes) && Array.isArray(warnings);
  return receipt.action === 'quantize' && receipt.tool.version === VERSION && complete;
}

function sameRoots({ files }: Receipt, role: FileIdentity['role'], digests: readonly FileDigest[]): boolean {
  const told = files.filter((file) => file.role === role);
  return told.length === digests.length && told.every(({ root }, i) => root === digests[i]!.root);
}

/** Digests on all workers, so that this thread still hears a cancellation. */
async function digest(
  stamps: readonly FileStamp[],
  { threads }: Settings,
  { log, signal }: QuantizeContext,
  label: string,
): Promise<FileDigest[]> {
  const pool = new Pool({ ...(threads === undefined ? {} : { threads }), ...(signal ? { signal } : {}) });
  try {
    const total = stamps.reduce((sum, { size }) => sum + size, 0);
    return await digestSources(stamps, pool, progress(log, label, total));
  } finally {
    await pool.close();
  }
}

function pathsOf(files: readonly { path: string }[]): string[] {
  return files.map((file) => file.path);
}

/** A damaged entry is no failure of this run. */
function explained(cause: unknown): string {
  if (cause instanceof InputError) return cause.message;
  throw cause;
}
