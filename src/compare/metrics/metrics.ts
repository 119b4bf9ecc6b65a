import type { Sums } from './kernels.ts';

/** The errors of a model's output y against the reference's x. Always finite numbers. */
export interface Metrics {
  /** Elements compared. */
  elements: number;
  /** x·y / (|x| |y|); two zero vectors 1, one zero vector 0. */
  cosine: number;
  /** Mean of (x − y)². */
  mse: number;
  /** Mean of |x − y|. */
  mae: number;
  maxAbs: number;
  /** Flat index of the first element with that error. */
  maxAbsIndex: number;
  /** 10 log10(Σ x² / Σ (x − y)²), within ± MAX_SQNR_DB; equal outputs have the upper limit. */
  sqnrDb: number;
}

/** Beyond the 150 dB between a float32 and its neighbour, a signal-to-noise ratio says no more than "equal". */
export const MAX_SQNR_DB = 200;

/** The metrics that sums stand for; elements left out of the sums do not count. */
export function metricsOf(sums: Sums): Metrics {
  const elements = sums.count - sums.referenceNans - sums.modelNans - sums.unequalInfinities - sums.equalInfinities;
  const compared = Math.max(elements, 1);
  return {
    elements: sums.count,
    cosine: cosineOf(sums.dot, sums.referenceEnergy, sums.modelEnergy),
    mse: sums.squaredError / compared,
    mae: sums.absoluteError / compared,
    maxAbs: sums.maxError,
    maxAbsIndex: sums.maxErrorIndex,
    sqnrDb: sqnrOf(sums.referenceEnergy, sums.squaredError),
  };
}

/** Signal-to-quantization-noise ratio in dB from the energies of signal and error. */
export function sqnrOf(signal: number, noise: number): number {
  if (noise === 0) return MAX_SQNR_DB;
  if (signal === 0) return -MAX_SQNR_DB;
  return Math.max(-MAX_SQNR_DB, Math.min(MAX_SQNR_DB, 10 * Math.log10(signal / noise)));
}

/** x·y / (|x| |y|) from x·y, |x|² and |y|²; two zero vectors 1, one zero vector 0. */
export function cosineOf(dot: number, referenceEnergy: number, modelEnergy: number): number {
  if (referenceEnergy === 0 && modelEnergy === 0) return 1;
  if (referenceEnergy === 0 || modelEnergy === 0) return 0;
  return Math.max(-1, Math.min(1, dot / (Math.sqrt(referenceEnergy) * Math.sqrt(modelEnergy))));
}
