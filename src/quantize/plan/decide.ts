import { type Constant, constantBehind, dataTypeName, type GraphIndex, operatorKey } from '../../model/index.ts';
import { type Encoding, encodedBytes } from '../encodings/encoding.ts';
import type { Form, NodeForm, Site, StoredForm, Weight } from '../methods/method.ts';
import { constantsRead } from '../methods/site.ts';
import { operators } from '../operators.ts';
import { type FloatConstant, isFloat } from '../values/value.ts';
import type { Exclusion } from './selection.ts';

/** What happens to a node, and why. */
export interface Decision extends Site {
  /** What it becomes; undefined where it stays as it is. */
  form: Form | undefined;
  reason: string;
  /** The constants that are its weights. */
  weights: Weight[];
  /** What it becomes instead if rewriting shows that it can. */
  perhaps?: { form: NodeForm; reason: string };
}

/** How a constant is stored for all its readers. */
export interface Storage {
  constant: FloatConstant;
  form: StoredForm;
  encoding: Encoding;
}

export interface Decisions {
  /** In file order, parents before the subgraphs they carry. */
  nodes: Decision[];
  stored: ReadonlyMap<Constant, Storage>;
  /** Constants that a node takes in fewer bits itself. */
  quantized: ReadonlySet<Constant>;
  /** Constants that stay FLOAT for a reader, even where another one takes them in fewer bits. */
  keepsFloat: ReadonlySet<Constant>;
}

/** What is decided by, besides the graph. */
export interface Grounds {
  /** The forms that a node may take, the best first. */
  forms(site: Site): readonly Form[];
  exclusion(site: Site): Exclusion | undefined;
  /** Holders of constants that must stay as they are, with the reason. */
  skip: ReadonlyMap<Constant['holder'], string>;
  /** Why the model cannot have what a form emits, or undefined. */
  unavailable(form: Form): string | undefined;
}

/** Decides for every node, then once for every weight; reads no weight. */
export function decide(index: GraphIndex, grounds: Grounds): Decisions {
  const nodes: Decision[] = [];
  const keepsFloat = new Set<Constant>();
  const quantized = new Set<Constant>();
  const claims = new Map<Constant, Claim>();
  for (const scope of index.scopes) {
    for (const { name } of scope.graph.output) {
      const constant = constantBehind(scope, name);
      if (constant) keepsFloat.add(constant);
    }
    for (const node of scope.graph.node) {
      const site: Site = { node, scope, operator: operators.get(operatorKey(node)) };
      const exclusion = grounds.exclusion(site);
      const decision = decideNode(site, exclusion, grounds);
      nodes.push(decision);
      const { form, weights } = decision;
      if (exclusion) {
        for (const { constant } of weights) keepsFloat.add(constant);
        if (exclusion.byName) for (const constant of constantsRead(site)) keepsFloat.add(constant);
      }
      for (const weight of weights) {
        if (form?.kind === 'node' && weight.direct) quantized.add(weight.constant);
        // A direct reader knows the channels; one behind a Slice only guesses.
        const better = weight.direct || !claims.has(weight.constant);
        if (form?.kind === 'stored' && better) claims.set(weight.constant, { weight, form });
      }
    }
  }
  const stored = new Map<Constant, Storage>();
  const refusals = new Map<Constant, string>();
  for (const [constant, claim] of claims) {
    const storage = storageOf(claim, { skip: grounds.skip, keepsFloat, quantized });
    if (typeof storage === 'string') refusals.set(constant, storage);
    else stored.set(constant, storage);
  }
  for (const decision of nodes) settle(decision, stored, refusals, quantized);
  return { nodes, stored, quantized, keepsFloat };
}

/** A node that would have a weight stored. */
interface Claim {
  weight: Weight;
  form: StoredForm;
}

function decideNode(site: Site, exclusion: Exclusion | undefined, grounds: Grounds): Decision {
  const stays = { ...site, form: undefined };
  if (operatorKey(site.node) === 'Constant') return { ...stays, reason: 'holds a constant', weights: [] };
  const forms = grounds.forms(site).filter(({ anyOperator }) => anyOperator || site.operator);
  if (forms.length === 0) return { ...stays, reason: 'no operator with weights', weights: [] };
  let refusal = exclusion?.reason;
  for (const form of exclusion ? [] : forms) {
    const weights = form.weights(site);
    const offer = form.offer(site, weights);
    const against = 'refusal' in offer ? offer.refusal : unsuited(form, site, weights, grounds);
    if ('becomes' in offer && against === undefined) {
      const reason = refusal === undefined ? offer.becomes : `${offer.becomes}: ${refusal}`;
      if (offer.unless === undefined || form.kind === 'stored') return { ...site, form, reason, weights };
      return { ...stays, reason: offer.unless, weights, perhaps: { form, reason } };
    }
    // The best form's reason is the one to tell.
    refusal ??= against;
  }
  return { ...stays, reason: refusal!, weights: forms[0]!.weights(site) };
}

/** Why a node does not get a form that would suit it. */
function unsuited(
  form: Form,
  site: Site,
  weights: readonly Weight[],
  { skip, unavailable }: Grounds,
): string | undefined {
  // What is stored is looked at weight by weight.
  const read = form.kind === 'node' ? [...constantsRead(site), ...weights.map(({ constant }) => constant)] : [];
  const skipped = read.find(({ holder }) => skip.has(holder));
  return skipped ? skip.get(skipped.holder) : unavailable(form);
}

/** Bytes that an entry and its two nodes cost in the graph; below it, storing a weight saves nothing. */
const STORAGE_OVERHEAD = 400;

/** How a claimed constant is stored, or why it is not. */
function storageOf(
  { weight: { constant, axis }, form }: Claim,
  { skip, keepsFloat, quantized }: Pick<Grounds, 'skip'> & Pick<Decisions, 'keepsFloat' | 'quantized'>,
): Storage | string {
  const { name, holder } = constant;
  const skipped = skip.get(holder);
  if (skipped) return skipped;
  if (!isFloat(constant)) return `weight ${name} is ${dataTypeName(constant.dtype)}, not FLOAT`;
  if (keepsFloat.has(constant)) return `weight ${name} is also read by a node that must not change, or is an output`;
  if (quantized.has(constant)) return `weight ${name} is quantized for another node and dequantized here`;
  const encoding = form.encode(constant, axis);
  if (encodedBytes(encoding) + STORAGE_OVERHEAD < constant.ref.length) return { constant, form, encoding };
  return `weight ${name} is too small to gain from it`;
}

/** Turns a node whose weights all stay as they are into a kept one, with the first weight's reason. */
function settle(
  decision: Decision,
  stored: ReadonlyMap<Constant, Storage>,
  refusals: ReadonlyMap<Constant, string>,
  quantized: ReadonlySet<Constant>,
): void {
  const { form, weights } = decision;
  if (form?.kind !== 'stored') return;
  if (weights.some(({ constant }) => stored.has(constant) || quantized.has(constant))) return;
  decision.form = undefined;
  decision.reason = weights.map(({ constant }) => refusals.get(constant)).find(Boolean) ?? decision.reason;
}
