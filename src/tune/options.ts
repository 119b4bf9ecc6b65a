import { InputError } from '../errors.ts';
import type { QuantizeOptions } from '../quantize/index.ts';
import { inputName } from '../receipt/index.ts';

/** What `auto` is told: what every method is told, and the gates that its choice has to pass. */
export interface AutoOptions extends Omit<QuantizeOptions, 'method'> {
  /** Default 0.98. */
  minSimilarity?: number | undefined;
  /** Default 0.9, where an output has such a figure; a given one fails where there is none. */
  minChannelSimilarity?: number | undefined;
  /** Time of an inference ÷ that of the source, at most. Default 1. */
  maxSlowdown?: number | undefined;
  /** Bytes ÷ bytes of the source, at most. Default: no limit. */
  maxSizeRatio?: number | undefined;
  /** The user's own measure, as compare runs it, and the least that it may give. */
  metricCommand?: string | undefined;
  minMetric?: number | undefined;
  /** What counts among those that pass. Default speed. */
  prefer?: Preference | undefined;
  /** Seconds that trials may take together. Default 600. */
  maxSeconds?: number | undefined;
  /** Of generated inputs and of intervals. Default 0. */
  seed?: number | undefined;
  ortPath?: string | undefined;
  registryUrl?: string | undefined;
}

export type Preference = 'speed' | 'size' | 'memory';

/** The options that no other method takes. */
export const AUTO_ONLY = [
  'minSimilarity',
  'minChannelSimilarity',
  'maxSlowdown',
  'maxSizeRatio',
  'metricCommand',
  'minMetric',
  'prefer',
  'maxSeconds',
  'seed',
] as const satisfies readonly (keyof AutoOptions)[];

export type AutoOnly = (typeof AUTO_ONLY)[number];

/** The limits that a choice has to pass, and what counts among those that do. */
export interface Gates {
  minSimilarity: number;
  minChannelSimilarity: number;
  /** Whether the user set it, so that having no such figure fails. */
  channelsGiven: boolean;
  maxSlowdown: number;
  maxSizeRatio: number;
  minMetric: number | undefined;
  prefer: Preference;
  maxSeconds: number;
}

const DEFAULT_SIMILARITY = 0.98;
const DEFAULT_CHANNEL_SIMILARITY = 0.9;
const DEFAULT_SECONDS = 600;
/** What 4 bits and their scales make of FP32 weights: nothing here is smaller. */
const SMALLEST_RATIO = 0.13;

/** @throws InputError, in one sentence, for limits that nothing can pass and options that `auto` decides itself */
export function gatesOf(options: AutoOptions): Gates {
  const gates = {
    minSimilarity: options.minSimilarity ?? DEFAULT_SIMILARITY,
    minChannelSimilarity: options.minChannelSimilarity ?? DEFAULT_CHANNEL_SIMILARITY,
    channelsGiven: options.minChannelSimilarity !== undefined,
    maxSlowdown: options.maxSlowdown ?? 1,
    maxSizeRatio: options.maxSizeRatio ?? Number.POSITIVE_INFINITY,
    minMetric: options.minMetric,
    prefer: options.prefer ?? 'speed',
    maxSeconds: options.maxSeconds ?? DEFAULT_SECONDS,
  };
  for (const name of ['minSimilarity', 'minChannelSimilarity'] as const) {
    if (gates[name] < 1) continue;
    throw new InputError(
      `Input \`${inputName(name)}\` is ${gates[name]}, which no model of fewer bits reaches: give a figure below 1, such as 0.98.`,
    );
  }
  if (gates.maxSizeRatio < SMALLEST_RATIO) {
    throw new InputError(
      `Input \`max-size-ratio\` is ${gates.maxSizeRatio}, and even 4 bits leave ${SMALLEST_RATIO} of FP32: give more.`,
    );
  }
  if (!(gates.maxSlowdown > 0)) {
    throw new InputError(
      `Input \`max-slowdown\` is ${gates.maxSlowdown}: give the time of an inference ÷ that of the FP32 model that is still good, such as 1.`,
    );
  }
  if (!(gates.maxSeconds > 0)) {
    throw new InputError(`Input \`max-seconds\` is ${gates.maxSeconds}: a search takes some, such as 600.`);
  }
  if (gates.minMetric !== undefined && !options.metricCommand) {
    throw new InputError('Input `min-metric` needs a program that measures it: give `metric-command` too.');
  }
  if (options.dryRun) {
    throw new InputError(
      'Method `auto` decides by running models, so there is no plan beforehand: leave `dry-run` out, or see what a single method would do.',
    );
  }
  const decided = (['blockSize', 'algorithm'] as const).find((name) => options[name] !== undefined);
  if (decided ?? (options.bits !== undefined && options.bits !== 8)) {
    throw new InputError(
      `Input \`${inputName(decided ?? 'bits')}\` is what method \`auto\` decides itself: leave it empty, or name a method.`,
    );
  }
  return gates;
}
