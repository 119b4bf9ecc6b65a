import { createReadStream, createWriteStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { InputError } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import { runProgram, splitCommand } from '../program.ts';
import { bytesOfFeeds, type Feeds, isNumeric, npyHeader, type Samples, type Tensor } from '../runtime/index.ts';
import type { StoredTensor } from './metrics/outputs.ts';
import { assertSpace } from './quality.ts';

/** What the user's own program found. */
export interface Metric {
  /** The number that `min-metric` is held against. */
  value: number;
  /** Other numbers that it printed, by name. */
  others: Record<string, number>;
  /** Wall time of the program, s. */
  seconds: number;
}

/** Folders that the program is given, in this order; each has a folder per sample with a file per tensor. */
const FOLDERS = ['reference', 'model', 'samples'] as const;

/**
 * The user's own measure, such as mAP or a word error rate: a program that is given what both models answered.
 *
 * It is run without a shell as `<command> <reference> <model> <samples>`: three folders, in each of them a folder per
 * sample (`0000`, `0001`, …) with a NumPy file per tensor, `<name>.npy`; characters of a name that are no letters,
 * digits, `_`, `.` or `-` become `_`, and text goes to `<name>.json`. It prints a number, or a JSON object with the
 * number under `metric`, as its last line.
 */
export class MetricCommand {
  readonly #argv: readonly string[];
  readonly #folder: string;
  readonly #samples: Samples;

  /** @param folder a temporary folder, which the caller removes. @throws InputError for a command that needs a shell */
  constructor(command: string, folder: string, samples: Samples) {
    this.#argv = splitCommand(command, 'metric-command');
    this.#folder = path.join(folder, 'metric');
    this.#samples = samples;
  }

  /** Keeps what both models answered on a sample. @throws InputError, before the first is written, for too small a disk */
  async add(index: number, reference: readonly StoredTensor[], model: readonly StoredTensor[]): Promise<void> {
    const feeds = await this.#samples.get(index);
    if (index === 0) {
      makeFolder(this.#folder);
      const outputs = [...reference, ...model].reduce((sum, { length }) => sum + length, 0);
      const bytes = (outputs + bytesOfFeeds(feeds)) * this.#samples.length;
      await assertSpace(
        this.#folder,
        bytes,
        `metric-command is given what both models answer to ${this.#samples.length} samples`,
      );
    }
    await writeOutputs(this.#folderOf('reference', index), reference);
    await writeOutputs(this.#folderOf('model', index), model);
    await writeFeeds(this.#folderOf('samples', index), feeds);
  }

  /** Runs the program. @throws InputError where it fails, takes too long or prints no number */
  async run(timeoutSeconds: number, signal: AbortSignal | undefined): Promise<Metric> {
    const folders = FOLDERS.map((name) => path.join(this.#folder, name));
    const { ok, ms, stdout, detail } = await runProgram([...this.#argv, ...folders], {
      limitMs: timeoutSeconds * 1000,
      cwd: process.cwd(),
      signal,
    });
    signal?.throwIfAborted();
    if (!ok) throw new InputError(`metric-command failed: ${detail}`);
    return { ...parseMetric(stdout), seconds: ms / 1000 };
  }

  #folderOf(what: (typeof FOLDERS)[number], index: number): string {
    const folder = path.join(this.#folder, what, String(index).padStart(4, '0'));
    makeFolder(folder);
    return folder;
  }
}

/** The last line that is not empty: a number, or a JSON object. @throws InputError for anything else */
export function parseMetric(stdout: string): Pick<Metric, 'value' | 'others'> {
  const line = stdout.trimEnd().split('\n').at(-1)?.trim() ?? '';
  const plain = line === '' ? Number.NaN : Number(line);
  if (Number.isFinite(plain)) return { value: plain, others: {} };
  const object = jsonOf(stdout.trim()) ?? jsonOf(line);
  const numbers = Object.entries(object ?? {}).filter((entry): entry is [string, number] => Number.isFinite(entry[1]));
  const { metric, ...others } = Object.fromEntries(numbers);
  if (metric !== undefined) return { value: metric, others };
  const said = line === '' ? 'nothing' : `"${line.slice(0, 80)}"`;
  throw new InputError(
    `metric-command printed ${said}: its last line must be a number, or a JSON object such as {"metric": 0.83}.`,
  );
}

function jsonOf(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

async function writeOutputs(folder: string, outputs: readonly StoredTensor[]): Promise<void> {
  const names = fileNames(outputs.map(({ name }) => name));
  for (const [index, { dtype, dims, path: file }] of outputs.entries()) {
    const numeric = isNumeric(dtype as Tensor['dtype']);
    const target = createWriteStream(path.join(folder, `${names[index]}.${numeric ? 'npy' : 'json'}`));
    if (numeric) target.write(npyHeader(dtype as Tensor['dtype'], dims));
    await pipeline(createReadStream(file), target);
  }
}

async function writeFeeds(folder: string, feeds: Feeds): Promise<void> {
  const names = fileNames(Object.keys(feeds));
  for (const [index, { dtype, dims, data }] of Object.values(feeds).entries()) {
    await writeFile(path.join(folder, `${names[index]}.npy`), Buffer.concat([npyHeader(dtype, dims), data]));
  }
}

/** Names of files that stand for names of tensors, which may hold anything; a number sets apart those that would meet. */
function fileNames(names: readonly string[]): string[] {
  const used = new Set<string>();
  return names.map((name) => {
    const plain = name.replace(/[^\w.-]/g, '_').slice(0, 100) || '_';
    let file = plain;
    // Some file systems do not tell upper case from lower case.
    for (let number = 2; used.has(file.toLowerCase()); number++) file = `${plain}_${number}`;
    used.add(file.toLowerCase());
    return file;
  });
}
