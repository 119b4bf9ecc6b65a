import { tmpdir } from 'node:os';
import path from 'node:path';
import type { InputContext } from '../inputs/index.ts';
import {
  assertOutputDiffers,
  assertUnchanged,
  type Constant,
  DataType,
  explainWriteError,
  type FileDigest,
  indexGraphs,
  type JobContent,
  layoutCopy,
  layoutModel,
  type Model,
  type ModelLayout,
  type ModelOutput,
  openOutput,
  readModel,
  rootOf,
  type TensorProto,
} from '../model/index.ts';
import {
  createReceipt,
  type Environment,
  type FileIdentity,
  inputsOf,
  type Log,
  pathInReceipt,
  receiptPath,
  silentLog,
  writeReceipt,
} from '../receipt/index.ts';
import { availableMemory, environment, withScratch } from '../runtime/index.ts';
import { breathe } from './breathe.ts';
import { type DecisionStore, decisionKey, type Shared } from './cached.ts';
import { bytesOf, type Shape } from './encodings/encoding.ts';
import { methodOf } from './methods/registry.ts';
import type { QuantizeOptions } from './options.ts';
import { admit, assertHolds, chooser, type Plan, type Prepared, planText } from './plan/index.ts';
import { type Measured, Measurer } from './ranges.ts';
import { type Settings, settingsOf } from './settings.ts';
import {
  digestSources,
  FileWriter,
  NonFiniteBlocks,
  Pool,
  type StreamJob,
  type WeightParameters,
  type WrittenFile,
} from './stream/index.ts';
import type { Encoded } from './values/value.ts';

/** `settled` and `spell` are for methods that run the model on generated inputs. */
export interface QuantizeContext extends InputContext {
  /** Default: silence. */
  log?: Log | undefined;
  signal?: AbortSignal | undefined;
  now?: (() => Date) | undefined;
  /** The machine, for the receipt. Default: this one. */
  environment?: (() => Environment) | undefined;
  /** Bytes of memory that can be had. Default: what this machine says. */
  availableMemory?: (() => number) | undefined;
  /** Decisions of earlier runs, for methods that measure before they decide. */
  decisions?: DecisionStore | undefined;
  /** What runs of this process measured. Whoever makes many models of one gives each run the same, a new Map at first. */
  shared?: Shared | undefined;
  /** What the receipt says besides, for whoever chose the options: inputs that overrule, further results. */
  receipt?: { inputs: Record<string, string>; results: Record<string, unknown> } | undefined;
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
 * bytes, or 8 KiB for each node that may be rewritten where that is more, and is refused where the machine has less. A dry
 * run reads the weights too, so that its plan is that of a run, and writes nothing.
 *
 * @throws InputError, in one sentence, for what a user can mend; nothing is left behind then.
 */
export async function quantize(options: QuantizeOptions, context: QuantizeContext = {}): Promise<QuantizeResult> {
  const settings = settingsOf(options);
  const source = await readModel(settings.model);
  assertOutputDiffers(source, settings.output);
  assertHolds(source, settings, (context.availableMemory ?? availableMemory)());
  await breathe(context.signal);
  const admitted = admit(source);
  await breathe(context.signal);
  // Before anything that takes long: of two runs on one output the second hears so at once.
  const output = settings.dryRun ? undefined : openOutput(settings.output);
  try {
    return await measureAndMake({ options, settings, context, source, output }, admitted);
  } finally {
    output?.abort();
  }
}

/** Lets the method see the model at work where it has to, and makes what it then plans. */
async function measureAndMake(job: Omit<Job, 'measurer'>, admitted: Prepared): Promise<QuantizeResult> {
  const { settings, context } = job;
  const method = methodOf(settings);
  const prepare = method.prepare?.(settings);
  const observe = method.observe?.(settings);
  if (!prepare && !observe) return make({ ...job, measurer: new Measurer(admitted, settings) });
  return withScratch(tmpdir(), 'onnx-quantize', async (scratch) => {
    const { model, notes } = prepare?.(admitted.model, path.join(scratch, 'prepared')) ?? {
      ...admitted,
      notes: [],
    };
    const observed = await observe?.(model, {
      ...context,
      log: context.log ?? silentLog,
      availableMemory: context.availableMemory ?? availableMemory,
      threads: settings.threads,
      scratch,
      exclusion: chooser(settings, undefined).refusal,
      decisionKey: (inputs) => decisionKey(settings, inputs),
    });
    const prepared = model === admitted.model ? admitted : { model, index: indexGraphs(model) };
    return make({ ...job, measurer: new Measurer(prepared, settings, { notes, observed }) });
  });
}

/** What a run works with. */
interface Job {
  options: QuantizeOptions;
  settings: Settings;
  context: QuantizeContext;
  source: Model;
  /** Held while the run lasts; a dry run has none. */
  output: ModelOutput | undefined;
  measurer: Measurer;
}

/** Makes plans and files until values show nothing with which the plan does not hold. */
async function make(job: Job): Promise<QuantizeResult> {
  for (;;) {
    const result = await attempt(job);
    if (result) return result;
  }
}

async function attempt({
  options,
  settings,
  context,
  source,
  output,
  measurer,
}: Job): Promise<QuantizeResult | undefined> {
  const { log = silentLog, signal } = context;
  const pool = new Pool({ threads: settings.threads, signal });
  try {
    const measured = await measurer.measure(pool, progress(log, 'Reading weights'), signal);
    await breathe(signal);
    const contents = contentsOf(measured.rewrite.encoded, measured.found);
    const layout =
      measured.rewrite.model === measurer.prepared.model
        ? layoutCopy<StreamJob>(source, settings.output)
        : layoutModel<StreamJob>(measured.rewrite.model, { output: settings.output, contents });
    const plan = { ...measured.plan, disk: (layout.data?.size ?? 0) + layout.graph().size };
    await breathe(signal);
    const sourceBytes = total(source.stamps);
    if (!output) {
      for (const line of planText(plan).split('\n')) log.info(line);
      const warnings = [...plan.warnings, ...growth(sourceBytes, plan.disk)];
      for (const warning of warnings) log.warning(warning);
      const { nodesQuantized } = plan;
      const compressionRatio = sourceBytes / plan.disk;
      return { model: settings.output, data: '', root: '', compressionRatio, nodesQuantized, plan, report: '' };
    }
    const files = await write(source, layout, { settings, output }, pool, log, (error) =>
      measurer.refuse(error, measured, pool),
    );
    if (!files) return undefined;
    const { sources, written, paths } = files;
    for (const note of plan.notes) log.info(note);
    const resultBytes = total(written);
    const warnings = [...plan.warnings, ...growth(sourceBytes, resultBytes)];
    for (const warning of warnings) log.warning(warning);
    const results: QuantizeResults = {
      method: settings.method,
      compat: 'ort-1.32',
      sourceBytes,
      resultBytes,
      compressionRatio: sourceBytes / resultBytes,
      nodesQuantized: plan.nodesQuantized,
      weights: { ...plan.weights, after: weightBytes(measurer.prepared, measured) },
      notes: plan.notes,
      warnings,
      nodes: plan.nodes.filter(({ before }) => before > 0),
    };
    const root = rootOf(written.flatMap(({ chunks }) => chunks));
    const report = receiptPath(settings.output, 'quantize', settings.reportDirectory);
    const sourcePaths = source.stamps.map((stamp) => stamp.path);
    const receipt = createReceipt<QuantizeResults>({
      action: 'quantize',
      now: context.now?.() ?? new Date(),
      inputs: { ...inputsOf(options), ...context.receipt?.inputs },
      modelRoot: root,
      files: [
        ...identitiesOf('read', sources ?? [], sourcePaths, report),
        ...identitiesOf('written', written, paths, report),
      ],
      environment: (context.environment ?? environment)(),
      results: { ...results, ...context.receipt?.results },
      verdict: 'pass',
    });
    await writeReceipt(receipt, report);
    const { compressionRatio, nodesQuantized } = results;
    const [, data = ''] = paths;
    return { model: settings.output, data, root, compressionRatio, nodesQuantized, plan, report };
  } finally {
    await pool.close();
  }
}

/** Writes what was planned, and puts it in place; undefined where `refused` has heard that values do not suit the plan. */
async function write(
  source: Model,
  layout: ModelLayout<StreamJob>,
  { settings, output }: { settings: Settings; output: ModelOutput },
  pool: Pool,
  log: Log,
  refused: (error: NonFiniteBlocks) => Promise<void>,
) {
  const writer = new FileWriter(pool);
  try {
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
        ? digestSources(source.stamps, pool, progress(log, 'Digesting the source', total(source.stamps)))
        : undefined,
      writer.sync(),
    ]);
    assertUnchanged(source.stamps);
    output.commit(dataName);
    const data = dataName === undefined ? [] : [path.join(path.dirname(settings.output), dataName)];
    return { sources, written, paths: [settings.output, ...data] };
  } catch (cause) {
    if (!(cause instanceof NonFiniteBlocks)) throw explainWriteError(cause, settings.output);
    await refused(cause);
    return undefined;
  } finally {
    await writer.close();
  }
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

/** Bytes that the weights take in the written model: what of them is FLOAT still, and what is in its place. */
function weightBytes({ index }: Prepared, { rewrite }: Measured): number {
  const sizes = new Map<Constant['holder'], number>();
  for (const { constants } of index.scopes) {
    for (const { dtype, holder, ref } of constants.values())
      if (dtype === DataType.FLOAT) sizes.set(holder, ref?.length ?? 0);
  }
  for (const { data, encoding, parameters } of rewrite.encoded) {
    sizes.set(data, bytesOf(encoding.data));
    for (const { tensor, parameter } of parameters) sizes.set(tensor, bytesOf(parameter));
  }
  let bytes = 0;
  for (const { constants } of indexGraphs(rewrite.model).scopes) {
    for (const { holder } of constants.values()) bytes += sizes.get(holder) ?? 0;
  }
  return bytes;
}

/** A warning where quantizing made nothing smaller. */
function growth(sourceBytes: number, resultBytes: number): string[] {
  if (resultBytes < sourceBytes) return [];
  return [
    `The result is not smaller than the source: ${resultBytes} bytes, and the source has ${sourceBytes}. Weights that stay FP32 for one reader are kept beside their quantized form; \`dry-run\` says which.`,
  ];
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

/** Counts bytes and says how many there are so far, of `total` or of what each call says. */
function progress(log: Log, label: string, total = 0): (bytes: number, all?: number) => void {
  let done = 0;
  return (bytes, all = total) => {
    done += bytes;
    log.progress({ label, done, total: all, unit: 'bytes' });
  };
}

function total(files: readonly { size: number }[]): number {
  return files.reduce((sum, { size }) => sum + size, 0);
}
