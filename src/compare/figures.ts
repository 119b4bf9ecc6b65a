import type { AxisFigures } from './metrics/channels.ts';
import { sqnrOf } from './metrics/metrics.ts';
import type { OutputComparison } from './metrics/outputs.ts';

/** One output over all samples. */
export interface OutputFigures {
  name: string;
  /** How it was compared: floats by their error, integers, booleans and text exactly. */
  kind: 'float' | 'exact';
  /** Mean over samples of the cosine. */
  similarity: number;
  /** Minimum over axes of the mean over their indices of the cosine; null where no axis qualifies. */
  channelSimilarity: number | null;
  /** Each axis that it was taken along. */
  channels: AxisFigures[];
  /** Lowest cosine, and the sample that has it. */
  worst: { sample: number; cosine: number };
  /** The cosine of each sample, in their order: of the first ones only where samples and outputs are many. */
  cosines: number[];
  /** Means over all elements of all samples. */
  mse: number;
  mae: number;
  maxAbs: number;
  /** 10 log10 of the energy of the reference over that of the error, both over all samples. */
  sqnrDb: number;
  /** Share of rows with the same top-1 where it looks like logits, of equal elements where it is exact, else null. */
  agreement: number | null;
  /** Elements that are NaN in either model, or infinite in one of them only. */
  notComparable: { referenceNans: number; modelNans: number; infinities: number };
  /** Elements that differ, for an exact output. */
  unequal: number;
  elements: number;
}

/** All outputs together: in each figure the worst of them. */
export interface Figures {
  /** Minimum over outputs of the mean over samples of the cosine. */
  similarity: number;
  /** Minimum over the outputs that have one; null where none has. */
  channelSimilarity: number | null;
  agreement: number | null;
  /** Maximum over float outputs (over all where there is no float), and the minimum for SQNR. */
  mse: number;
  mae: number;
  maxAbs: number;
  sqnrDb: number;
  /** The sample and output with the lowest cosine. */
  worst: { sample: number; output: string; cosine: number };
}

/** Cosines that a receipt holds, of all outputs together. */
const MAX_COSINES = 2048;

/**
 * Sums up comparisons: `samples[s][o]` is output o of sample s, outputs in the same order in every sample; `channels` are
 * the axes of each output, by its name.
 */
export function outputFigures(
  samples: readonly (readonly OutputComparison[])[],
  channels: ReadonlyMap<string, AxisFigures[]>,
): OutputFigures[] {
  const outputs = samples[0] ?? [];
  return outputs.map(({ name }, output) =>
    figuresOf(
      samples.map((sample) => sample[output]!),
      channels.get(name) ?? [],
      Math.ceil(MAX_COSINES / outputs.length),
    ),
  );
}

/** @throws TypeError for no outputs: a model without any cannot be compared. */
export function overallFigures(outputs: readonly OutputFigures[]): Figures {
  if (outputs.length === 0) throw new TypeError('no outputs to sum up');
  const floats = outputs.filter(({ kind }) => kind === 'float');
  const measured = floats.length > 0 ? floats : outputs;
  const lowest = (pick: (output: OutputFigures) => number | null) => {
    const values = outputs.flatMap((output) => pick(output) ?? []);
    return values.length > 0 ? Math.min(...values) : null;
  };
  const worst = outputs.reduce((lowest, each) => (each.worst.cosine < lowest.worst.cosine ? each : lowest));
  return {
    similarity: Math.min(...outputs.map(({ similarity }) => similarity)),
    channelSimilarity: lowest(({ channelSimilarity }) => channelSimilarity),
    agreement: lowest(({ agreement }) => agreement),
    mse: Math.max(...measured.map(({ mse }) => mse)),
    mae: Math.max(...measured.map(({ mae }) => mae)),
    maxAbs: Math.max(...measured.map(({ maxAbs }) => maxAbs)),
    sqnrDb: Math.min(...measured.map(({ sqnrDb }) => sqnrDb)),
    worst: { output: worst.name, ...worst.worst },
  };
}

function figuresOf(samples: readonly OutputComparison[], channels: AxisFigures[], kept: number): OutputFigures {
  const total = (pick: (sample: OutputComparison) => number) => samples.reduce((sum, each) => sum + pick(each), 0);
  const elements = total((sample) => sample.elements);
  const mean = (pick: (sample: OutputComparison) => number) =>
    elements === 0 ? 0 : total((sample) => pick(sample) * sample.elements) / elements;
  const exact = samples[0]!.unequal !== undefined;
  const unequal = total((sample) => sample.unequal ?? 0);
  const rows = total((sample) => sample.top1?.rows ?? 0);
  const sameRows = total((sample) => sample.top1?.equal ?? 0);
  const lowest = samples.reduce((low, each, sample) => (each.cosine < samples[low]!.cosine ? sample : low), 0);
  return {
    name: samples[0]!.name,
    kind: exact ? 'exact' : 'float',
    similarity: total((sample) => sample.cosine) / samples.length,
    channelSimilarity: channels.length > 0 ? Math.min(...channels.map(({ similarity }) => similarity)) : null,
    channels,
    worst: { sample: lowest, cosine: samples[lowest]!.cosine },
    cosines: samples.slice(0, kept).map(({ cosine }) => Number(cosine.toPrecision(7))),
    mse: mean((sample) => sample.mse),
    mae: mean((sample) => sample.mae),
    maxAbs: Math.max(...samples.map(({ maxAbs }) => maxAbs)),
    sqnrDb: sqnrOf(
      total((sample) => sample.signal),
      total((sample) => sample.noise),
    ),
    agreement: exact ? share(elements - unequal, elements) : rows > 0 ? sameRows / rows : null,
    notComparable: {
      referenceNans: total((sample) => sample.referenceNans),
      modelNans: total((sample) => sample.modelNans),
      infinities: total((sample) => sample.unequalInfinities),
    },
    unequal,
    elements,
  };
}

const share = (part: number, whole: number): number => (whole === 0 ? 1 : part / whole);
