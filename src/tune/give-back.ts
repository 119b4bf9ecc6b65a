import type { Overrides } from '../quantize/index.ts';
import { type Bench, OutOfTime } from './bench.ts';
import { type Candidate, type Recipe, withOverrides } from './candidates.ts';
import { gapOf, lacksOf } from './gates.ts';
import type { Proposal, Trial } from './journal.ts';
import type { Gates } from './options.ts';

/** A layer that was given back, and why. */
export interface GivenBack {
  nodes: string[];
  /** Nodes without weights, which are FLOAT again. */
  others: string[];
  operators: string[];
  /** `keep`: FLOAT; `weight-only`: computed in FLOAT from weights of 8 bits. */
  as: 'keep' | 'weight-only';
  /** The error that it introduced, its FP32 bytes, and its share of the time of an inference in FP32. */
  error: number;
  channelSimilarity: number | null;
  bytes: number;
  time: number;
}

/** A candidate with what was given back of it. */
export interface Found extends Candidate {
  trial: Trial;
  given: GivenBack[];
}

/** Weights of fewer bytes are not worth storing in 8 bits. */
const WORTH_STORING = 4096;
/** Giving back has to bring a candidate this much nearer to its limits, or it is no use. */
const NEARER = 0.995;
/** Part of the time or the weights that an otherwise free layer is taken to save: nothing is for nothing. */
const FREE_SHARE = 0.02;
/** Layers that are tried once more in the end. */
const RETRIED = 8;

/**
 * Gives back the layers of a candidate that do the most harm for what they save, as long as it is too unlike the source:
 * one at first, then twice as many each time. The order is a proposal; what does not bring the outputs nearer is not
 * given back. Then every one is tried without again. Ends early when the time is up.
 * @returns what passes with its margin, timed, or undefined
 */
export async function giveBack(start: Found, bench: Bench, gates: Gates): Promise<Found | undefined> {
  try {
    const found = await nearer(start, bench, gates);
    if (gapOf(found.trial, gates) > 0) return undefined;
    const least = await withoutNeedless(found, start, bench, gates);
    return { ...least, trial: await bench.trial(least, true) };
  } catch (error) {
    if (error instanceof OutOfTime) return undefined;
    throw error;
  }
}

/** Round after round: where layers were given back, others show that were hidden in the same piece of the graph. */
async function nearer(start: Found, bench: Bench, gates: Gates): Promise<Found> {
  let current = start;
  for (;;) {
    const next = await round(current, start, bench, gates);
    if (next === current || gapOf(next.trial, gates) === 0) return next;
    current = next;
  }
}

/** Gives back of what the diagnosis of `found` proposes. */
async function round(found: Found, start: Found, bench: Bench, gates: Gates): Promise<Found> {
  let current = found;
  // What the user says of a node holds, and nothing is more than FLOAT; what only its weights were kept of can be it yet.
  const kept = found.given.filter(({ as }) => as === 'keep').flatMap(({ nodes, others }) => [...nodes, ...others]);
  const said = new Set([...Object.keys(start.recipe.overrides ?? {}), ...kept]);
  const proposed = await bench.proposals(found, rankingOf(found.trial, gates));
  const proposals = ranked(
    proposed.filter(({ nodes, others }) => ![...nodes, ...others].some((node) => said.has(node))),
    start.recipe,
  );
  let step = 1;
  for (let next = 0; next < proposals.length && gapOf(current.trial, gates) > 0; ) {
    const batch = proposals.slice(next, next + step);
    next += batch.length;
    const gap = gapOf(current.trial, gates);
    let better: Found | undefined;
    for (const as of waysOf(current, batch)) {
      const again = new Set(batch.flatMap(({ nodes }) => nodes));
      const before = current.given.filter(({ nodes }) => !nodes.some((node) => again.has(node)));
      const given = [...before, ...batch.map((proposal) => givenBack(proposal, as))];
      const tried = await tryWith(start, given, bench);
      if (tried.trial.refused === null && gapOf(tried.trial, gates) < gap * NEARER) better = tried;
      if (better) break;
    }
    step = better ? step * 2 : 1;
    if (better) current = better;
  }
  return current;
}

/** Takes layers back into fewer bits that are not needed after all, the largest first. */
async function withoutNeedless(found: Found, start: Found, bench: Bench, gates: Gates): Promise<Found> {
  let current = found;
  const largest = [...found.given].sort((a, b) => b.bytes - a.bytes).slice(0, RETRIED);
  try {
    for (const layer of current.given.length > 1 ? largest : []) {
      const given = current.given.filter((each) => each !== layer);
      const tried = await tryWith(start, given, bench);
      if (tried.trial.refused === null && gapOf(tried.trial, gates) === 0) current = tried;
    }
  } catch (error) {
    if (!(error instanceof OutOfTime)) throw error;
  }
  return current;
}

async function tryWith(start: Found, given: GivenBack[], bench: Bench): Promise<Found> {
  const overrides: Record<string, Overrides[string]> = {};
  for (const { nodes, others, as } of given) {
    for (const node of others) overrides[node] = 'keep';
    for (const node of nodes) overrides[node] = as === 'keep' ? 'keep' : { method: 'weight-only', bits: 8 };
  }
  const recipe = withOverrides(start.recipe, overrides);
  const form = `${start.form}, ${given.length} given back`;
  return { form, recipe, given, trial: await bench.trial({ form, recipe }, false) };
}

/** FLOAT from stored weights costs no more time than FLOAT and saves their bytes; where it does not do, FLOAT does. */
function waysOf({ recipe, given }: Found, batch: readonly Proposal[]): GivenBack['as'][] {
  const stored = new Set(given.flatMap(({ nodes }) => nodes));
  const storable = batch.some(({ nodes, bytes }) => bytes >= WORTH_STORING && !nodes.every((node) => stored.has(node)));
  return recipe.method !== 'weight-only' && storable ? ['weight-only', 'keep'] : ['keep'];
}

function givenBack(
  { nodes, others, operators, error, channelSimilarity, bytes, time }: Proposal,
  as: GivenBack['as'],
): GivenBack {
  const way = bytes >= WORTH_STORING ? as : 'keep';
  return { nodes, others, operators, as: way, error, channelSimilarity, bytes, time };
}

/** By the harm of a layer for what it saves: its time, or its weights where nothing computes in fewer bits. */
function ranked(proposals: readonly Proposal[], { method }: Recipe): Proposal[] {
  const all = proposals.reduce((sum, { bytes }) => sum + bytes, 0) || 1;
  const saved = ({ bytes, time }: Proposal) => (method === 'weight-only' ? bytes / all : time);
  const score = (proposal: Proposal) =>
    (proposal.error ** 2 + (1 - (proposal.channelSimilarity ?? 1))) / (FREE_SHARE + saved(proposal));
  return [...proposals].sort(
    (a, b) => score(b) - score(a) || ([...a.nodes, ...a.others][0]! < [...b.nodes, ...b.others][0]! ? -1 : 1),
  );
}

/** By channels where only they are too unlike. */
function rankingOf(trial: Trial, gates: Gates): 'error' | 'channels' {
  const lacks = lacksOf(trial, gates, true).filter(({ quality }) => quality);
  return lacks.every(({ text }) => text.startsWith('channel-similarity')) ? 'channels' : 'error';
}
