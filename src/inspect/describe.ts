import path from 'node:path';
import { InputError } from '../errors.ts';
import { guessInputs } from '../inputs/index.ts';
import {
  type Constant,
  constantOf,
  type DeclaredValue,
  dataTypeName,
  declaredInputs,
  declaredOutputs,
  type GraphIndex,
  type GraphScope,
  indexGraphs,
  type Model,
  operatorKey,
  orphanedBytes,
  readModel,
} from '../model/index.ts';
import { type MethodName, plan, type QuantizeOptions } from '../quantize/index.ts';
import { candidatesOf } from '../tune/index.ts';

export interface InspectOptions {
  /** Sizes that are given: `batch=1,seq=16`. */
  dims?: string | undefined;
  /** How many of the largest weights are listed; default 15. */
  top?: number | undefined;
}

/** What a model is, without running it. Sizes are bytes. */
export interface ModelDescription {
  /** Absolute path of the graph file. */
  model: string;
  /** Graph file and external data. */
  bytes: number;
  irVersion: number;
  producer: string;
  opsets: { domain: string; version: number }[];
  metadata: Record<string, string>;
  inputs: SignatureValue[];
  outputs: SignatureValue[];
  /** Open sizes with what each most likely is and the size that would be tried first. */
  sizes: { name: string; role: string; size: number }[];
  /** Inputs that take what an output gave the time before. */
  states: { input: string; output: string }[];
  /** By operator, the heaviest first; a weight that several nodes read counts once for each operator. */
  operators: { operator: string; count: number; weightBytes: number }[];
  weights: {
    count: number;
    bytes: number;
    byType: { type: string; count: number; bytes: number }[];
    largest: { name: string; type: string; dims: number[]; bytes: number; readers: number }[];
    /** Read in more than one place. */
    shared: { count: number; bytes: number };
  };
  subgraphs: { path: string; nodes: number }[];
  functions: { name: string; nodes: number }[];
  /** The files with weights besides the graph; `unused`: bytes that no tensor reads. */
  externalFiles: { path: string; bytes: number; unused: number; modified: string }[];
  /** What each method would make of it, or why it would not. */
  methods: MethodEstimate[];
}

export interface SignatureValue {
  name: string;
  type: string;
  dims: (number | string)[];
}

/** `bits` are undefined where a method chooses them. */
export type MethodEstimate = { method: MethodName | 'auto'; bits?: 8 | 4 | 16 } & (Estimate | { refused: string });

export interface Estimate {
  /** On disk, about. */
  bytes: number;
  /** Where only running the model decides: what it takes at most, as with the other figures; `bytes` is then the least. */
  mostBytes?: number;
  nodesQuantized: number;
  /** What the weights take once a runtime has loaded them. */
  loadedWeights: number;
  notes: string[];
}

/** Those that need not see the model at work, in the order in which they are told. */
const PLANNED: readonly { method: MethodName; bits: 8 | 4 | 16 }[] = [
  { method: 'dynamic', bits: 8 },
  { method: 'weight-only', bits: 8 },
  { method: 'weight-only', bits: 4 },
  { method: 'fp16', bits: 16 },
];
const TOP = 15;

/**
 * Describes a model: signature, operators, weights, files, the sizes that would be taken, and what quantizing would make
 * of it. Reads the graph and no weight.
 * @throws InputError for a file that is no model, lacks its external data, or for `dims` that do not fit
 */
export async function inspect(file: string, options: InspectOptions = {}): Promise<ModelDescription> {
  const model = await readModel(file);
  const index = indexGraphs(model);
  const { proto } = model;
  return {
    model: model.path,
    bytes: model.stamps.reduce((sum, { size }) => sum + size, 0),
    irVersion: Number(proto.irVersion),
    producer: [proto.producerName, proto.producerVersion].filter(Boolean).join(' '),
    opsets: proto.opsetImport.map(({ domain, version }) => ({ domain: domain || 'ai.onnx', version: Number(version) })),
    metadata: Object.fromEntries(proto.metadataProps.map(({ key, value }) => [key, value])),
    inputs: declaredInputs(model).map(signatureValue),
    outputs: declaredOutputs(model).map(signatureValue),
    ...guessed(model, options),
    operators: operatorsOf(index),
    weights: weightsOf(index, options.top ?? TOP),
    subgraphs: index.scopes.slice(1).map((scope) => ({ path: scope.path, nodes: scope.graph.node.length })),
    functions: proto.functions.map(({ domain, name, node }) => ({ name: `${domain}::${name}`, nodes: node.length })),
    externalFiles: filesOf(model),
    methods: estimates(model),
  };
}

function signatureValue({ name, dtype, dims }: DeclaredValue): SignatureValue {
  return { name, type: dtype === 0 ? 'no tensor' : dataTypeName(dtype), dims };
}

function guessed(model: Model, options: InspectOptions): Pick<ModelDescription, 'sizes' | 'states'> {
  const { open, sets, states } = guessInputs(model, options);
  const sizes = open.map(({ name, role }) => ({ name, role, size: sets[0]?.get(name) ?? 1 }));
  return { sizes, states };
}

function operatorsOf({ scopes, functions }: GraphIndex): ModelDescription['operators'] {
  const found = new Map<string, { count: number; weights: Map<Constant['holder'], number> }>();
  for (const scope of [...scopes, ...functions]) {
    for (const node of scope.graph.node) {
      const key = operatorKey(node);
      const entry = found.get(key) ?? { count: 0, weights: new Map() };
      found.set(key, entry);
      entry.count++;
      for (const name of node.input) {
        const constant = constantOf(scope, name);
        if (constant?.ref) entry.weights.set(constant.holder, constant.ref.length);
      }
    }
  }
  const operators = [...found].map(([operator, { count, weights }]) => {
    return { operator, count, weightBytes: [...weights.values()].reduce((sum, bytes) => sum + bytes, 0) };
  });
  return operators.sort((a, b) => b.weightBytes - a.weightBytes || b.count - a.count);
}

function weightsOf({ scopes, functions }: GraphIndex, top: number): ModelDescription['weights'] {
  const constants = [...scopes, ...functions].flatMap((scope) => [...scope.constants.values()]);
  const weights = constants
    .filter((constant) => constant.ref !== undefined)
    .map((constant) => ({ ...weightOf(constant), readers: readersOf(constant.scope, constant.name) }));
  const byType = new Map<string, { count: number; bytes: number }>();
  for (const { type, bytes } of weights) {
    const sum = byType.get(type) ?? { count: 0, bytes: 0 };
    byType.set(type, { count: sum.count + 1, bytes: sum.bytes + bytes });
  }
  const shared = weights.filter(({ readers }) => readers > 1);
  return {
    count: weights.length,
    bytes: total(weights),
    byType: [...byType].map(([type, sum]) => ({ type, ...sum })).sort((a, b) => b.bytes - a.bytes),
    largest: weights.toSorted((a, b) => b.bytes - a.bytes).slice(0, top),
    shared: { count: shared.length, bytes: total(shared) },
  };
}

const weightOf = ({ name, dtype, dims, ref }: Constant) => ({
  name,
  type: dataTypeName(dtype),
  dims: [...dims],
  bytes: ref?.length ?? 0,
});

const readersOf = (scope: GraphScope, name: string): number => scope.uses.get(name)?.length ?? 0;
const total = (weights: readonly { bytes: number }[]): number => weights.reduce((sum, { bytes }) => sum + bytes, 0);

function filesOf(model: Model): ModelDescription['externalFiles'] {
  const unused = new Map(orphanedBytes(model).map(({ path: file, bytes }) => [file, bytes]));
  return model.stamps
    .filter(({ path: file }) => model.externalFiles.includes(file))
    .map(({ path: file, size, mtimeNs }) => ({
      path: path.relative(path.dirname(model.path), file),
      bytes: size,
      unused: unused.get(file) ?? 0,
      modified: new Date(Number(mtimeNs / 1_000_000n)).toISOString(),
    }));
}

/** What each method would make of it; of those that run the model first, between what. */
function estimates(model: Model): MethodEstimate[] {
  const planned = PLANNED.map(({ method, bits }): MethodEstimate => {
    return { method, bits, ...estimate(model, { method, ...(bits === 16 ? {} : { bits }) }) };
  });
  const [dynamic, ...others] = planned as [MethodEstimate, ...MethodEstimate[]];
  const { method: _, bits: __, ...asDynamic } = dynamic;
  const seen = 'refused' in asDynamic ? asDynamic : { ...asDynamic, notes: [STATIC] };
  return [dynamic, { method: 'static', bits: 8, ...seen }, ...others, { method: 'auto', ...chosen(model) }];
}

const STATIC =
  'The weights take what they take by dynamic; which activations are in 8 bits too is known once it has run on `calibration-data`.';

/** What `auto` can choose without calibration data. */
function chosen(model: Model): Estimate | { refused: string } {
  const candidates = candidatesOf({ model: model.path }, model, undefined).map(({ recipe }) => estimate(model, recipe));
  const possible = candidates.flatMap((each) => ('refused' in each ? [] : [each]));
  if (possible.length === 0) return candidates[0]!;
  const most = (figure: (each: Estimate) => number) => Math.max(...possible.map(figure));
  return {
    bytes: Math.min(...possible.map(({ bytes }) => bytes)),
    mostBytes: most(({ bytes }) => bytes),
    nodesQuantized: most((each) => each.nodesQuantized),
    loadedWeights: most((each) => each.loadedWeights),
    notes: ['It makes and measures what the other lines say, and takes what passes its gates.'],
  };
}

function estimate(model: Model, options: Omit<QuantizeOptions, 'model'>): Estimate | { refused: string } {
  try {
    const { disk, nodesQuantized, loadedWeights, notes } = plan(model, options);
    return { bytes: disk, nodesQuantized, loadedWeights, notes };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return { refused: error.message };
  }
}
