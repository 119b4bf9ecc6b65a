import type { WeightForms } from '../model/index.ts';
import type { Verdict } from '../receipt/index.ts';
import { causeOf, standing } from '../runtime/index.ts';
import type { Figures, OutputFigures } from './figures.ts';
import type { Speed } from './speed.ts';

/** The figures that a limit can be set for. */
export type FigureName = 'similarity' | 'channelSimilarity' | 'agreement' | 'mse' | 'mae' | 'metric' | 'speedup';

/** Limits as they were given: an absent one is its default, where it has one; `null` is no gate. */
export interface Limits {
  minSimilarity?: number | null;
  minChannelSimilarity?: number | null;
  minAgreement?: number;
  maxMse?: number;
  maxMae?: number;
  minMetric?: number;
  minSpeedup?: number;
}

/** A figure held against a limit. */
export interface Gate {
  name: FigureName | 'finite' | 'exact';
  /** Null where there is no such figure. */
  figure: number | null;
  limit: number;
  /** Where the limit comes from: an input, a stored baseline, the history, or the rule that outputs must be finite. */
  source: 'input' | 'warning' | 'baseline' | 'history' | 'rule';
  verdict: Verdict;
  /** What failed or is missing, and what to do next; empty for a pass. */
  sentence: string;
}

/** Figures of an earlier run, and how much worse than them the model may be. */
export interface Reference {
  source: 'baseline' | 'history';
  percent: number;
  figures: Partial<Record<FigureName, number>>;
}

export interface Evidence {
  figures: Figures;
  outputs: readonly OutputFigures[];
  /** What the user's own program found; null without one. */
  metric: number | null;
  /** In which forms the model keeps its weights. */
  weights: WeightForms;
  speed: Speed;
  maxSeconds: number;
}

/** Holds the evidence against every limit. */
export function judge(evidence: Evidence, limits: Limits, references: readonly Reference[]): Gate[] {
  const gates = [...finiteGates(evidence.outputs), ...exactGates(evidence.outputs, limits.minAgreement)];
  for (const name of FIGURES) {
    const limit = limitOf(name, limits, evidence);
    if (limit !== undefined) gates.push(gate(evidence, name, limit, 'input'));
  }
  for (const { source, percent, figures } of references) {
    for (const [name, stored] of Object.entries(figures) as [FigureName, number][]) {
      gates.push(gate(evidence, name, regressionLimit(name, stored, percent), source, stored));
    }
  }
  return gates;
}

/** Figures beyond limits that only warn, a sentence each. */
export function warningsOf(evidence: Evidence, warn: Limits | undefined, gates: readonly Gate[]): string[] {
  return FIGURES.flatMap((name) => {
    const limit = warn?.[RULES[name].option];
    const failed = gates.some((each) => each.name === name && each.verdict === 'fail');
    if (limit === undefined || limit === null || failed) return [];
    const { verdict, sentence } = gate(evidence, name, limit, 'warning');
    return verdict === 'fail' ? [sentence] : [];
  });
}

/** What the user should know where a limit that nobody gave has no figure to hold. */
export function ungatedNotes(evidence: Evidence, limits: Limits): string[] {
  return FIGURES.flatMap((name) => {
    const { option, byDefault, name: title, absent } = RULES[name];
    if (byDefault === undefined || limits[option] !== undefined || figureOf(name, evidence) !== null) return [];
    return [`There is no ${title}, so nothing is held against the default limit ${show(byDefault)}: ${absent}.`];
  });
}

/** The verdict over all gates: any failure fails, anything open leaves it open. */
export function verdictOf(gates: readonly Gate[]): Verdict {
  if (gates.some(({ verdict }) => verdict === 'fail')) return 'fail';
  return gates.some(({ verdict }) => verdict === 'inconclusive') ? 'inconclusive' : 'pass';
}

/** The limit that `percent` of leeway leaves a figure against its stored value. */
export function regressionLimit(name: FigureName, stored: number, percent: number): number {
  const leeway = (Math.abs(stored) * percent) / 100;
  return RULES[name].bound === 'most' ? stored + leeway : stored - leeway;
}

/** A limit: on which side of it the figure must lie, and what helps where it does not or where there is no figure. */
interface Rule {
  option: keyof Limits;
  /** What sentences call the figure. */
  name: string;
  /** Holds where nothing is given, if there is such a figure. */
  byDefault?: number;
  bound: 'least' | 'most';
  advice(evidence: Evidence): string;
  /** Why there may be no figure, and what to do then. */
  absent: string;
}

const NO_ROWS = 'no float output has rows; drop the limit or use min-similarity';
const NO_CHANNELS =
  'no float output of two dimensions and more has 8 values of a channel; compare on more samples (count) or drop the limit';

/** The limits of the contract, by the figure that each is for. */
const RULES: Record<FigureName, Rule> = {
  similarity: {
    option: 'minSimilarity',
    name: 'similarity',
    absent: NO_ROWS,
    byDefault: 0.98,
    bound: 'least',
    advice: ({ weights }) =>
      `leave the layers that the diagnosis names unquantized (exclude-nodes)${weights.perTensor > 0 ? ', or quantize per channel' : ''}`,
  },
  channelSimilarity: {
    option: 'minChannelSimilarity',
    name: 'channel-similarity',
    byDefault: 0.9,
    bound: 'least',
    advice: () =>
      'small channels beside large ones are lost where they share a scale: leave the layers that the diagnosis names unquantized (exclude-nodes), a Concat before an output first',
    absent: NO_CHANNELS,
  },
  agreement: {
    option: 'minAgreement',
    name: 'agreement',
    absent: NO_ROWS,
    bound: 'least',
    advice: () => 'leave the layers that the diagnosis names unquantized (exclude-nodes), or compare on real samples',
  },
  mse: {
    option: 'maxMse',
    name: 'mse',
    absent: NO_ROWS,
    bound: 'most',
    advice: () => 'leave the layers that the diagnosis names unquantized (exclude-nodes)',
  },
  mae: {
    option: 'maxMae',
    name: 'mae',
    absent: NO_ROWS,
    bound: 'most',
    advice: () => 'leave the layers that the diagnosis names unquantized (exclude-nodes)',
  },
  metric: {
    option: 'minMetric',
    name: 'metric',
    bound: 'least',
    advice: () => 'leave the layers that the diagnosis names unquantized (exclude-nodes), or try another method',
    absent: 'give the program that measures it (metric-command)',
  },
  speedup: {
    option: 'minSpeedup',
    name: 'speedup',
    absent: NO_ROWS,
    bound: 'least',
    advice: () => 'pin threads, see whether the CPU has VNNI, and which nodes were quantized (op-types)',
  },
};

/** Every figure that a limit can be set for, and that later runs are held against. */
export const FIGURES = Object.keys(RULES) as FigureName[];

function gate(evidence: Evidence, name: FigureName, limit: number, source: Gate['source'], stored?: number): Gate {
  const { outputs, speed, maxSeconds } = evidence;
  const figure = figureOf(name, evidence);
  const held = { name, figure, limit, source };
  const bound = RULES[name].bound === 'most' ? 'above' : 'below';
  const against =
    source === 'input' || source === 'warning'
      ? `the ${source === 'warning' ? 'warning ' : ''}limit ${show(limit)}`
      : `${show(limit)}, the limit that ${source} ${show(stored ?? Number.NaN)} leaves`;
  if (figure === null) {
    const sentence = `There is no ${RULES[name].name} to hold against ${against}: ${RULES[name].absent}.`;
    return { ...held, verdict: 'fail', sentence };
  }
  const verdict = name === 'speedup' ? speedVerdict(speed, limit) : passes(name, figure, limit) ? 'pass' : 'fail';
  if (verdict === 'pass') return { ...held, verdict, sentence: '' };
  if (verdict === 'fail') {
    const where = name === 'channelSimilarity' ? worstChannels(outputs) : '';
    const { name: title, advice } = RULES[name];
    return {
      ...held,
      verdict,
      sentence: `The ${title} ${show(figure)}${where} is ${bound} ${against}: ${advice(evidence)}.`,
    };
  }
  const taken =
    speed.mode === 'stored' ? counted(speed.modelMs.length, 'run') : `${counted(speed.pairs.length, 'pair')} of blocks`;
  const interval = speed.interval
    ? `the speedup ${show(figure)}, between ${show(speed.interval.low)} and ${show(speed.interval.high)}, cannot be told from ${against}`
    : `a speedup cannot be held against ${against}`;
  const sentence = `After ${taken} in ${show(maxSeconds)} s ${interval} (${causeOf(speed.host)}): raise max-seconds, or keep the machine quiet.`;
  return { ...held, verdict, sentence };
}

/** A limit that nobody gave holds only where there is a figure. */
function limitOf(name: FigureName, limits: Limits, evidence: Evidence): number | undefined {
  const { option, byDefault } = RULES[name];
  const given = limits[option];
  if (given !== undefined) return given ?? undefined;
  return figureOf(name, evidence) === null ? undefined : byDefault;
}

function figureOf(name: FigureName, { figures, metric, speed }: Evidence): number | null {
  if (name === 'speedup') return speed.speedup;
  return name === 'metric' ? metric : figures[name];
}

function passes(name: FigureName, figure: number, limit: number): boolean {
  return RULES[name].bound === 'most' ? figure <= limit : figure >= limit;
}

/** Open where noise could turn it: too few pairs, or the limit within the interval. */
function speedVerdict({ interval }: Speed, limit: number): Verdict {
  if (!interval) return 'inconclusive';
  const found = standing(interval, limit, 'lowest');
  return found === 'undecided' ? 'inconclusive' : found;
}

/** ` of output y (axis 1, lowest in 4, 5 and 6)`: where the lowest channel-similarity is. */
function worstChannels(outputs: readonly OutputFigures[]): string {
  const all = outputs.flatMap(({ name, channels }) => channels.map((axis) => ({ name, ...axis })));
  const { name, axis, worst } = all.reduce((low, each) => (each.similarity < low.similarity ? each : low));
  const indices = worst.map(({ index }) => index);
  const listed = indices.length > 1 ? `${indices.slice(0, -1).join(', ')} and ${indices.at(-1)}` : `${indices[0]}`;
  return ` of output ${name} (axis ${axis}, lowest in ${listed})`;
}

/** A NaN or a lone infinity in any output fails: there is nothing to average. */
function finiteGates(outputs: readonly OutputFigures[]): Gate[] {
  return outputs.flatMap(({ name, notComparable: { referenceNans, modelNans, infinities } }) => {
    const count = referenceNans + modelNans + infinities;
    if (count === 0) return [];
    const where = [
      modelNans > 0 ? `${modelNans} NaN in the model` : '',
      referenceNans > 0 ? `${referenceNans} NaN in the reference` : '',
      infinities > 0 ? `${infinities} infinities that the other does not have` : '',
    ].filter((part) => part !== '');
    const advice =
      referenceNans > 0 ? 'feed samples that the reference can handle' : 'quantize other layers or methods';
    const sentence = `Output ${name} has ${where.join(', ')}: ${advice}.`;
    return [{ name: 'finite', figure: count, limit: 0, source: 'rule', verdict: 'fail', sentence } satisfies Gate];
  });
}

/** Integers must be equal, unless the user says by `min-agreement` how many may differ. */
function exactGates(outputs: readonly OutputFigures[], minAgreement: number | undefined): Gate[] {
  if (minAgreement !== undefined) return [];
  return outputs.flatMap(({ name, kind, unequal, elements }) => {
    if (kind !== 'exact' || unequal === 0) return [];
    const sentence = `Output ${name} holds no floats and differs in ${unequal} of ${elements} elements: it must be equal, unless min-agreement says how much of it.`;
    return [{ name: 'exact', figure: unequal, limit: 0, source: 'rule', verdict: 'fail', sentence } satisfies Gate];
  });
}

function show(figure: number): string {
  const digits = figure !== 0 && Math.abs(figure) < 0.001 ? figure.toExponential(3) : String(Number(figure.toFixed(5)));
  return digits;
}

const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;
