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
  pathInReceipt,
  receiptPath,
  writeReceipt,
} from '../receipt/index.ts';
import { environment } from '../runtime/index.ts';
import type { DecisionStore } from './cached.ts';
import { type QuantizeOptions, type Settings, settingsOf } from './options.ts';
import { type Draft, draft, type Plan } from './plan.ts';
import { planText } from './report.ts';
import { fillParameters, type PlannedWeight } from './rewrite.ts';
import {
  computeParameters,
  digestSources,
  FileWriter,
  Pool,
  type StreamJob,
  type WeightJob,
  type WeightParameters,
  type WrittenFile,
} from './stream/index.ts';

export interface QuantizeContext {
  log: Log;
  signal?: AbortSignal | undefined;
  now?: (() => Date) | undefined;
  /** The machine, for the receipt. Default: this one. */
  environment?: (() => Environment) | undefined;
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

/** Largest finite half-precision number. */
const LARGEST_FLOAT16 = 65504;

/**
 * Quantizes a model file: plans, finds the ranges of the weights, writes the new files, and puts them in place in one
 * step. Takes at most 128 MiB whatever the model. A dry run only plans.
 *
 * @throws InputError, in one sentence, for what a user can mend; nothing is left behind then.
 */
export async function quantize(options: QuantizeOptions, context: QuantizeContext): Promise<QuantizeResult> {
  const { log } = context;
  const settings = settingsOf(options);
  const model = await readModel(settings.model);
  assertOutputDiffers(model, settings.output);
  const first = draft(model, settings);
  if (settings.dryRun) {
    const table = planText(first.plan, settings);
    for (const line of table.split('\n')) log.info(line);
    for (const warning of first.plan.warnings) log.warning(warning);
    return { ...dryResult(model, settings, first.plan), table };
  }
  const output = openOutput(settings.output);
  let pool: Pool | undefined;
  let writer: FileWriter | undefined;
  try {
    pool = new Pool({
      ...(settings.threads === undefined ? {} : { threads: settings.threads }),
      ...(context.signal ? { signal: context.signal } : {}),
    });
    const { draft: final, parameters } = await measure(model, first, settings, pool, log);
    const { plan, rewrite } = final;
    for (const note of plan.notes) log.info(note);
    for (const warning of plan.warnings) log.warning(warning);
    fillParameters(rewrite.weights, parameters);
    const contents = contentsOf(rewrite.weights, parameters);
    const layout = layoutModel<StreamJob>(rewrite.model, { output: settings.output, contents });
    writer = new FileWriter(pool);
    const written: WrittenFile[] = [];
    let dataName: string | undefined;
    if (layout.data) {
      const data = { ...layout.data, path: output.dataPath };
      written.push(await writer.write(data, progress(log, 'Writing weights', data.size)));
      dataName = await output.nameData(written[0]!);
    }
    const graph = { ...layout.graph(dataName), path: output.graphPath };
    written.unshift(await writer.write(graph, progress(log, 'Writing the graph', graph.size)));
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
    return { ...result, data, table: planText(plan, settings) };
  } catch (cause) {
    throw explainWriteError(cause, settings.output);
  } finally {
    await writer?.close();
    await pool?.close();
    output.abort();
  }
}

/** Pass 1, and the plan that holds once the values are known. */
async function measure(
  model: Model,
  first: Draft,
  settings: Settings,
  pool: Pool,
  log: Log,
): Promise<{ draft: Draft; parameters: (WeightParameters | null)[] }> {
  const known = new Map<string, WeightParameters>();
  const skip = new Map<Constant['holder'], string>();
  for (let current = first; ; current = draft(model, settings, skip)) {
    const { weights } = current.rewrite;
    const missing = new Map(weights.map((weight) => [keyOf(weight), jobOf(weight)]));
    for (const key of known.keys()) missing.delete(key);
    const jobs = [...missing.values()];
    const total = jobs.reduce((sum, { source }) => sum + source.length, 0);
    const found = await computeParameters(jobs, pool, progress(log, 'Reading weights', total));
    [...missing.keys()].forEach((key, i) => {
      known.set(key, found[i]!);
    });
    const before = skip.size;
    for (const weight of weights) refuseValues(weight, known.get(keyOf(weight))!, settings, skip, log);
    if (skip.size === before) {
      return { draft: current, parameters: weights.map((weight) => (weight.job ? known.get(keyOf(weight))! : null)) };
    }
  }
}

/** Keeps FP32 what has no 8-bit or 16-bit form, where the user allows it. */
function refuseValues(
  { constant, job }: PlannedWeight,
  { nonFinite, min, max }: WeightParameters,
  settings: Settings,
  skip: Map<Constant['holder'], string>,
  log: Log,
): void {
  const { name, holder } = constant;
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
  } else if (!job && Math.max(-min, max) > LARGEST_FLOAT16) {
    skip.set(holder, `weight ${name} has values that FP16 cannot hold`);
  }
}

function jobOf({ job, constant }: PlannedWeight): WeightJob {
  return job ?? { source: constant.ref!, target: 'int8', symmetric: true, reduceRange: false, axis: null };
}

function keyOf(weight: PlannedWeight): string {
  // How it is stored does not change its range.
  const { source, permutation: _, ...scheme } = jobOf(weight);
  return JSON.stringify([weight.constant.scope.path, source.name, scheme]);
}

function contentsOf(
  weights: readonly PlannedWeight[],
  parameters: readonly (WeightParameters | null)[],
): Map<TensorProto, JobContent<StreamJob>> {
  return new Map(
    weights.map(({ tensor, constant, job }, i): [TensorProto, JobContent<StreamJob>] => {
      const source = constant.ref!;
      const elements = source.length / 4;
      if (!job) return [tensor, { length: elements * 2, job: { kind: 'float16', source } }];
      return [tensor, { length: elements, job: { kind: 'quantize', job, parameters: parameters[i]! } }];
    }),
  );
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

/** The options as the action was given them: kebab-case names, text. */
function inputsOf(options: QuantizeOptions): Record<string, string> {
  const given = Object.entries(options).filter(([, value]) => value !== undefined && value !== '');
  return Object.fromEntries(
    given.map(([key, value]) => [
      key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
      Array.isArray(value) ? value.join('\n') : String(value),
    ]),
  );
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
