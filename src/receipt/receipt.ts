import path from 'node:path';
import { InputError, messageOf, shown } from '../errors.ts';
import { readRegularFile } from '../read-file.ts';
import { VERSION } from '../version.generated.ts';
import { replaceFile } from './replace-file.ts';

/** A file that an action read or wrote, identified by its root (see `src/model/digest.ts`). */
export interface FileIdentity {
  /** Path as given, relative to the receipt's folder where the file lies in it or below; `/` between its parts. */
  path: string;
  role: 'read' | 'written';
  /** Bytes. */
  size: number;
  /** Root of the file: lower-case hex. */
  root: string;
  /** SHA-256 of each 64 MiB chunk, lower-case hex, where they came free. */
  chunks?: string[];
}

/** The machine and runtime a result was made on. */
export interface Environment {
  os: string;
  arch: string;
  cpu: string;
  cores: number;
  /** Instruction sets that change INT8 results or speed (avx2, avx512f, avx512_vnni, avx_vnni, sha_ni, asimd, …). */
  isa: string[];
  node: string;
  /** onnxruntime-node version and the execution provider used, where the action ran a model. */
  ort?: string;
  provider?: string;
}

export type Verdict = 'pass' | 'fail' | 'inconclusive';

export type ActionName = 'quantize' | 'checksum' | 'validate' | 'compare' | 'promote-config';

/** The audit trail of one action: `<model stem>.<action>.json`. */
export interface Receipt<Results = Record<string, unknown>> {
  schema: 1;
  tool: { name: 'onnx-quantize-actions'; version: string };
  action: ActionName;
  /** ISO 8601, UTC. */
  createdAt: string;
  inputs: Record<string, string>;
  /** Root over all files of the model the receipt is about: what promote-config compares. */
  modelRoot: string;
  files: FileIdentity[];
  environment: Environment;
  results: Results;
  verdict: Verdict;
}

/** What an action itself knows of its receipt; `createReceipt` adds the rest. */
export type ReceiptContent<Results> = Omit<Receipt<Results>, 'schema' | 'tool' | 'createdAt'> & { now: Date };

/** A receipt of this version of the tool, made at `now`. */
export function createReceipt<Results>({ now, ...content }: ReceiptContent<Results>): Receipt<Results> {
  const { action, inputs, modelRoot, files, environment, results, verdict } = content;
  return {
    schema: 1,
    tool: { name: 'onnx-quantize-actions', version: VERSION },
    action,
    createdAt: now.toISOString(),
    verdict,
    inputs,
    modelRoot,
    files,
    environment,
    results,
  };
}

/** Where the receipt of `action` about `model` goes: `<directory or the model's folder>/<model stem>.<action>.json`. */
export function receiptPath(model: string, action: ActionName, directory?: string): string {
  return path.join(directory ?? path.dirname(model), `${path.parse(model).name}.${action}.json`);
}

/** How a receipt at `receipt` names `file`: relative where the file lies beside it or below, otherwise as given. */
export function pathInReceipt(file: string, receipt: string): string {
  const relative = path.relative(path.dirname(path.resolve(receipt)), path.resolve(file));
  const outside = relative === '..' || relative.startsWith(`..${path.sep}`) || path.isAbsolute(relative);
  return (outside ? file : relative).replaceAll(path.sep, '/');
}

/**
 * Writes a receipt, making its folder: to a temporary file beside it, synced, then renamed, so a reader sees the old
 * receipt or the new one. Numbers that JSON has no word for (NaN, Infinity) would read back as null and are refused.
 * @throws InputError where the folder cannot be written.
 */
export async function writeReceipt<Results>(receipt: Receipt<Results>, file: string): Promise<void> {
  const text = `${JSON.stringify(receipt, refuseNonFinite, 2)}\n`;
  try {
    await replaceFile(file, text);
  } catch (error) {
    throw new InputError(
      `The receipt ${file} cannot be written (${messageOf(error)}): name a writable file or folder.`,
      {
        cause: error,
      },
    );
  }
}

/** The receipt of a model of 100,000 nodes has some 20 MB. */
const MAX_RECEIPT_BYTES = 32 * 2 ** 20;

/**
 * Reads a receipt and checks all that every receipt has; `results` is its action's business.
 * @throws InputError, one sentence, where the file is missing, no JSON, or no receipt of this schema.
 */
export async function readReceipt(file: string): Promise<Receipt> {
  const bytes = await readRegularFile(file, 'The receipt', MAX_RECEIPT_BYTES);
  return parseReceipt(bytes.toString('utf8'), file);
}

/** `readReceipt` for a text already read; `name` is what errors call it. */
export function parseReceipt(text: string, name: string): Receipt {
  let value: unknown;
  try {
    value = JSON.parse(text.replace(/^\uFEFF/, ''));
  } catch (error) {
    throw new InputError(`The receipt ${name} is not JSON (${messageOf(error)}): write it anew with the action.`, {
      cause: error,
    });
  }
  const problem = problemOf(value);
  if (problem !== undefined) {
    throw new InputError(`The receipt ${name} is broken: ${problem}; write it anew with the action.`);
  }
  return value as Receipt;
}

export function isActionName(value: unknown): value is ActionName {
  return isOneOf(ACTIONS, value);
}

export function isVerdict(value: unknown): value is Verdict {
  return isOneOf(VERDICTS, value);
}

const ACTIONS: readonly string[] = ['quantize', 'checksum', 'validate', 'compare', 'promote-config'];
const VERDICTS: readonly string[] = ['pass', 'fail', 'inconclusive'];
const ROLES: readonly string[] = ['read', 'written'];
const SHA256_HEX = /^[0-9a-f]{64}$/;

/** The first thing that makes `value` no receipt, as half a sentence. */
function problemOf(value: unknown): string | undefined {
  if (!isRecord(value)) return 'it is not a JSON object';
  if (value.schema !== 1) return `its schema is ${shown(value.schema)}, and this version reads schema 1`;
  if (!isRecord(value.tool) || value.tool.name !== 'onnx-quantize-actions' || !isText(value.tool.version)) {
    return 'its "tool" does not name onnx-quantize-actions and a version';
  }
  if (!isActionName(value.action)) return `its "action" is ${shown(value.action)}, not one of ${ACTIONS.join(', ')}`;
  if (!isText(value.createdAt) || Number.isNaN(Date.parse(value.createdAt))) {
    return `its "createdAt" is ${shown(value.createdAt)}, not a date`;
  }
  if (!isVerdict(value.verdict)) return `its "verdict" is ${shown(value.verdict)}, not ${VERDICTS.join(', ')}`;
  if (!isRecord(value.inputs) || !Object.values(value.inputs).every((input) => typeof input === 'string')) {
    return 'its "inputs" are not an object of strings';
  }
  if (!isDigest(value.modelRoot)) return `its "modelRoot" is ${shown(value.modelRoot)}, not 64 lower-case hex digits`;
  if (!Array.isArray(value.files)) return 'its "files" are not a list';
  for (const [index, entry] of value.files.entries()) {
    const problem = fileProblemOf(entry);
    if (problem !== undefined) return `its "files" entry ${index} ${problem}`;
  }
  return (
    environmentProblemOf(value.environment) ?? (isRecord(value.results) ? undefined : 'its "results" are not an object')
  );
}

function fileProblemOf(entry: unknown): string | undefined {
  if (!isRecord(entry)) return 'is not an object';
  if (!isText(entry.path)) return 'has no "path"';
  if (!isOneOf(ROLES, entry.role)) return `has the role ${shown(entry.role)}, not ${ROLES.join(' or ')}`;
  if (!Number.isSafeInteger(entry.size) || Number(entry.size) < 0) return `has the size ${shown(entry.size)}`;
  if (!isDigest(entry.root)) return `has the root ${shown(entry.root)}, not 64 lower-case hex digits`;
  if (entry.chunks !== undefined && !(Array.isArray(entry.chunks) && entry.chunks.every(isDigest))) {
    return 'has "chunks" that are not a list of digests';
  }
  return undefined;
}

function environmentProblemOf(value: unknown): string | undefined {
  if (!isRecord(value)) return 'its "environment" is not an object';
  for (const key of ['os', 'arch', 'cpu', 'node']) {
    if (typeof value[key] !== 'string') return `its "environment" has no "${key}"`;
  }
  if (typeof value.cores !== 'number') return 'its "environment" has no "cores"';
  if (!Array.isArray(value.isa) || !value.isa.every(isText)) return 'its "environment" has no list "isa"';
  return undefined;
}

function refuseNonFinite(key: string, value: unknown): unknown {
  if (typeof value === 'number' && !Number.isFinite(value)) throw new Error(`receipt: "${key}" is ${value}`);
  return value;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

function isDigest(value: unknown): value is string {
  return typeof value === 'string' && SHA256_HEX.test(value);
}

function isOneOf(list: readonly string[], value: unknown): boolean {
  return typeof value === 'string' && list.includes(value);
}
