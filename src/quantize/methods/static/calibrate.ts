import { InputError } from '../../../errors.ts';
import { settleInputs } from '../../../inputs/index.ts';
import {
  constantOf,
  DataType,
  declaredInputs,
  type GraphScope,
  indexGraphs,
  type Model,
  type NodeProto,
  operatorKey,
  usesOf,
} from '../../../model/index.ts';
import {
  loadSamples,
  openSession,
  type RuntimeLocation,
  resolveRuntime,
  type Samples,
  SessionError,
  valueInfoOf,
} from '../../../runtime/index.ts';
import { operators } from '../../operators.ts';
import type { Remarks, Run } from '../method.ts';
import type { StaticForms } from './form.ts';
import type { Emulated } from './observe/emulation.ts';
import { type Observations, observe } from './observe/observe.ts';
import { correctionsOf, decibelsOf, type LayerError, probe } from './observe/probe.ts';
import { type Switched, sensitivities } from './observe/sensitivity.ts';
import { binsOf } from './ranges/ranges.ts';
import { decideRecipe, gainOf, type Recipe, valuesToObserve } from './recipe/recipe.ts';
import { GENERATED, type StaticSettings } from './settings.ts';
import { biasOf, type Product, productOf, weightOf } from './weights.ts';

/** What was seen of a model at work, and what follows. */
export interface Calibration extends StaticForms, Remarks {
  observations: Observations;
  /** What 8 bits do to each product. */
  errors: ReadonlyMap<NodeProto, LayerError>;
}

/** Fewer samples say little about the range of values to come. */
const FEW = 10;

/** A product whose own error is more than a tenth of its output's amplitude stays FLOAT. */
const LEAST_DECIBELS = 20;

/**
 * Runs the model on the calibration data in a process of its own.
 * @throws InputError for data that does not fit and for a model that does not run
 */
export async function calibrate(settings: StaticSettings, model: Model, run: Run): Promise<Calibration> {
  const { log, signal, threads, scratch } = run;
  const runtime = await resolveRuntime({ log, ...(signal ? { signal } : {}) });
  const generated = settings.calibrationData === GENERATED;
  const samples = await samplesOf(settings, model, runtime, run);
  // What was generated is no news to whoever settled it.
  const notes: string[] = generated ? [...samples.notes] : [];
  const warnings: string[] = generated ? [] : [...samples.notes];
  if (generated) {
    warnings.push(
      `The ranges of activations are those of ${samples.length} generated inputs: real ones differ. Give samples of production as \`calibration-data\` before this model is used.`,
    );
  } else if (samples.length < FEW) {
    warnings.push(
      `There ${samples.length === 1 ? 'is 1 sample' : `are ${samples.length} samples`} to calibrate with: values that these do not reach are clipped. Give ${FEW} or more that are like those of production.`,
    );
  }
  const { main } = indexGraphs(model);
  const open = (file: string) =>
    openSession({
      model: file,
      label: model.path,
      runtime,
      provider: 'cpu',
      log,
      ...(threads === undefined ? {} : { threads }),
      ...(signal ? { signal } : {}),
    });
  try {
    const observations = await observe(model, {
      values: valuesToObserve(main),
      samples,
      bins: (value) => binsOf(settings.calibrationMethod, value),
      folder: scratch,
      openSession: open,
      progress: (done, total) => log.progress({ label: 'Calibrating', done, total, unit: 'runs' }),
    });
    const noisy = new Map<NodeProto, string>();
    const decide = () =>
      decideRecipe(main, observations, { ...settings, percentile: settings.calibrationPercentile }, (node) => {
        return run.exclusion({ node, scope: main, operator: operators.get(operatorKey(node)) }) ?? noisy.get(node);
      });
    let recipe = decide();
    const errors = await probe(model, probedOf(main, recipe), {
      samples,
      folder: scratch,
      openSession: open,
      progress: (done, total) => log.progress({ label: 'Probing', done, total, unit: 'runs' }),
    });
    for (const [node, error] of errors) {
      if (recipe.nodes.has(node) && decibelsOf(error) < LEAST_DECIBELS) {
        noisy.set(node, `8 bits leave it ${decibelsOf(error).toFixed(1)} dB above its error`);
      }
    }
    if (noisy.size > 0) recipe = decide();
    const corrections = correctionsOf(errors);
    const harm = await sensitivities(model, switchedOf(main, recipe, corrections), {
      samples,
      folder: scratch,
      openSession: open,
      progress: (done, total) => log.progress({ label: 'Switching layers', done, total, unit: 'runs' }),
    });
    for (const node of harmful(main, observations, harm)) {
      noisy.set(node, `in 8 bits it alone changes the outputs by ${(100 * Math.sqrt(harm.get(node)!)).toFixed(1)} %`);
    }
    if (noisy.size > 0) recipe = decide();
    const products = new Map<NodeProto, Product>();
    notes.push(
      `Calibrated on ${samples.length} sample${samples.length === 1 ? '' : 's'} (${settings.calibrationMethod}): ${observations.values.size} values in ${observations.runs} runs of the model.`,
    );
    warnings.push(...oddities(observations));
    return {
      observations,
      errors,
      recipe,
      productOf(node) {
        const { scale } = recipe.grids.get(node.input[0]!)!;
        const product = products.get(node) ?? productOf(node, main, scale, corrections.get(node));
        products.set(node, product);
        return product;
      },
      correctedBias(node) {
        const correction = recipe.nodes.has(node) ? undefined : corrections.get(node);
        const bias = correction && biasOf(node, main);
        return correction && Float32Array.from(correction, (value, channel) => value + (bias?.[channel] ?? 0));
      },
      keptFloat: keptFloat(main, recipe, errors),
      notes,
      warnings,
    };
  } catch (error) {
    if (!(error instanceof SessionError) || error.kind === 'aborted') throw error;
    throw new InputError(`Calibration runs the model, but ${error.message}`, { cause: error });
  }
}

async function samplesOf(
  { calibrationData, calibrationCount: count, dims, ranges }: StaticSettings,
  model: Model,
  runtime: RuntimeLocation,
  { log, scratch, threads, signal, settled, spell }: Run,
): Promise<Samples> {
  const inputs = declaredInputs(model).map(valueInfoOf);
  const limit = count === undefined ? {} : { count };
  if (calibrationData !== GENERATED)
    return loadSamples(calibrationData, inputs, { ...limit, ...(dims ? { dims } : {}) });
  const found = await settleInputs(
    model,
    { dims, ranges, count, threads, executionProvider: 'cpu' },
    {
      runtime: async () => runtime,
      temporaryFolder: scratch,
      // The plan tells it.
      log: { ...log, info: () => undefined },
      signal,
      settled,
      spell,
    },
  );
  return loadSamples(undefined, inputs, { ...limit, ...(ranges ? { ranges } : {}), settled: found });
}

/** The products of a recipe, and the convolutions beside it, whose weights will be stored in 8 bits. */
function probedOf(main: GraphScope, recipe: Recipe): Emulated[] {
  const probed: Emulated[] = [];
  for (const node of main.graph.node) {
    const grid = recipe.nodes.get(node)?.operator.kind === 'weighted' ? recipe.grids.get(node.input[0]!) : undefined;
    if (grid) probed.push({ node, product: productOf(node, main, grid.scale), grid });
    else if (isStorable(node, main)) probed.push({ node, product: weightOf(node, main), grid: undefined });
  }
  return probed;
}

function switchedOf(main: GraphScope, recipe: Recipe, corrections: ReadonlyMap<NodeProto, Float64Array>): Switched[] {
  return probedOf(main, recipe).flatMap(({ node, product, grid }) => {
    const output = recipe.grids.get(node.output[0]!);
    if (!grid || !output) return [];
    const given = biasOf(node, main);
    const correction = corrections.get(node);
    const bias = Float32Array.from(product.scales, (_, at) => (given?.[at] ?? 0) + (correction?.[at] ?? 0));
    return [{ node, product, grid, output, bias: given || correction ? bias : undefined }];
  });
}

/** Errors that all 8-bit products may make in the outputs together, relative and squared: a cosine of 0.995. */
const TOLERATED = 0.01;
/** Share of the time saved that may be given up for quality. */
const GIVEN_UP = 0.5;

/** The products to keep FLOAT so that the others' errors are tolerable: those with most harm for the time they save. */
function harmful(main: GraphScope, observations: Observations, harm: ReadonlyMap<NodeProto, number>): NodeProto[] {
  const gains = new Map([...harm.keys()].map((node) => [node, Math.max(1, gainOf(node, main, observations))]));
  const priceOf = ([node, error]: [NodeProto, number]) => error / gains.get(node)!;
  let total = [...harm.values()].reduce((sum, error) => sum + error, 0);
  let room = GIVEN_UP * [...gains.values()].reduce((sum, gain) => sum + gain, 0);
  const chosen: NodeProto[] = [];
  for (const [node, error] of [...harm].sort((a, b) => priceOf(b) - priceOf(a))) {
    if (total <= TOLERATED) break;
    if (gains.get(node)! > room) continue;
    room -= gains.get(node)!;
    total -= error;
    chosen.push(node);
  }
  return chosen;
}

/** Whether a node is a convolution with a weight of its own, which has a mean error that its bias can take. */
function isStorable(node: NodeProto, main: GraphScope): boolean {
  if (operatorKey(node) !== 'Conv') return false;
  const [weight, bias] = node.input.slice(1).map((name) => constantOf(main, name));
  if (weight?.ref?.dtype !== DataType.FLOAT || weight.dims.length < 3 || weight.ref.length === 0) return false;
  if (usesOf(main, weight.name).length !== 1) return false;
  return !node.input[2] || bias?.ref?.dtype === DataType.FLOAT;
}

/** A convolution beside the recipe whose own error is more than this, and whose weight is small, stays FLOAT. */
const STORED_DECIBELS = 45;
/** Shares of a model's FLOAT bytes: what one such weight may take, and what all may. */
const [ONE_SHARE, ALL_SHARE] = [0.01, 0.05];

/** Small weights that cost more quality than they save bytes, the worst first. */
function keptFloat(
  main: GraphScope,
  recipe: Recipe,
  errors: ReadonlyMap<NodeProto, LayerError>,
): ReadonlySet<NodeProto> {
  const bytesOf = (node: NodeProto) => constantOf(main, node.input[1]!)!.ref!.length;
  const total = [...main.constants.values()].reduce((sum, { ref }) => sum + (ref?.length ?? 0), 0);
  const kept = new Set<NodeProto>();
  let room = ALL_SHARE * total;
  const worst = [...errors]
    .filter(([node, error]) => !recipe.nodes.has(node) && decibelsOf(error) < STORED_DECIBELS)
    .filter(([node]) => bytesOf(node) <= ONE_SHARE * total)
    .sort(([, a], [, b]) => decibelsOf(a) - decibelsOf(b));
  for (const [node] of worst) {
    if (bytesOf(node) > room) continue;
    room -= bytesOf(node);
    kept.add(node);
  }
  return kept;
}

/** Values that tell nothing, and values that cannot be. */
function oddities({ values }: Observations): string[] {
  const listed = (what: string, names: string[]) => {
    if (names.length === 0) return [];
    const more = names.length > 3 ? ` and ${names.length - 3} more` : '';
    return [`${names.slice(0, 3).join(', ')}${more} ${what}`];
  };
  const all = [...values.values()];
  return [
    ...listed(
      'had the same value everywhere in all samples: samples that differ more would show its range.',
      all.filter(({ min, max }) => min === max).map(({ name }) => name),
    ),
    ...listed(
      'had NaN or infinite values: what reads or makes them stays FLOAT.',
      all.filter(({ nonFinite }) => nonFinite > 0).map(({ name }) => name),
    ),
  ];
}
