import path from 'node:path';
import { InputError } from '../errors.ts';
import {
  assertNotOverlong,
  DataType,
  type Model,
  opsetOf,
  orphanedBytes,
  placeOf,
  walkTensors,
} from '../model/index.ts';
import { type Action, type Conditions, type Decisions, decide } from './decide.ts';
import { type GraphIndex, indexGraphs } from './graph.ts';
import { raiseOpset } from './opset.ts';
import { type QuantizeOptions, type Settings, settingsOf } from './options.ts';
import { METADATA_KEY, type PlannedWeight, type Rewrite, rewrite } from './rewrite.ts';

/** What quantizing a model will do. All sizes are bytes. */
export interface Plan {
  method: Settings['method'];
  nodes: PlannedNode[];
  /** FLOAT weights of all graphs: what they take now, what of them is quantized, and what takes its place. */
  weights: { before: number; quantized: number; after: number };
  nodesQuantized: number;
  /** Bytes the result takes on disk, about; and the free space a run needs while the old result still stands. */
  disk: number;
  /** What the run takes at most. */
  quantizeMemory: number;
  /** What the weights take once a runtime has loaded the result. Weight-only weights are FP32 again there. */
  loadedWeights: number;
  /** What the user should know: weights that are unfolded at load, a raised operator set. */
  notes: string[];
  /** What the user should not overlook: little of the model is quantized. */
  warnings: string[];
}

export interface PlannedNode {
  /** The user's name for it, with the subgraph it stands in. */
  name: string;
  opType: string;
  action: Action;
  reason: string;
  /** Bytes of the FP32 weights it reads, and of what it reads instead. A shared weight counts for each reader. */
  before: number;
  after: number;
}

/** The plan with what is needed to carry it out. */
export interface Draft {
  plan: Plan;
  rewrite: Rewrite;
}

/** Memory that a run takes whatever the model: see the benchmark in docs. */
const QUANTIZE_MEMORY = 128 * 2 ** 20;

/**
 * Plans the quantization of a model; reads no weight and writes nothing.
 *
 * @throws InputError if nothing can be quantized, or if the model is quantized already.
 */
export function plan(model: Model, options: Omit<QuantizeOptions, 'model'> = {}): Plan {
  return draft(model, settingsOf({ ...options, model: model.path })).plan;
}

/** Their bodies are called from anywhere, with any types: quantizing them takes inlining them first. */
function functionNotes(model: Model): string[] {
  const count = model.proto.functions.length;
  if (count === 0) return [];
  const inside = [...walkTensors(model.proto)].filter(({ inFunction }) => inFunction);
  const refs = inside.flatMap(({ tensor }) => model.tensors.get(tensor) ?? []);
  const weights = refs.filter(({ dtype }) => dtype === DataType.FLOAT);
  const bytes = weights.reduce((sum, { length }) => sum + length, 0);
  const held =
    weights.length > 0
      ? ` They hold ${weights.length} FP32 tensor${weights.length === 1 ? '' : 's'}, ${bytes} bytes: export the model with its functions inlined to have those quantized.`
      : '';
  return [`The model's own functions (${count}) are left as they are.${held}`];
}

/** Decides, builds the new graph without its numbers, and adds up. */
export function draft(model: Model, settings: Settings, skip?: Conditions['skip']): Draft {
  refuseQuantized(model);
  assertNotOverlong(model);
  refuseOpset(model);
  const notes: string[] = [];
  let source = model;
  let index = indexGraphs(source);
  let decisions = decide(index, settings, { skip });
  if (decisions.nodes.some(({ action }) => action === 'dynamic') && (opsetOf(model.proto) ?? 0) < 11) {
    const raised = raiseOpset(model);
    if ('model' in raised) {
      source = raised.model;
      index = indexGraphs(source);
      decisions = decide(index, settings, { skip });
      notes.push(`The operator set is raised from ${opsetOf(model.proto)} to 11, which has DynamicQuantizeLinear.`);
    } else {
      const noDynamic = `operator set ${opsetOf(model.proto)} has no DynamicQuantizeLinear, and ${raised.obstacle}`;
      decisions = decide(index, settings, { skip, noDynamic });
    }
  }
  refuseNothing(model, decisions, settings);
  const result = rewrite(source, index, decisions, settings);
  return { plan: summarize(model, index, decisions, result, settings, notes), rewrite: result };
}

function summarize(
  model: Model,
  index: GraphIndex,
  decisions: Decisions,
  { model: { proto }, weights }: Rewrite,
  settings: Settings,
  notes: string[],
): Plan {
  const made = new Map<unknown, PlannedWeight[]>();
  for (const weight of weights) made.set(weight.constant.holder, [...(made.get(weight.constant.holder) ?? []), weight]);
  const keptFloat = new Set<unknown>([...walkTensors(proto)].map(({ tensor }) => tensor));
  const nodes = decisions.nodes.map((decision): PlannedNode => {
    const read = [...new Set(decision.weights.map(({ constant }) => constant))];
    const before = read.reduce((sum, { ref }) => sum + (ref?.length ?? 0), 0);
    const changed = decision.action !== 'kept';
    const after = read.reduce((sum, { holder, ref }) => {
      const own = changed ? made.get(holder) : undefined;
      return sum + (own ? bytesOf(own[0]!) : (ref?.length ?? 0));
    }, 0);
    const { action, reason, node } = decision;
    return { name: placeOf(decision), opType: node.opType, action, reason, before, after };
  });
  const totals = { before: 0, quantized: 0, after: 0 };
  let loadedWeights = 0;
  for (const scope of index.scopes) {
    for (const constant of scope.constants.values()) {
      if (constant.ref?.dtype !== DataType.FLOAT) continue;
      const own = made.get(constant.holder) ?? [];
      const left = keptFloat.has(constant.holder) ? constant.ref.length : 0;
      totals.before += constant.ref.length;
      if (own.length > 0) totals.quantized += constant.ref.length;
      totals.after += left + own.reduce((sum, weight) => sum + bytesOf(weight), 0);
      loadedWeights += decisions.stored.has(constant)
        ? constant.ref.length
        : left + own.reduce((sum, weight) => sum + bytesOf(weight), 0);
    }
  }
  const sourceBytes = model.stamps.reduce((sum, { size }) => sum + size, 0);
  if (decisions.stored.size > 0) {
    notes.push(
      'Weight-only weights are unfolded to FP32 when the model is loaded: its file shrinks, its RAM does not.',
    );
  }
  notes.push(...functionNotes(model));
  const warnings = orphanedBytes(model).map(
    ({ path: file, bytes }) =>
      `${path.basename(file)} holds ${bytes} bytes that no tensor uses; they are not copied into the result.`,
  );
  if (totals.quantized * 2 < totals.before) {
    const share = ((100 * totals.quantized) / totals.before).toFixed(0);
    warnings.push(`Only ${share} % of the weight bytes are quantized; \`dry-run\` says why the rest stays FP32.`);
  }
  return {
    method: settings.method,
    nodes,
    weights: totals,
    nodesQuantized: nodes.filter(({ action, before }) => action !== 'kept' && before > 0).length,
    disk: Math.max(0, sourceBytes - totals.before + totals.after),
    quantizeMemory: QUANTIZE_MEMORY,
    loadedWeights,
    notes,
    warnings,
  };
}

function bytesOf({ tensor, parameters }: PlannedWeight): number {
  const elements = ({ dims }: { dims: bigint[] }) => dims.reduce((product, size) => product * Number(size), 1);
  const own = elements(tensor) * (tensor.dataType === DataType.FLOAT16 ? 2 : 1);
  return parameters.reduce((sum, each) => sum + elements(each.tensor) * (each.holds === 'zeroPoint' ? 1 : 4), own);
}

/** Operators that only a quantized model has. */
const QUANTIZED = new Set([
  'ConvInteger',
  'DequantizeLinear',
  'DynamicQuantizeLSTM',
  'DynamicQuantizeLinear',
  'DynamicQuantizeMatMul',
  'MatMulBnb4',
  'MatMulInteger',
  'MatMulIntegerToFloat',
  'MatMulNBits',
  'QAttention',
  'QEmbedLayerNormalization',
  'QGemm',
  'QLinearConv',
  'QLinearMatMul',
  'QuantizeLinear',
]);

/** Cast and Mul have their form of today since then. */
const OLDEST_OPSET = 7;

function refuseOpset(model: Model): void {
  const opset = opsetOf(model.proto);
  if (opset !== undefined && opset >= OLDEST_OPSET) return;
  const what = opset === undefined ? 'imports no standard operator set' : `is of operator set ${opset}`;
  throw new InputError(
    `The model "${model.path}" ${what}: export it again with operator set ${OLDEST_OPSET} or later.`,
  );
}

function refuseQuantized(model: Model): void {
  const advice = 'quantize the FP32 model it was made from.';
  const ours = model.proto.metadataProps.find(({ key }) => key === METADATA_KEY);
  if (ours) throw new InputError(`The model "${model.path}" is already quantized (${ours.value}): ${advice}`);
  for (const scope of indexGraphs(model).scopes) {
    const node = scope.graph.node.find((each) => QUANTIZED.has(each.opType));
    if (!node) continue;
    throw new InputError(`The model "${model.path}" is already quantized (it has ${node.opType} nodes): ${advice}`);
  }
}

function refuseNothing(model: Model, decisions: Decisions, settings: Settings): void {
  if (decisions.nodes.some(({ action }) => action !== 'kept')) return;
  const weights = decisions.nodes.flatMap((decision) => decision.weights);
  const half = weights.find(({ constant }) => constant.dtype === DataType.FLOAT16);
  if (half && weights.every(({ constant }) => constant.ref?.dtype !== DataType.FLOAT)) {
    throw new InputError(
      `The model "${model.path}" has FP16 weights, which this release does not quantize: give it FP32.`,
    );
  }
  const reasons = decisions.nodes.filter(({ weights }) => weights.length > 0).map(({ reason }) => reason);
  const why = reasons.length > 0 ? `its weights stay because ${commonest(reasons)}` : 'no node has constant weights';
  throw new InputError(
    `Nothing in the model "${model.path}" can be quantized with \`${settings.method}\`: ${why}; \`dry-run\` tells more.`,
  );
}

function commonest(reasons: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const reason of reasons) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0]![0];
}
