import { tmpdir } from 'node:os';
import path from 'node:path';
import { InputError } from '../errors.ts';
import {
  assertOutputDiffers,
  assertUnchanged,
  type Constant,
  explainWriteError,
  type FileDigest,
  type JobContent,
  layoutModel,
  type Model,
  type ModelOutput,
  openOutput,
  readModel,
  rootOf,
  type TensorProto,
} from '../model/index.ts';
import type { Log } from '../receipt/index.ts';
// Not the room's door: that brings the plotting library along, 40 MiB of the 128.
import {
  createReceipt,
  type Environment,
  type FileIdentity,
  inputsOf,
  pathInReceipt,
  receiptPath,
  writeReceipt,
} from '../receipt/index.ts';
import { availableMemory, environment, withScratch } from '../runtime/index.ts';
import type { DecisionStore } from './cached.ts';
import { bytesOf, type Shape } from './encodings/encoding.ts';
import { methodOf } from './methods/registry.ts';
import type { QuantizeOptions } from './options.ts';
import { assertHolds, type Draft, draft, type Findings, type Plan, planText, refuseUnfit } from './plan/index.ts';
import { type Settings, settingsOf } from './settings.ts';
import {
  computeParameters,
  digestSources,
  FileWriter,
  NonFiniteBlocks,
  Pool,
  type StreamJob,
  type WeightJob,
  type WeightParameters,
  type WrittenFile,
} from './stream/index.ts';
import type { Encoded } from './values/value.ts';

export interface QuantizeContext {
  log: Log;
  signal?: AbortSignal | undefined;
  now?: (() => Date) | undefined;
  /** The machine, for the receipt. Default: this one. */
  environment?: (() => Environment) | undefined;
  /** Bytes of memory that can be had. Default: what this machine says. */
  availableMemory?: (() => number) | undefined;
  /** Decisions of earlier runs, for methods that measure before they decide. */
  decisions?: DecisionStore | undefined;
}

export interface QuantizeResult {
  /** Path of the quantized model; of a dry run, where it would be. */
  model: string;
  /** Path of its external data, empty where there is none. */
  data: string;
  /** Root of the quantized model; empty after a dry run. */
  root: string;
  /** Bytes of the source ÷ bytes of the result; of a dry run, as planned. */
  compressionRatio: number;
  nodesQuantized: number;
  plan: Plan;
  /** The plan as text. */
  table: string;
  /** Path of the receipt; empty after a dry run. */
  report: string;
}

/** What a quantize receipt says. Sizes are bytes. */
export interface QuantizeResults extends Record<string, unknown> {
  method: string;
  /** The release of onnxruntime.quantization whose numbers and graphs these are. */
  compat: 'ort-1.32';
  sourceBytes: number;
  resultBytes: number;
  compressionRatio: number;
  nodesQuantized: number;
  weights: Plan['weights'];
  notes: string[];
  warnings: string[];
  nodes: Plan['nodes'];
}

/**
 * Quantizes a model file: plans, finds the ranges of the weights, writes the new files, and puts them in place in one
 * step. Takes at most 128 MiB whatever the weights; a graph of more than 400 kB without them takes 96 MiB and 80 times its
 * bytes, and is refused where the machine has less. A dry run only plans.
 *
 * @throws InputError, in one sentence, for what a user can mend; nothing is left behind then.
 */
export async function quantize(options: QuantizeOptions, context: QuantizeContext): Promise<QuantizeResult> {
  const settings = settingsOf(options);
  const source = await readModel(settings.model);
  assertOutputDiffers(source, settings.output);
  assertHolds(source, settings, (context.availableMemory ?? availableMemory)());
  const { prepare, observe } = methodOf(settings);
  if (!prepare && !observe) return make(source, {}, options, settings, context);
  refuseUnfit(source);
  return withScratch(tmpdir(), 'onnx-quantize', async (scratch) => {
    const prepared = prepare?.(settings, source, path.join(scratch, 'prepared')) ?? { model: source, notes: [] };
    const run = { ...context, threads: settings.threads, scratch };
    const observed = await observe?.(settings, prepared.model, run);
    return make(prepared.model, { notes: prepared.notes, observed }, options, settings, context);
  });
}

/** Plans, and where it is no dry run makes the files. */
async function make(
  model: Model,
  findings: Findings,
  options: QuantizeOptions,
  settings: Settings,
  context: QuantizeContext,
): Promise<QuantizeResult> {
  const { log } = context;
  const first = draft(model, settings, findings);
  if (settings.dryRun) {
    const table = planText(first.plan);
    for (const line of table.split('\n')) log.info(line);
    for (const warning of first.plan.warnings) log.warning(warning);
    return { ...dryResult(model, settings, first.plan), table };
  }
  const output = openOutput(settings.output);
  try {
    const skip: Skipped = new Map();
    for (let current = first; ; current = draft(model, settings, { ...findings, skip })) {
      const result = await carryOut({ options, settings, context, model, findings, output, skip }, current);
      if (result) return result;
    }
  } catch (cause) {
    throw explainWriteError(cause, settings.output);
  } finally {
    output.abort();
  }
}

/** Holders of constants that stay as they are because of their values, with the reason. */
type Skipped = Map<Constant['holder'], string>;

/** What a run works with. */
interface Job {
  options: QuantizeOptions;
  settings: Settings;
  context: QuantizeContext;
  model: Model;
  findings: Findings;
  output: ModelOutput;
  skip: Skipped;
}

/** Writes what was planned and puts it in place. Undefined where values showed that it has to be planned anew. */
async function carryOut(job: Job, first: Draft): Promise<QuantizeResult | undefined> {
  const { options, settings, context, model, output } = job;
  const { log } = context;
  let pool: Pool | undefined;
  let writer: FileWriter | undefined;
  try {
    pool = new Pool({
      ...(settings.threads === undefined ? {} : { threads: settings.threads }),
      ...(context.signal ? { signal: context.signal } : {}),
    });
    const { draft: final, found } = await measure(job, first, pool);
    const { plan, rewrite } = final;
    const contents = contentsOf(rewrite.encoded, found);
    const layout = layoutModel<StreamJob>(rewrite.model, { output: settings.output, contents });
    writer = new FileWriter(pool);
    const written: WrittenFile[] = [];
    let dataName: string | undefined;
    try {
      if (layout.data) {
        const data = { ...layout.data, path: output.dataPath };
        written.push(await writer.write(data, progress(log, 'Writing weights', data.size)));
        dataName = await output.nameData(written[0]!);
      }
      const graph = { ...layout.graph(dataName), path: output.graphPath };
      written.unshift(await writer.write(graph, progress(log, 'Writing the graph', graph.size)));
    } catch (error) {
      if (!(error instanceof NonFiniteBlocks)) throw error;
      await refuseBlocks(error, rewrite.encoded, pool, job);
      return undefined;
    }
    for (const note of plan.notes) log.info(note);
    for (const warning of plan.warnings) log.warning(warning);
    // The disk catches up while the processor digests.
    const [sources] = await Promise.all([
      settings.sourceDigest
        ? digestSources(model.stamps, pool, progress(log, 'Digesting the source', total(model.stamps)))
        : undefined,
      writer.sync(),
    ]);
    assertUnchanged(model.stamps);
    output.commit(dataName);
    const data = dataName === undefined ? '' : path.join(path.dirname(settings.output), dataName);
    const paths = [settings.output, ...(data ? [data] : [])];
    const result = await report(options, settings, context, { model, plan, sources, written, paths });
    return { ...result, data, table: planText(plan) };
  } finally {
    await writer?.close();
    await pool?.close();
  }
}

/** Pass 1, and the plan that holds once the values are known. */
async function measure(
  { model, findings, settings, context: { log }, skip }: Job,
  first: Draft,
  pool: Pool,
): Promise<{ draft: Draft; found: Map<Encoded, WeightParameters> }> {
  const known = new Ranges();
  for (let current = first; ; current = draft(model, settings, { ...findings, skip })) {
    const { encoded } = current.rewrite;
    const total = known.missing(encoded).reduce((sum, { source }) => sum + source.length, 0);
    await known.compute(encoded, pool, progress(log, 'Reading weights', total));
    const found = new Map<Encoded, WeightParameters>();
    const before = skip.size;
    for (const each of encoded) {
      const parameters = known.get(each);
      if (!parameters) continue;
      found.set(each, parameters);
      refuseValues(each, parameters, settings, skip, log);
    }
    if (skip.size === before) return { draft: current, found };
  }
}

/** What pass 1 found, over all drafts of a model: each constant is read once for each way to look at it. */
class Ranges {
  readonly #known = new Map<Constant['holder'], Map<string, WeightParameters>>();

  get({ constant, encoding }: Encoded): WeightParameters | undefined {
    return encoding.range && this.#known.get(constant.holder)?.get(keyOf(encoding.range));
  }

  /** What has to be read yet. */
  missing(encoded: readonly Encoded[]): WeightJob[] {
    return this.#missing(encoded).map(({ range }) => range);
  }

  async compute(encoded: readonly Encoded[], pool: Pool, onBytes: (bytes: number) => void): Promise<void> {
    const missing = this.#missing(encoded);
    const found = await computeParameters(
      missing.map(({ range }) => range),
      pool,
      onBytes,
    );
    for (const [i, { holder, key }] of missing.entries()) this.#of(holder).set(key, found[i]!);
  }

  #missing(encoded: readonly Encoded[]): { holder: Constant['holder']; key: string; range: WeightJob }[] {
    const seen = new Map<Constant['holder'], Set<string>>();
    return encoded.flatMap(({ constant: { holder }, encoding: { range } }) => {
      if (!range) return [];
      const key = keyOf(range);
      const keys = seen.get(holder) ?? new Set(this.#known.get(holder)?.keys());
      seen.set(holder, keys);
      if (keys.has(key)) return [];
      keys.add(key);
      return [{ holder, key, range }];
    });
  }

  #of(holder: Constant['holder']): Map<string, WeightParameters> {
    const known = this.#known.get(holder) ?? new Map<string, WeightParameters>();
    this.#known.set(holder, known);
    return known;
  }
}

/** What a range depends on besides the elements: how they are stored does not change it. */
function keyOf({ source: _, permutation: __, ...scheme }: WeightJob): string {
  return JSON.stringify(scheme);
}

/** Blocks meet their values only when they are made: looks at those that turned out to have no scale, as pass 1 would have. */
async function refuseBlocks(
  { found }: NonFiniteBlocks,
  encoded: readonly Encoded[],
  pool: Pool,
  { settings, skip, context: { log } }: Job,
): Promise<void> {
  const met = encoded.filter(({ encoding }) => {
    const job = encoding.range ? undefined : encoding.job(undefined);
    return job !== undefined && 'kind' in job && job.kind === 'blocks' && found.has(job.job);
  });
  const jobs = met.map(({ encoding: { source } }): WeightJob => {
    return { source, target: 'int8', symmetric: false, reduceRange: false, axis: null };
  });
  const ranges = await computeParameters(jobs, pool);
  for (const [i, each] of met.entries()) refuseValues(each, ranges[i]!, settings, skip, log);
}

/** Keeps FP32 what has no 8-bit or 16-bit form, where the user allows it. */
function refuseValues(
  { constant, encoding }: Encoded,
  found: WeightParameters,
  settings: Settings,
  skip: Skipped,
  log: Log,
): void {
  const { name, holder } = constant;
  const { nonFinite } = found;
  if (skip.has(holder)) return;
  if (nonFinite > 0) {
    const what = `Weight "${name}" has ${nonFinite} NaN or infinite value${nonFinite > 1 ? 's' : ''}`;
    if (!settings.allowNonFinite) {
      throw new InputError(
        `${what}, for which there is no scale: export the model again, or keep it FP32 with \`allow-non-finite\`.`,
      );
    }
    log.warning(`${what}: it stays FP32.`);
    skip.set(holder, `weight ${name} has NaN or infinite values`);
    return;
  }
  const refusal = encoding.refusal(found);
  if (refusal !== undefined) skip.set(holder, `weight ${name} ${refusal}`);
}

/** Puts what pass 1 found into the small tensors of the new graph, and says how the large ones are streamed. */
function contentsOf(
  encoded: readonly Encoded[],
  found: ReadonlyMap<Encoded, WeightParameters>,
): Map<TensorProto, JobContent<StreamJob>> {
  const contents = new Map<TensorProto, JobContent<StreamJob>>();
  for (const each of encoded) {
    const { data, encoding, parameters } = each;
    const own = found.get(each);
    const put = (tensor: TensorProto, shape: Shape, content: StreamJob | Uint8Array) => {
      if (content instanceof Uint8Array) tensor.rawData = content;
      else contents.set(tensor, { length: bytesOf(shape), job: content });
    };
    put(data, encoding.data, encoding.job(own));
    for (const { tensor, parameter } of parameters) put(tensor, parameter, encoding.fill(parameter, own));
  }
  return contents;
}

async function report(
  options: QuantizeOptions,
  settings: Settings,
  context: QuantizeContext,
  made: { model: Model; plan: Plan; sources: FileDigest[] | undefined; written: WrittenFile[]; paths: string[] },
): Promise<Omit<QuantizeResult, 'data' | 'table'>> {
  const { model, plan, sources, written, paths } = made;
  const file = receiptOf(settings);
  const root = rootOf(written.flatMap(({ chunks }) => chunks));
  const sourceBytes = total(model.stamps);
  const resultBytes = total(written);
  const compressionRatio = sourceBytes / resultBytes;
  const { nodesQuantized, weights, notes, warnings, nodes } = plan;
  const results: QuantizeResults = {
    method: settings.method,
    compat: 'ort-1.32',
    sourceBytes,
    resultBytes,
    compressionRatio,
    nodesQuantized,
    weights,
    notes,
    warnings,
    nodes: nodes.filter(({ before }) => before > 0),
  };
  const receipt = createReceipt<QuantizeResults>({
    action: 'quantize',
    now: context.now?.() ?? new Date(),
    inputs: inputsOf(options),
    modelRoot: root,
    files: [
      ...identitiesOf(
        'read',
        sources ?? [],
        model.stamps.map((stamp) => stamp.path),
        file,
      ),
      ...identitiesOf('written', written, paths, file),
    ],
    environment: (context.environment ?? environment)(),
    results,
    verdict: 'pass',
  });
  await writeReceipt(receipt, file);
  return { model: settings.output, root, compressionRatio, nodesQuantized, plan, report: file };
}

function dryResult(model: Model, settings: Settings, plan: Plan): Omit<QuantizeResult, 'table'> {
  const compressionRatio = total(model.stamps) / plan.disk;
  const { nodesQuantized } = plan;
  return { model: settings.output, data: '', root: '', compressionRatio, nodesQuantized, plan, report: '' };
}

/** Where the receipt of a run goes. */
function receiptOf({ output, reportDirectory }: Settings): string {
  return receiptPath(output, 'quantize', reportDirectory);
}

/** Files as the receipt at `receipt` lists them. */
function identitiesOf(
  role: FileIdentity['role'],
  digests: readonly FileDigest[],
  paths: readonly string[],
  receipt: string,
): FileIdentity[] {
  return digests.map(({ size, root, chunks }, i) => ({
    path: pathInReceipt(paths[i]!, receipt),
    role,
    size,
    root,
    chunks,
  }));
}

/** Counts bytes and says how many there are so far. */
function progress(log: Log, label: string, total: number): (bytes: number) => void {
  let done = 0;
  return (bytes) => {
    done += bytes;
    log.progress({ label, done, total, unit: 'bytes' });
  };
}

function total(files: readonly { size: number }[]): number {
  return files.reduce((sum, { size }) => sum + size, 0);
}
