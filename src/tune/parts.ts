import type { Samples } from '../runtime/index.ts';

/** Samples by what they are for: a model that was chosen on some is judged on others. */
export interface Parts {
  /** Chooses, and calibrates. */
  choose: Samples;
  /** Confirms a choice; may be asked again for another one. */
  confirm: Samples;
  /** Asked once, at the end. */
  final: Samples;
  /** Samples to calibrate on, the first ones; undefined for generated ones. */
  calibrationCount: number | undefined;
  /** What the user should not overlook. */
  warnings: string[];
}

/** Generated samples: compare generates the first ones of the same seed. */
export const GENERATED_COUNT = 32;
const GENERATED_PART = 8;
/** More samples than that tell trials little more. */
const MOST = { choose: 32, confirm: 16, final: 16 };

/** Generated samples in three parts. */
export function generatedParts(samples: Samples): Parts {
  const part = (index: number) => section(samples, index * GENERATED_PART, GENERATED_PART);
  return { choose: part(1), confirm: part(2), final: part(3), calibrationCount: undefined, warnings: [] };
}

/** Half of what was given calibrates and chooses, a quarter confirms, a quarter is for the end. */
export function givenParts(samples: Samples): Parts {
  const { length } = samples;
  if (length < 3) {
    const last = section(samples, length - 1, 1);
    const warning = `There ${length === 1 ? 'is 1 sample' : 'are 2 samples'} to choose, to confirm and to judge with, and each should have its own: the figures of the choice are better than those to come. Give 12 or more.`;
    const choose = section(samples, 0, 1);
    return { choose, confirm: last, final: last, calibrationCount: 1, warnings: [warning] };
  }
  const quarter = Math.max(1, Math.floor(length / 4));
  const half = length - 2 * quarter;
  return {
    choose: section(samples, 0, Math.min(half, MOST.choose)),
    confirm: section(samples, half, Math.min(quarter, MOST.confirm)),
    final: section(samples, half + quarter, Math.min(quarter, MOST.final)),
    calibrationCount: half,
    warnings: [],
  };
}

function section(samples: Samples, from: number, length: number): Samples {
  return {
    length,
    notes: samples.notes,
    name: (index) => samples.name(from + index),
    get: (index) => samples.get(from + index),
  };
}
