import { InputError } from '../../../errors.ts';
import {
  constantOf,
  DataType,
  type GraphScope,
  indexGraphs,
  type Model,
  type NodeProto,
  operatorKey,
  usesOf,
} from '../../../model/index.ts';
import { operators } from '../../operators.ts';
import { type AtWork, atWork, GENERATED } from '../at-work.ts';
import type { Remarks, Run } from '../method.ts';
import type { StaticForms } from './form.ts';
import type { Grid } from './grids.ts';
import type { MeasuredValue, ProductError } from './measurements.ts';
import type { Emulated } from './observe/emulation.ts';
import { type ForeseenMemory, type ObserveOptions, observe } from './observe/observe.ts';
import { heldTogether, probe } from './observe/probe.ts';
import { type Switched, sensitivities } from './observe/sensitivity.ts';
import { binsOf, rangeOf } from './ranges/ranges.ts';
import { recall } from './recall.ts';
import { staticOperator } from './recipe/operators.ts';
import { decideRecipe, gainOf, type Recipe, valuesToObserve } from './recipe/recipe.ts';
import type { StaticSettings } from './settings.ts';
import { biasOf, type Product, productOf, weightOf } from './weights.ts';

/** What was seen of a model at work, and what follows. */
export type Calibration = StaticForms & Remarks;

/** Fewer samples say little about the range of values to come. */
const FEW = 10;

/** A product whose own error is more than a tenth of its output's amplitude stays FLOAT. */
const LEAST_DECIBELS = 20;

/**
 * Runs the model on the calibration data in a process of its own.
 * @throws InputError for data that does not fit and for a model that does not run
 */
export async function calibrate(settings: StaticSettings, model: Model, run: Run): Promise<Calibration> {
  return atWork(settings, model, run, (work) => calibrateAt(work, settings, model, run));
}

async function calibrateAt(
  { samples, runtime, openSession }: AtWork,
  settings: StaticSettings,
  model: Model,
  run: Run,
): Promise<Calibration> {
  const { log, scratch } = run;
  const generated = settings.calibrationData === GENERATED;
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
  const { known, keep, note } = await recall(settings, model, { samples, runtime, run });
  if (note) notes.push(note);
  const options = (label: string) => ({
    samples,
    folder: scratch,
    openSession,
    progress: (done: number, total: number) => log.progress({ label, done, total, unit: 'runs' }),
  });
  const foresee = ({ run: own, tapped }: ForeseenMemory) => {
    const free = run.availableMemory();
    const needs = `up to ${megabytes(own + tapped)} of memory, ${megabytes(tapped)} of it beside the model's own run`;
    if (own + tapped > free) {
      throw new InputError(
        `Calibrating "${model.path}" takes ${needs}, but ${megabytes(free)} are available: free memory, give smaller inputs, or use a larger machine.`,
      );
    }
    log.info(`Calibrating takes ${needs}.`);
  };
  const values = known.values ?? (await measureValues(settings, model, { ...options('Calibrating'), foresee }));
  known.values = values;
  const noisy = new Map<NodeProto, string>();
  const decide = () =>
    decideRecipe(main, values, settings.activationType, (node) => {
      return run.exclusion({ node, scope: main, operator: operators.get(operatorKey(node)) }) ?? noisy.get(node);
    });
  let recipe = decide();
  const probed = probedOf(main, recipe);
  // All or none, so that what is known changes no bit: beside other products the runtime may fuse differently.
  const isKnown = (each: Emulated) => {
    const correction = known.errors.get(keyOf(each))?.correction;
    return correction ? correction.length === each.product.scales.length : known.errors.has(keyOf(each));
  };
  if (!heldTogether(probed).flat().every(isKnown)) {
    for (const [each, error] of await probe(model, probed, options('Probing'))) known.errors.set(keyOf(each), error);
  }
  const errors = found(probed, (each) => known.errors.get(keyOf(each)));
  for (const [node, { decibels }] of errors) {
    if (recipe.nodes.has(node) && decibels < LEAST_DECIBELS) {
      noisy.set(node, `8 bits leave it ${decibels.toFixed(1)} dB above its error`);
    }
  }
  if (noisy.size > 0) recipe = decide();
  const switched = switchedOf(main, recipe, errors);
  const untried = switched.filter((each) => !known.harm.has(keyOf(each)));
  if (switched.length > 1 && untried.length > 0) {
    for (const [each, error] of await sensitivities(model, untried, options('Switching layers'))) {
      known.harm.set(keyOf(each), error);
    }
  }
  const harm = found(switched, (each) => known.harm.get(keyOf(each)));
  for (const node of harmful(main, values, harm)) {
    noisy.set(node, `in 8 bits it alone changes the outputs by ${(100 * Math.sqrt(harm.get(node)!)).toFixed(1)} %`);
  }
  if (noisy.size > 0) recipe = decide();
  await keep();
  const products = new Map<NodeProto, Product>();
  notes.push(
    `Calibrated on ${samples.length} sample${samples.length === 1 ? '' : 's'} (${settings.calibrationMethod}): ${values.size} values.`,
  );
  warnings.push(...oddities(values), ...nothingGained(main, recipe));
  return {
    recipe,
    productOf(node) {
      const { scale } = recipe.grids.get(node.input[0]!)!;
      const product = products.get(node) ?? productOf(node, main, scale, errors.get(node)?.correction);
      products.set(node, product);
      return product;
    },
    correctedBias(node) {
      const correction = recipe.nodes.has(node) ? undefined : errors.get(node)?.correction;
      const bias = correction && biasOf(node, main);
      return correction && Float32Array.from(correction, (value, channel) => value + (bias?.[channel] ?? 0));
    },
    keptFloat: keptFloat(main, recipe, errors),
    notes,
    warnings,
  };
}

async function measureValues(
  { calibrationMethod, calibrationPercentile }: StaticSettings,
  model: Model,
  options: Omit<ObserveOptions, 'values'>,
): Promise<Map<string, MeasuredValue>> {
  const { main } = indexGraphs(model);
  const bounded = new Set(
    main.graph.node.filter((node) => staticOperator(node)?.bounds).map(({ output }) => output[0]!),
  );
  const { values } = await observe(model, {
    ...options,
    values: valuesToObserve(main),
    // What its operator bounds needs no more than its range.
    bins: (value) => (bounded.has(value.name) ? undefined : binsOf(calibrationMethod, value)),
  });
  return new Map(
    [...values].map(([name, value]) => {
      const { dims, min, max, nonFinite } = value;
      return [name, { dims, min, max, nonFinite, range: rangeOf(calibrationMethod, value, calibrationPercentile) }];
    }),
  );
}

/** Tells products by what they compute on: their place, the grid of what they read, and that of what they make. */
function keyOf({ node, grid, output }: Emulated & { output?: Grid }): string {
  return [node.output[0], ...[grid, output].flatMap((each) => (each ? Object.values(each) : []))].join(' ');
}

function found<Each extends Emulated, Found>(
  all: readonly Each[],
  of: (each: Each) => Found | undefined,
): Map<NodeProto, Found> {
  return new Map(
    all.flatMap((each): [NodeProto, Found][] => {
      const figure = of(each);
      return figure === undefined ? [] : [[each.node, figure]];
    }),
  );
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

function switchedOf(main: GraphScope, recipe: Recipe, errors: ReadonlyMap<NodeProto, ProductError>): Switched[] {
  return probedOf(main, recipe).flatMap(({ node, product, grid }) => {
    const output = recipe.grids.get(node.output[0]!);
    if (!grid || !output) return [];
    const given = biasOf(node, main);
    const correction = errors.get(node)?.correction;
    const bias = Float32Array.from(product.scales, (_, at) => (given?.[at] ?? 0) + (correction?.[at] ?? 0));
    return [{ node, product, grid, output, bias: given || correction ? bias : undefined }];
  });
}

/** Errors that all 8-bit products may make in the outputs together, relative and squared: a cosine of 0.9985. */
const TOLERATED = 0.003;
/** Share of the time saved that may be given up for quality. */
const GIVEN_UP = 0.5;

/** The products to keep FLOAT so that the others' errors are tolerable: those with most harm for the time they save. */
function harmful(
  main: GraphScope,
  values: ReadonlyMap<string, MeasuredValue>,
  harm: ReadonlyMap<NodeProto, number>,
): NodeProto[] {
  const gains = new Map([...harm.keys()].map((node) => [node, Math.max(1, gainOf(node, main, values))]));
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
  errors: ReadonlyMap<NodeProto, ProductError>,
): ReadonlySet<NodeProto> {
  const bytesOf = (node: NodeProto) => constantOf(main, node.input[1]!)!.ref!.length;
  const total = [...main.constants.values()].reduce((sum, { ref }) => sum + (ref?.length ?? 0), 0);
  const kept = new Set<NodeProto>();
  let room = ALL_SHARE * total;
  const worst = [...errors]
    .filter(([node, error]) => !recipe.nodes.has(node) && error.decibels < STORED_DECIBELS)
    .filter(([node]) => bytesOf(node) <= ONE_SHARE * total)
    .sort(([, a], [, b]) => a.decibels - b.decibels);
  for (const [node] of worst) {
    if (bytesOf(node) > room) continue;
    room -= bytesOf(node);
    kept.add(node);
  }
  return kept;
}

/** Says why where no product computes in 8 bits. */
function nothingGained(main: GraphScope, { nodes, reasons }: Recipe): string[] {
  const products = main.graph.node.filter((node) => staticOperator(node)?.kind === 'weighted');
  if (products.length === 0 || products.some((node) => nodes.has(node))) return [];
  const counts = new Map<string, number>();
  for (const node of products) {
    const reason = reasons.get(node);
    if (reason) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  }
  const [most] = [...counts].sort(([, a], [, b]) => b - a);
  const why = most ? `, of ${most[1]} because ${most[0]}` : '';
  return [`No product computes in 8 bits by \`static\`${why}; \`dry-run\` says why of each.`];
}

/** Values that tell nothing, and values that cannot be. */
function oddities(values: ReadonlyMap<string, MeasuredValue>): string[] {
  const listed = (what: string, names: string[]) => {
    if (names.length === 0) return [];
    const more = names.length > 3 ? ` and ${names.length - 3} more` : '';
    return [`${names.slice(0, 3).join(', ')}${more} ${what}`];
  };
  const all = [...values];
  return [
    ...listed(
      'had the same value everywhere in all samples: samples that differ more would show its range.',
      all.filter(([, { min, max }]) => min === max).map(([name]) => name),
    ),
    ...listed(
      'had NaN or infinite values: what reads or makes them stays FLOAT.',
      all.filter(([, { nonFinite }]) => nonFinite > 0).map(([name]) => name),
    ),
  ];
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
