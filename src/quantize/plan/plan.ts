import path from 'node:path';
import {
  type Constant,
  DataType,
  type GraphIndex,
  type Model,
  orphanedBytes,
  placeOf,
  walkTensors,
} from '../../model/index.ts';
import { encodedBytes } from '../encodings/encoding.ts';
import type { Remarks } from '../methods/method.ts';
import type { Settings } from '../settings.ts';
import type { Decisions } from './decide.ts';
import { quantizeMemory } from './memory.ts';
import type { Rewrite } from './rewrite.ts';

/** What quantizing a model will do. All sizes are bytes. */
export interface Plan {
  /** Absolute paths of the source and of the result. */
  model: string;
  output: string;
  method: Settings['method'];
  nodes: PlannedNode[];
  /** FLOAT weights of all graphs: what they take now, what of them is quantized, and what takes its place. */
  weights: { before: number; quantized: number; after: number };
  nodesQuantized: number;
  /**
   * Bytes the result takes on disk, and the free space a run needs while the old result still stands. A plan alone may be
   * some bytes off for each weight, a dry run is not.
   */
  disk: number;
  /** What the run takes at most. */
  quantizeMemory: number;
  /** What the weights take once a runtime has loaded the result. Stored weights are FP32 again there. */
  loadedWeights: number;
  /** What the user should know: weights that are FP32 again at load, a raised operator set. */
  notes: string[];
  /** What the user should not overlook: little of the model is quantized. */
  warnings: string[];
}

export interface PlannedNode {
  /** The user's name for it, with the subgraph it stands in. */
  name: string;
  opType: string;
  /** What it becomes (`dynamic`, `stored`, `float16`), or `kept`. */
  form: string;
  reason: string;
  /** Bytes of the FP32 weights it reads, and of what it reads instead. A shared weight counts for each reader. */
  before: number;
  after: number;
}

/**
 * Adds up what was decided and built.
 *
 * @param original the model before its operator set was raised, which makes constants of attributes
 */
export function summarize(
  original: { model: Model; index: GraphIndex },
  decisions: Decisions,
  { encoded, dropped, fulfilled }: Rewrite,
  settings: Settings,
  remarks: Remarks,
): Omit<Plan, 'disk'> {
  const { model, index } = original;
  const made = new Map<Constant['holder'], number[]>();
  for (const { constant, encoding } of encoded) {
    const sizes = made.get(constant.holder);
    if (sizes) sizes.push(encodedBytes(encoding));
    else made.set(constant.holder, [encodedBytes(encoding)]);
  }
  const droppedHolders = new Set([...dropped].map(({ holder }) => holder));
  const storedHolders = new Set([...decisions.stored.keys()].map(({ holder }) => holder));
  const nodes = decisions.nodes.map((decision): PlannedNode => {
    const done = fulfilled.has(decision) ? decision.perhaps! : decision;
    const read = new Set(decision.weights.map(({ constant }) => constant));
    let [before, after] = [0, 0];
    for (const constant of read) {
      const own = done.form ? made.get(constant.holder)?.[0] : undefined;
      before += constant.ref?.length ?? 0;
      after += own ?? constant.ref?.length ?? 0;
    }
    const { node } = decision;
    const form = done.form?.name ?? 'kept';
    return { name: placeOf(decision), opType: node.opType, form, reason: done.reason, before, after };
  });
  const weights = { before: 0, quantized: 0, after: 0 };
  let loadedWeights = 0;
  for (const scope of index.scopes) {
    for (const constant of scope.constants.values()) {
      if (constant.ref?.dtype !== DataType.FLOAT) continue;
      const { holder, ref } = constant;
      const { length } = ref;
      const sizes = made.get(holder) ?? [];
      const after = (droppedHolders.has(holder) ? 0 : length) + sizes.reduce((sum, size) => sum + size, 0);
      weights.before += length;
      weights.after += after;
      if (sizes.length > 0) weights.quantized += length;
      loadedWeights += storedHolders.has(holder) ? length : after;
    }
  }
  const formNotes = new Set(decisions.nodes.flatMap(({ form }) => form?.note ?? []));
  const orphans = orphanedBytes(model).map(
    ({ path: file, bytes }) =>
      `${path.basename(file)} holds ${bytes} bytes that no tensor uses; they are not copied into the result.`,
  );
  const warnings = [...remarks.warnings, ...orphans];
  if (encoded.length > 0 && weights.quantized * 2 < weights.before) {
    const share = ((100 * weights.quantized) / weights.before).toFixed(0);
    warnings.push(`Only ${share} % of the weight bytes are quantized; \`dry-run\` says why the rest stays FP32.`);
  }
  return {
    model: settings.model,
    output: settings.output,
    method: settings.method,
    nodes,
    weights,
    nodesQuantized: nodes.filter(({ form, before }) => form !== 'kept' && before > 0).length,
    quantizeMemory: quantizeMemory(model, settings),
    loadedWeights,
    notes: [...remarks.notes, ...formNotes, ...functionNotes(model)],
    warnings,
  };
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
