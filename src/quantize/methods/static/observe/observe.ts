import path from 'node:path';
import { InputError } from '../../../../errors.ts';
import { type Model, makeNode, tapped, writeTemporary } from '../../../../model/index.ts';
import {
  type Bins,
  createObserver,
  elementCount,
  type Feeds,
  type Observed,
  type Samples,
  type Session,
  viewAs,
} from '../../../../runtime/index.ts';

/** What a FLOAT value of the model was on all samples. */
export interface ValueObservation {
  name: string;
  /** Of the first sample. */
  dims: readonly number[];
  /** Over the finite elements. */
  min: number;
  max: number;
  /** Least magnitude. */
  smallest: number;
  nonFinite: number;
  /** How the values of all samples spread, where the method needs that. */
  histogram?: Histogram;
}

export interface Histogram extends Bins {
  counts: Float64Array;
}

export interface Observations {
  values: ReadonlyMap<string, ValueObservation>;
  samples: number;
  /** Milliseconds of inferences, and of measuring what they gave. */
  runMs: number;
  handlingMs: number;
  /** Inferences. */
  runs: number;
  /** Sessions that it took, with different values tapped. */
  groups: number;
}

export interface ObserveOptions {
  /** Values of the main graph to observe: outputs of nodes and inputs of the graph. Those that are not FLOAT are left out. */
  values: readonly string[];
  samples: Samples;
  /** Bins of a value of that range, or undefined where the range is all that is wanted. */
  bins?: ((observation: ValueObservation) => Bins | undefined) | undefined;
  /** Folder for tapped models. The caller removes it. */
  folder: string;
  openSession: (model: string) => Promise<Session>;
  /** Hears before values are tapped what that will take, and may throw. */
  foresee?: ((memory: ForeseenMemory) => void) | undefined;
  /** Hears of each inference. */
  progress?: ((done: number, total: number) => void) | undefined;
}

/** Bytes at the peak of the process that runs the model: of a run by itself, and of tapped values beside it. */
export interface ForeseenMemory {
  run: number;
  tapped: number;
}

/**
 * Values of one session together, bytes: onnxruntime-node holds them twice while it hands them over, which makes two
 * thirds of the 128 MiB that calibration may take beside the model's own run.
 */
const GROUP_BYTES = 40 * 2 ** 20;

/**
 * Runs the model on every sample and observes its values: one pass for ranges, a second where histograms are wanted.
 * Values are measured in the model's process, some at a time, so that memory is bounded; shapes are learnt from the
 * runtime. The same samples give the same observations.
 */
export async function observe(model: Model, options: ObserveOptions): Promise<Observations> {
  const { samples } = options;
  const inputs = new Set(model.proto.graph!.input.map(({ name }) => name));
  const fed = options.values.filter((name) => inputs.has(name));
  const made = options.values.filter((name) => !inputs.has(name));
  const totals = { runMs: 0, handlingMs: 0, runs: 0 };
  const values = new Map<string, ValueObservation>();
  await observeFeeds(fed, options, values);
  const { sizes, peakBytes } = await learnSizes(model, made, options, totals);
  const bytesOf = (name: string) => sizes.get(name)!;
  const groups = grouped(made, bytesOf, GROUP_BYTES);
  const largest = Math.max(0, ...groups.map((group) => group.reduce((sum, name) => sum + bytesOf(name), 0)));
  options.foresee?.({ run: peakBytes, tapped: 2 * largest });
  const passes = options.bins ? 2 : 1;
  const total = groups.length * passes * samples.length;
  let done = 0;
  const step = () => options.progress?.(++done, total);
  for (const [index, group] of groups.entries()) {
    const session = await options.openSession(await written(tapped(model, group), options.folder, `tapped-${index}`));
    try {
      const floats = new Set(session.load.outputs.filter(({ dtype }) => dtype === 'float32').map(({ name }) => name));
      const taps = group.filter((name) => floats.has(name));
      // Where all that computes is in the bodies of an If, nothing is left to see.
      if (taps.length === 0) continue;
      for (let i = 0; i < samples.length; i += 1) {
        const { ms, handlingMs, observed } = await session.observe(
          await samples.get(i),
          taps.map((name) => ({ name })),
        );
        add(totals, ms, handlingMs);
        for (const each of observed) values.set(each.name, widen(values.get(each.name), each));
        step();
      }
      if (!options.bins) continue;
      const binned = taps.flatMap((name) => {
        const bins = options.bins?.(values.get(name)!);
        return bins ? [{ name, bins }] : [];
      });
      for (let i = 0; i < samples.length && binned.length > 0; i += 1) {
        const { ms, handlingMs, observed } = await session.observe(await samples.get(i), binned);
        add(totals, ms, handlingMs);
        for (const [at, each] of observed.entries()) count(values.get(each.name)!, binned[at]!.bins, each);
        step();
      }
    } finally {
      await session.close();
    }
  }
  return { values, samples: samples.length, ...totals, groups: groups.length };
}

/** What is fed need not travel to be observed. */
async function observeFeeds(
  names: readonly string[],
  { samples, bins }: ObserveOptions,
  values: Map<string, ValueObservation>,
): Promise<void> {
  const observer = createObserver();
  const each = async (use: (name: string, value: Parameters<typeof observer.observe>[1], sample: number) => void) => {
    for (let i = 0; i < samples.length; i += 1) {
      const feeds: Feeds = await samples.get(i);
      for (const name of names) {
        const tensor = feeds[name];
        if (tensor?.dtype !== 'float32') continue;
        use(name, { type: tensor.dtype, dims: tensor.dims, data: viewAs('float32', tensor.data) }, i);
      }
    }
  };
  if (names.length === 0) return;
  await each((name, value, sample) => {
    const observed = observer.observe({ name }, value);
    if (observed.nonFinite > 0) {
      throw new InputError(
        `${samples.name(sample)} has NaN or infinite values in ${name} (${observed.nonFinite} of ${value.data.length}): take it out of \`calibration-data\`.`,
      );
    }
    values.set(name, widen(values.get(name), observed));
  });
  if (!bins) return;
  await each((name, value) => {
    const wanted = bins(values.get(name)!);
    if (wanted) count(values.get(name)!, wanted, observer.observe({ name, bins: wanted }, value));
  });
}

/** Bytes of each value as FLOAT, the largest that any sample makes it, and the peak: one inference for every shape of the inputs. */
async function learnSizes(
  model: Model,
  names: readonly string[],
  { samples, folder, openSession }: ObserveOptions,
  totals: { runMs: number; handlingMs: number; runs: number },
): Promise<{ sizes: Map<string, number>; peakBytes: number }> {
  const sizes = new Map<string, number>();
  if (names.length === 0) return { sizes, peakBytes: 0 };
  const shapes = names.map((name) => makeNode('Shape', [name], [name + SHAPE]));
  const shaped = tapped(
    model,
    shapes.flatMap(({ output }) => output),
    shapes,
  );
  const session = await openSession(await written(shaped, folder, 'shaped'));
  try {
    const seen = new Set<string>();
    for (let i = 0; i < samples.length; i += 1) {
      const feeds = await samples.get(i);
      const shape = JSON.stringify(Object.entries(feeds).map(([name, { dims }]) => [name, dims]));
      if (seen.has(shape)) continue;
      seen.add(shape);
      const { ms, handlingMs, observed } = await session.observe(
        feeds,
        names.map((name) => ({ name: name + SHAPE, values: true })),
      );
      add(totals, ms, handlingMs);
      for (const [at, name] of names.entries()) {
        const bytes = 4 * elementCount([...observed[at]!.values!]);
        sizes.set(name, Math.max(bytes, sizes.get(name) ?? 0));
      }
    }
    return { sizes, peakBytes: (await session.memory()).peakBytes };
  } finally {
    await session.close();
  }
}

/** Behind the name of a value, the output that tells its shape. */
const SHAPE = '::shape';

/** Writes a model that is gone with its folder, and returns its path. */
export async function written(model: Model, folder: string, name: string): Promise<string> {
  const file = path.join(folder, `${name}.onnx`);
  await writeTemporary(model, file);
  return file;
}

/** In order, as many together as have room; one that does not fit stands alone. */
export function grouped<Each>(all: readonly Each[], bytesOf: (each: Each) => number, most: number): Each[][] {
  const groups: Each[][] = [];
  let room = -1;
  for (const each of all) {
    const bytes = bytesOf(each);
    if (bytes > room) {
      groups.push([]);
      room = most;
    }
    groups.at(-1)!.push(each);
    room -= bytes;
  }
  return groups;
}

function widen(known: ValueObservation | undefined, seen: Observed): ValueObservation {
  const { name, dims, min, max, smallest, nonFinite } = seen;
  if (!known) return { name, dims, min, max, smallest, nonFinite };
  return {
    ...known,
    min: Math.min(known.min, min),
    max: Math.max(known.max, max),
    smallest: Math.min(known.smallest, smallest),
    nonFinite: known.nonFinite + nonFinite,
  };
}

function count(value: ValueObservation, bins: Bins, { counts }: Observed): void {
  value.histogram ??= { ...bins, counts: new Float64Array(bins.count) };
  const sums = value.histogram.counts;
  for (let bin = 0; bin < sums.length; bin += 1) sums[bin]! += counts![bin]!;
}

function add(totals: { runMs: number; handlingMs: number; runs: number }, ms: number, handlingMs: number): void {
  totals.runMs += ms;
  totals.handlingMs += handlingMs;
  totals.runs += 1;
}
