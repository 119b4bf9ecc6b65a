import { mkdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { messageOf } from '../../errors.ts';
import type { Model } from '../../model/index.ts';
import type { Log } from '../../receipt/index.ts';
import { type Feeds, median, type Session, type SpooledTensor, type Tensor } from '../../runtime/index.ts';
import { Channels } from '../metrics/channels.ts';
import { createKernels, type Kernels } from '../metrics/kernels.ts';
import { sqnrOf } from '../metrics/metrics.ts';
import { compareOutputs } from '../metrics/outputs.ts';
import { COMPUTED, type FedValue, writeCut, writeTapped } from './cut.ts';
import { findLayers, type Layer } from './layers.ts';

/** The error that one layer introduces. */
export interface LayerError {
  /** Nodes of the reference, as `exclude-nodes` calls them. */
  nodes: string[];
  /** All its nodes in the reference but constants, and their operators. */
  members: string[];
  operators: string[];
  /** Values that were compared. */
  outputs: string[];
  /**
   * Median over samples of √(Σ (x − y)² ÷ Σ x²) over its outputs: x the reference's, y the layer's own on the
   * reference's inputs.
   */
  relativeError: number;
  /** The highest of any sample. */
  worstError: number;
  /** The median as a signal-to-noise ratio. */
  sqnrDb: number;
  /** Minimum over its outputs of their channel similarity; null where it was not asked for or none has channels. */
  channelSimilarity: number | null;
  /** Samples that it was measured on. */
  samples: number;
  /** Whether the layer was quantized; if not, its weights are not the reference's. */
  changed: boolean;
}

/** What layers are ranked by: their relative error, or the similarity of their channels, lowest first. */
export type Ranking = 'error' | 'channels';

export interface Diagnosis {
  rankedBy: Ranking;
  /** Worst first; those without error on any sample are left out. */
  layers: LayerError[];
  /** What to put into `exclude-nodes`: the layers that make up most of the error. */
  excludeNodes: string[];
  /** What could not be measured or only as a whole, and why. */
  notes: string[];
  /** Samples that were run. */
  samples: number;
}

export interface DiagnosisOptions {
  /** Temporary folder; what is written there is gone afterwards. */
  folder: string;
  openSession: (model: string) => Promise<Session>;
  /** Default `error`. */
  rankBy?: Ranking;
  log: Log;
  /** Seconds after which no further sample starts; the first always runs. */
  maxSeconds: number;
  /** Monotonic clock, ms. */
  clock: () => number;
}

/** Layers whose values are tapped in one run of the reference. */
const GROUP = 32;
/** Values that are fed to one cut graph, bytes: this process holds them. */
const FED_BYTES = 64 * 2 ** 20;
/** Share of the introduced error's energy that the excluded layers make up, and how many they are at most. */
const SHARE = 0.9;
const MOST = 5;

/**
 * Ranks layers by the error that they introduce themselves. Every layer of the quantized graph (see `findLayers`) is cut
 * out and fed with the values that the reference has there; so an error that came from above is no part of its figure,
 * √(Σ (x − y)² ÷ Σ x²), whose median over the samples counts, or the similarity of its channels over all samples, which
 * sees small ones lost beside large ones. The reference's values are tapped as further outputs,
 * some layers at a time, and go through files.
 * @param samples what both models are fed, in the order in which they are run as long as there is time
 */
export async function diagnose(
  reference: Model,
  model: Model,
  samples: readonly (() => Promise<Feeds>)[],
  { folder, openSession, rankBy = 'error', log, maxSeconds, clock }: DiagnosisOptions,
): Promise<Diagnosis> {
  const layers = findLayers(reference, model);
  const taps = [...new Set(layers.flatMap(({ inputs, outputs }) => [...inputs, ...outputs]))];
  const home = path.join(folder, 'diagnosis');
  await mkdir(home);
  const notes = new Set<string>();
  const findings = new Map<Layer, Finding>();
  const kernels = createKernels();
  const started = clock();
  let run = 0;
  try {
    const tapped = await openSession(await writeTapped(reference, taps.filter(isMadeBy(reference)), home));
    try {
      for (const sample of samples) {
        if (run > 0 && clock() - started > maxSeconds * 1000) break;
        const feeds = await sample();
        const progress = (done: number) =>
          log.progress({
            label: 'Diagnosing',
            done: run * layers.length + done,
            total: samples.length * layers.length,
            unit: 'runs',
          });
        await measureSample({
          model,
          layers,
          feeds,
          tapped,
          home,
          openSession,
          kernels,
          notes,
          findings,
          rankBy,
          progress,
        });
        run++;
      }
    } finally {
      await tapped.close();
    }
  } finally {
    await rm(home, { recursive: true, force: true });
  }
  // A piece that failed halfway has left layers without a figure.
  const measured = [...findings].filter(([, { errors }]) => errors.length > 0);
  const ranked = measured
    .map(([layer, finding]) => summedUp(layer, finding))
    .filter(({ worstError }) => worstError > 0)
    .sort(
      (a, b) => harm(b, rankBy) - harm(a, rankBy) || b.relativeError - a.relativeError || b.worstError - a.worstError,
    );
  const whole = wholeNote(measured.map(([layer]) => layer));
  const excludeNodes = mostOf(ranked, rankBy);
  return { rankedBy: rankBy, layers: ranked, excludeNodes, notes: [...notes, ...whole], samples: run };
}

/** What was found of one layer so far. */
interface Finding {
  /** Relative error by sample. */
  errors: number[];
  /** Its outputs by name, where channels are asked for. */
  channels: Map<string, Channels>;
}

/** How much harm a layer does, by what layers are ranked by. */
function harm({ relativeError, channelSimilarity }: LayerError, rankBy: Ranking): number {
  return rankBy === 'error' ? relativeError : 1 - (channelSimilarity ?? 1);
}

function summedUp({ nodes, members, operators, outputs, changed }: Layer, { errors, channels }: Finding): LayerError {
  const relativeError = median(errors);
  const similarities = [...channels.values()].flatMap((each) => each.figures().map(({ similarity }) => similarity));
  return {
    nodes,
    members,
    operators,
    outputs,
    relativeError,
    worstError: Math.max(...errors),
    sqnrDb: sqnrOf(1, relativeError ** 2),
    channelSimilarity: similarities.length > 0 ? Math.min(...similarities) : null,
    samples: errors.length,
    changed,
  };
}

/** Which nodes were looked at from outside only. */
function wholeNote(layers: readonly Layer[]): string[] {
  const owners = layers.flatMap(({ inside }) => inside);
  if (owners.length === 0) return [];
  const rest = owners.length - MOST;
  const named = `${owners.slice(0, MOST).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
  const are = owners.length === 1 ? 'is' : 'are';
  return [`${named} ${are} measured as a whole: the error is that of all layers inside, which are not told apart.`];
}

interface Work {
  model: Model;
  layers: readonly Layer[];
  feeds: Feeds;
  /** A session of the reference with the taps. */
  tapped: Session;
  /** Folder for files. */
  home: string;
  openSession: (model: string) => Promise<Session>;
  kernels: Kernels;
  rankBy: Ranking;
  /** Both are added to. */
  notes: Set<string>;
  findings: Map<Layer, Finding>;
  progress: (layers: number) => void;
}

/** Adds the error of every layer on one sample. */
async function measureSample(work: Work): Promise<void> {
  const { layers, feeds, tapped, home, notes, findings } = work;
  const readable = new Set(tapped.load.outputs.filter(({ dtype }) => dtype !== 'other').map(({ name }) => name));
  for (let start = 0; start < layers.length; start += GROUP) {
    const group = layers.slice(start, start + GROUP).filter((layer) => isReadable(layer, readable, feeds));
    work.progress(start);
    const fetch = [...new Set(group.flatMap(({ inputs, outputs }) => [...inputs, ...outputs]))].filter((name) =>
      readable.has(name),
    );
    if (fetch.length === 0) continue;
    const spool = path.join(home, 'reference');
    await mkdir(spool);
    const { spooled } = await tapped.run(feeds, { outputs: 'spool', fetch, spoolDirectory: spool });
    const values = new Map(spooled.map((value) => [value.name, value]));
    for (const part of byBytes(group, values, notes)) {
      try {
        const measured = await measure(part, values, work);
        for (const [index, layer] of part.entries()) findings.get(layer)!.errors.push(measured[index]!);
      } catch (error) {
        const names = part.flatMap(({ nodes }) => nodes).slice(0, 3);
        notes.add(`The layers around ${names.join(', ')} could not be measured: ${messageOf(error).split('\n')[0]}`);
      }
    }
    await rm(spool, { recursive: true, force: true });
  }
}

/** Runs the cut-out layers on the reference's values and compares what they make of them. */
async function measure(
  layers: readonly Layer[],
  values: ReadonlyMap<string, SpooledTensor>,
  { model, feeds, home, openSession, kernels, rankBy, findings }: Work,
): Promise<number[]> {
  const cut = path.join(home, 'cut');
  await mkdir(cut);
  try {
    const fed: Feeds = {};
    for (const name of new Set(layers.flatMap(({ inputs }) => inputs))) {
      fed[name] = feeds[name] ?? (await tensorOf(values.get(name)!));
    }
    const file = path.join(cut, 'cut.onnx');
    await writeCut(model, layers, new Map<string, FedValue>(Object.entries(fed)), file);
    const session = await openSession(file);
    try {
      const { spooled } = await session.run(fed, { outputs: 'spool', spoolDirectory: cut });
      const computed = new Map(spooled.map((value) => [value.name, value]));
      const errors: number[] = [];
      for (const layer of layers) {
        const finding = findings.get(layer) ?? { errors: [], channels: new Map() };
        findings.set(layer, finding);
        errors.push(
          await errorOf(layer, values, computed, kernels, rankBy === 'channels' ? finding.channels : undefined),
        );
      }
      return errors;
    } finally {
      await session.close();
    }
  } finally {
    await rm(cut, { recursive: true, force: true });
  }
}

/** √(Σ (x − y)² ÷ Σ x²) over a layer's outputs, whose channels are collected where that is asked for. */
async function errorOf(
  { outputs }: Layer,
  values: ReadonlyMap<string, SpooledTensor>,
  computed: ReadonlyMap<string, SpooledTensor>,
  kernels: Kernels,
  channels: Map<string, Channels> | undefined,
): Promise<number> {
  let signal = 0;
  let noise = 0;
  for (const name of outputs) {
    const byIndex = channels && (channels.get(name) ?? new Channels());
    if (byIndex) channels?.set(name, byIndex);
    const compared = await compareOutputs(values.get(name)!, computed.get(name + COMPUTED)!, {
      kernels,
      top1: false,
      ...(byIndex ? { channels: byIndex } : {}),
    });
    signal += compared.signal;
    // A layer that answers NaN could not be worse.
    noise += compared.modelNans + compared.unequalInfinities > 0 ? Number.MAX_VALUE : compared.noise;
  }
  return noise === 0 ? 0 : Math.min(Math.sqrt(noise / signal), WORST);
}

/** The relative error of a layer whose reference is all zeros or whose own output is not finite. */
const WORST = 1e6;

/** Splits layers so that what each part is fed stays within bounds; a layer that alone does not is noted. */
function byBytes(layers: readonly Layer[], values: ReadonlyMap<string, SpooledTensor>, notes: Set<string>): Layer[][] {
  const parts: Layer[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const layer of layers) {
    const needed = layer.inputs.reduce((sum, name) => sum + (values.get(name)?.length ?? 0), 0);
    if (needed > FED_BYTES) {
      notes.add(`${layer.nodes.join(', ')} reads ${Math.round(needed / 2 ** 20)} MiB, too much to feed it alone.`);
      continue;
    }
    if (bytes + needed > FED_BYTES) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)!.push(layer);
    bytes += needed;
  }
  return parts;
}

/** Names of the layers that together make up most of the error, if excluding them would help. */
function mostOf(ranked: readonly LayerError[], rankBy: Ranking): string[] {
  const total = ranked.reduce((sum, layer) => sum + harm(layer, rankBy) ** 2, 0);
  const chosen: string[] = [];
  let share = 0;
  for (const layer of ranked.slice(0, MOST)) {
    if (share >= SHARE * total) break;
    share += harm(layer, rankBy) ** 2;
    if (layer.changed) chosen.push(...layer.nodes);
  }
  return chosen;
}

function isMadeBy(model: Model): (name: string) => boolean {
  const made = new Set(model.proto.graph!.node.flatMap(({ output }) => output));
  return (name) => made.has(name);
}

function isReadable({ inputs, outputs }: Layer, readable: ReadonlySet<string>, feeds: Feeds): boolean {
  return outputs.every((name) => readable.has(name)) && inputs.every((name) => readable.has(name) || name in feeds);
}

async function tensorOf({ dtype, dims, path: file }: SpooledTensor): Promise<Tensor> {
  return { dtype, dims, data: await readFile(file) };
}
