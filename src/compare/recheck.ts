import { randomInt } from 'node:crypto';
import type { Samples } from '../runtime/index.ts';
import { createKernels } from './metrics/kernels.ts';
import { compareOutputs, type StoredTensor } from './metrics/outputs.ts';
import { spool } from './quality.ts';
import type { Stage } from './stage.ts';

/** The same model on another CPU: rounding leaves 100 dB and more, integers that saturate there alone the half of it. */
const MIN_SQNR_DB = 40;
/** Integers that are places of the greatest may change places where two are as great. */
const MAX_UNEQUAL = 0.05;

/**
 * Whether outputs are the reference's: it answers to one sample, drawn anew each time. Whoever may write to a cache may
 * have written the outputs that a model is held against, and would have to forge nearly all to let a bad one pass.
 * @param folder takes the answer's files
 */
export async function isOfReference(
  stage: Stage,
  samples: Samples,
  stored: readonly StoredTensor[][],
  folder: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const index = randomInt(samples.length);
  const kernels = createKernels();
  for (const answer of await spool(stage, 'reference', samples, index, folder)) {
    const kept = stored[index]?.find(({ name }) => name === answer.name);
    if (kept === undefined || shapeOf(kept) !== shapeOf(answer)) return false;
    const found = await compareOutputs(answer, kept, { kernels, top1: false, ...(signal ? { signal } : {}) });
    if (found.referenceNans !== found.modelNans || found.unequalInfinities > 0) return false;
    const alike =
      found.unequal === undefined
        ? found.sqnrDb >= MIN_SQNR_DB
        : found.unequal <= MAX_UNEQUAL * Math.max(found.elements, 1);
    if (!alike) return false;
  }
  return true;
}

function shapeOf({ dtype, dims, length }: StoredTensor): string {
  return `${dtype}[${dims.join(',')}] ${dtype === 'string' ? '' : length}`;
}
