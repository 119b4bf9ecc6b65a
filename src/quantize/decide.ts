import { InputError } from '../errors.ts';
import { addressOf, DataType, dataTypeName, type NodeProto, operatorKey } from '../model/index.ts';
import { type Constant, constantOf, definingScope, type GraphIndex, isFloat, type Scope } from './graph.ts';
import type { Operator, WeightSlot } from './operators/operator.ts';
import { registry } from './operators/registry.ts';
import { matchesGlob, type Settings } from './options.ts';

export type Action = 'dynamic' | 'weight-only' | 'float16' | 'kept';

/** What happens to a node, and why. */
export interface Decision {
  node: NodeProto;
  scope: Scope;
  operator: Operator | undefined;
  action: Action;
  reason: string;
  /** The constants that are its weights. */
  weights: Weight[];
}

export interface Weight {
  constant: Constant;
  /** Axes of its output channels. */
  axis: number | readonly number[] | null;
  /** Read by the node itself, not through Slice, Concat and their like. */
  direct: boolean;
  /** Whether it has as many axes as its place allows. */
  fits: boolean;
}

/** How a constant is stored that every reader gets back as FLOAT: cast (and scaled) at load. */
export interface Storage {
  constant: Constant & { ref: NonNullable<Constant['ref']> };
  kind: 'int8' | 'float16';
  axis: number | readonly number[] | null;
}

export interface Decisions {
  /** In file order, parents before the subgraphs they carry. */
  nodes: Decision[];
  stored: Map<Constant, Storage>;
  /** Constants that stay FP32 for a reader, even where another one uses them quantized. */
  keepsFloat: Set<Constant>;
}

/** Reason of a node that follows its input, until it does. */
export const FOLLOWS = 'its input is not quantized';

/** What is known beyond the graph when deciding. */
export interface Conditions {
  /** Holders of constants that must stay as they are, with the reason. */
  skip?: ReadonlyMap<Constant['holder'], string> | undefined;
  /** Why no node can take a dynamic form. */
  noDynamic?: string | undefined;
}

/** Decides for every node; reads no weight. Throws InputError where a list of the options names nothing. */
export function decide(index: GraphIndex, settings: Settings, conditions: Conditions = {}): Decisions {
  checkLists(index, settings);
  const skip = conditions.skip ?? new Map<Constant['holder'], string>();
  const decisions: Decisions = { nodes: [], stored: new Map(), keepsFloat: new Set() };
  const claims = new Map<Constant, Weight>();
  const dynamic = new Set<Constant>();
  for (const scope of index.scopes) {
    for (const { name } of scope.graph.output) {
      const constant = scope.constants.get(name);
      if (constant) decisions.keepsFloat.add(constant);
    }
    for (const node of scope.graph.node) {
      const decision = decideNode(node, scope, settings, { ...conditions, skip });
      decisions.nodes.push(decision);
      const exclusion = exclusionOf(node, settings);
      if (exclusion) {
        for (const { constant } of decision.weights) decisions.keepsFloat.add(constant);
        if (exclusion.byName) for (const constant of constantsRead(node, scope)) decisions.keepsFloat.add(constant);
      }
      for (const weight of decision.weights) {
        if (decision.action === 'dynamic' && weight.direct) dynamic.add(weight.constant);
        const claimed = decision.action === 'weight-only' || decision.action === 'float16';
        // A direct reader knows the channels; one behind a Slice only guesses.
        if (claimed && (weight.direct || !claims.has(weight.constant))) claims.set(weight.constant, weight);
      }
    }
  }
  const refusals = new Map<Constant, string>();
  for (const [constant, weight] of claims) {
    const refusal = storageRefusal(weight, settings, skip, decisions.keepsFloat, dynamic);
    if (refusal !== undefined) refusals.set(constant, refusal);
    else if (isFloat(constant)) {
      const kind = settings.method === 'fp16' ? 'float16' : 'int8';
      decisions.stored.set(constant, { constant, kind, axis: settings.perChannel ? weight.axis : null });
    }
  }
  for (const decision of decisions.nodes) settleStorage(decision, decisions.stored, refusals, dynamic);
  return decisions;
}

/** Bytes that an entry and its two nodes cost in the graph; below it, storing a weight in 8 bits saves nothing. */
const STORAGE_OVERHEAD = 400;

/** Number of scales that a weight gets. */
export function channelsOfAxis(dims: readonly number[], axis: number | readonly number[] | null): number {
  if (axis === null) return 1;
  return (typeof axis === 'number' ? [axis] : axis).reduce((product, a) => product * dims.at(a)!, 1);
}

function decideNode(
  node: NodeProto,
  scope: Scope,
  settings: Settings,
  conditions: Conditions & { skip: ReadonlyMap<Constant['holder'], string> },
): Decision {
  const operator = registry.get(operatorKey(node));
  const fp16 = settings.method === 'fp16';
  const weights = fp16 ? everyConstant(node, scope) : operator ? weightsOf(operator, node, scope) : [];
  const decision: Decision = { node, scope, operator, action: 'kept', reason: '', weights };
  const kept = (reason: string): Decision => ({ ...decision, reason });
  if (operatorKey(node) === 'Constant') return kept('holds a constant');
  if (!fp16 && !operator) return kept('no operator with weights');
  const exclusion = exclusionOf(node, settings);
  if (exclusion) return kept(exclusion.reason);
  if (!isWhole(node, operator)) return kept('it lacks an input or output that the standard demands');
  if (operator?.follow && !fp16) return kept(FOLLOWS);
  if (weights.length === 0) return kept(fp16 ? 'reads no constant' : 'its weights are not constants');
  const odd = weights.find(({ fits }) => !fits);
  if (odd) return kept(`weight ${odd.constant.name} has axes [${odd.constant.dims}], which do not suit it`);
  const floats = weights.filter(({ constant }) => isFloat(constant));
  if (floats.length === 0) {
    const dtype = dataTypeName(weights[0]!.constant.dtype);
    return kept(dtype === 'FLOAT' ? 'its weights are empty' : `its weights are ${dtype}, not FLOAT`);
  }
  if (fp16) return { ...decision, action: 'float16', reason: 'stored FP16, FP32 once loaded' };
  const stored: Decision = { ...decision, action: 'weight-only', reason: 'stored INT8, FP32 once loaded' };
  if (settings.method === 'weight-only') return stored;
  const refusal = dynamicRefusal(decision, conditions, settings);
  if (refusal === undefined) {
    return { ...decision, action: 'dynamic', reason: `becomes ${operator!.dynamic!.becomes}` };
  }
  // An operator that the user named for its integer form stays FP32 where it has none.
  if (settings.opTypes.length > 0 && operator!.dynamic) return kept(refusal);
  return { ...stored, reason: `${stored.reason}: ${refusal}` };
}

/** Why a node gets no dynamic form, or undefined. */
function dynamicRefusal(
  { node, scope, operator, weights }: Decision,
  { skip, noDynamic }: Conditions & { skip: ReadonlyMap<Constant['holder'], string> },
  settings: Settings,
): string | undefined {
  const form = operator!.dynamic;
  if (!form) return `${node.opType} has no dynamic form`;
  if (form.onlyWhenNamed && !settings.opTypes.includes(node.opType)) {
    return `${form.becomes} is slow: name ${node.opType} in \`op-types\` to get it`;
  }
  const refusal = form.refusal(node, scope);
  if (refusal !== undefined) return refusal;
  const skipped = constantsRead(node, scope).find(({ holder }) => skip.has(holder));
  if (skipped) return skip.get(skipped.holder);
  for (const { constant, direct } of weights) {
    if (!direct) continue;
    if (!isFloat(constant)) return `weight ${constant.name} is ${dataTypeName(constant.dtype)}, not FLOAT`;
    if (constant.ref.length === 0) return `weight ${constant.name} is empty`;
  }
  return noDynamic;
}

/** Why a constant is not stored weight-only, or undefined. */
function storageRefusal(
  { constant, axis }: Weight,
  settings: Settings,
  skip: ReadonlyMap<Constant['holder'], string>,
  keepsFloat: ReadonlySet<Constant>,
  dynamic: ReadonlySet<Constant>,
): string | undefined {
  const { name, holder } = constant;
  const skipped = skip.get(holder);
  if (skipped) return skipped;
  if (!isFloat(constant)) return `weight ${name} is ${dataTypeName(constant.dtype)}, not FLOAT`;
  if (keepsFloat.has(constant)) return `weight ${name} is also read by a node that must not change, or is an output`;
  if (dynamic.has(constant)) return `weight ${name} is quantized for another node and unfolded here`;
  const elements = constant.ref.length / 4;
  const stored =
    settings.method === 'fp16'
      ? elements * 2
      : elements + 4 * channelsOfAxis(constant.ref.dims, settings.perChannel ? axis : null);
  return stored + STORAGE_OVERHEAD < constant.ref.length ? undefined : `weight ${name} is too small to gain from it`;
}

/** Turns a node whose weights all stay as they are into a kept one, with the first weight's reason. */
function settleStorage(
  decision: Decision,
  stored: ReadonlyMap<Constant, Storage>,
  refusals: ReadonlyMap<Constant, string>,
  dynamic: ReadonlySet<Constant>,
): void {
  if (decision.action !== 'weight-only' && decision.action !== 'float16') return;
  if (decision.weights.some(({ constant }) => stored.has(constant) || dynamic.has(constant))) return;
  decision.action = 'kept';
  decision.reason = decision.weights.map(({ constant }) => refusals.get(constant)).find(Boolean) ?? decision.reason;
}

/** Operators that move elements and change none: what is behind them is still the weight. */
const MOVEMENT = new Set([
  'Concat',
  'Flatten',
  'Identity',
  'Reshape',
  'Slice',
  'Split',
  'Squeeze',
  'Transpose',
  'Unsqueeze',
]);

function weightsOf(operator: Operator, node: NodeProto, scope: Scope): Weight[] {
  const weights: Weight[] = [];
  for (const slot of operator.weights(node)) {
    const name = node.input[slot.input];
    if (!name) continue;
    const direct = constantOf(scope, name);
    if (direct) weights.push(directWeight(slot, direct));
    else {
      for (const constant of constantsBehind(scope, name, new Set())) {
        if (!isFloat(constant)) continue;
        weights.push({ constant, axis: constant.dims.length > 1 ? 0 : null, direct: false, fits: true });
      }
    }
  }
  return weights;
}

function directWeight({ rank: [least, most], axis }: WeightSlot, constant: Constant): Weight {
  const rank = constant.dims.length;
  const axes = axis(rank);
  const inside = (axes === null ? [] : typeof axes === 'number' ? [axes] : axes).every(
    (each) => each >= 0 && each < rank,
  );
  return { constant, axis: axes, direct: true, fits: rank >= least && rank <= most && inside };
}

/** Whether the inputs and the output are there on which everything below relies. */
function isWhole(node: NodeProto, operator: Operator | undefined): boolean {
  if (!operator) return true;
  return node.input.length >= operator.inputs && node.input[0] !== '' && node.output.length > 0;
}

/** The constants whose elements reach `name` through operators that only move them. */
function constantsBehind(scope: Scope, name: string, seen: Set<NodeProto>): Constant[] {
  const home = definingScope(scope, name);
  const constant = home?.constants.get(name);
  if (constant) return [constant];
  const node = home?.producers.get(name);
  if (!home || !node || seen.has(node) || !MOVEMENT.has(operatorKey(node))) return [];
  seen.add(node);
  const inputs = node.opType === 'Concat' ? node.input : node.input.slice(0, 1);
  return inputs.flatMap((input) => constantsBehind(home, input, seen));
}

function everyConstant(node: NodeProto, scope: Scope): Weight[] {
  return constantsRead(node, scope)
    .filter(({ dtype }) => dtype === DataType.FLOAT)
    .map((constant) => ({ constant, axis: null, direct: true, fits: true }));
}

function constantsRead(node: NodeProto, scope: Scope): Constant[] {
  return node.input.flatMap((name) => constantOf(scope, name) ?? []);
}

function exclusionOf(node: NodeProto, settings: Settings): { reason: string; byName: boolean } | undefined {
  const name = addressOf(node);
  const { includeNodes, excludeNodes, opTypes } = settings;
  const pattern = excludeNodes.find((each) => matchesGlob(name, each));
  if (pattern !== undefined) return { reason: `excluded by \`exclude-nodes\` (${pattern})`, byName: true };
  if (includeNodes.length > 0 && !includeNodes.some((each) => matchesGlob(name, each))) {
    return { reason: 'not among `include-nodes`', byName: true };
  }
  if (opTypes.length > 0 && !opTypes.includes(node.opType)) {
    return { reason: `${node.opType} is not among \`op-types\``, byName: false };
  }
  return undefined;
}

function checkLists(index: GraphIndex, settings: Settings): void {
  const nodes = index.scopes.flatMap((scope) => scope.graph.node);
  for (const input of ['include-nodes', 'exclude-nodes'] as const) {
    const patterns = input === 'include-nodes' ? settings.includeNodes : settings.excludeNodes;
    const idle = patterns.find((pattern) => !nodes.some((node) => matchesGlob(addressOf(node), pattern)));
    if (idle !== undefined) {
      throw new InputError(`Input \`${input}\`: no node is called \`${idle}\`; \`dry-run\` lists the names.`);
    }
  }
  if (settings.method === 'fp16') return;
  const known = [...registry.keys()].map((key) => key.split(':').at(-1)!);
  const unknown = settings.opTypes.find((opType) => !known.includes(opType));
  if (unknown !== undefined) {
    throw new InputError(`Input \`op-types\` names \`${unknown}\`: this release quantizes ${known.join(', ')}.`);
  }
}
