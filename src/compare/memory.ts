import { InputError } from '../errors.ts';
import { bitsOf, type DeclaredValue, type Model } from '../model/index.ts';

/** What loading and running a model is expected to take, in bytes. */
export interface MemoryNeed {
  /** Weights as the runtime holds them, those it unfolds to floats included. */
  weights: number;
  /** The largest weight once more: it is repacked for the matrix kernels while the original still lies there. */
  repacking: number;
  /** All outputs twice: as the runtime makes them and as JavaScript gets them. */
  outputs: number;
  /** Node.js and ONNX Runtime themselves. */
  process: number;
  total: number;
}

/** Node.js with onnxruntime-node loaded and no model (measured: 105 MB), and some working room. */
const PROCESS_BYTES = 160e6;

/** Operators that turn a stored weight into floats when the model is loaded. */
const UNFOLDS = new Set(['DequantizeLinear', 'Cast']);

/**
 * Predicts the memory of one model's process before anything is loaded. Intermediate results are not in it: their sizes
 * are known only to a runtime.
 * @param outputBytes bytes of all outputs of one inference, as declared or as seen
 */
export function memoryNeed(model: Model, outputBytes: number): MemoryNeed {
  const unfolded = new Set(
    (model.proto.graph?.node ?? []).filter(({ opType }) => UNFOLDS.has(opType)).map(({ input }) => input[0] ?? ''),
  );
  let weights = 0;
  let repacking = 0;
  for (const { name, dims, length } of model.tensors.values()) {
    const elements = dims.reduce((product, size) => product * size, 1);
    const bytes = unfolded.has(name) ? elements * 4 : length;
    weights += bytes;
    repacking = Math.max(repacking, bytes);
  }
  const outputs = 2 * outputBytes;
  return { weights, repacking, outputs, process: PROCESS_BYTES, total: weights + repacking + outputs + PROCESS_BYTES };
}

/**
 * Bytes of all outputs by their declared shapes; symbolic sizes that `sizes` does not name count as 1.
 * @param sizes sizes of symbolic dimensions, by name
 */
export function declaredBytes(outputs: readonly DeclaredValue[], sizes: ReadonlyMap<string, number>): number {
  return outputs.reduce((sum, { dtype, dims }) => {
    const elements = dims.reduce<number>(
      (n, size) => n * (typeof size === 'number' ? size : (sizes.get(size) ?? 1)),
      1,
    );
    return sum + (elements * (bitsOf(dtype) ?? 0)) / 8;
  }, 0);
}

/** @throws InputError with the figures where a model cannot fit into what is available */
export function assertFits(what: string, need: MemoryNeed, available: number): void {
  if (need.total <= available) return;
  throw new InputError(
    `The ${what} needs about ${megabytes(need.total)} of memory (weights ${megabytes(need.weights)}, repacking ${megabytes(need.repacking)}, outputs twice ${megabytes(need.outputs)}), but ${megabytes(available)} are available: free memory, use a larger machine, or smaller dims.`,
  );
}

export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toLocaleString('en', { maximumFractionDigits: bytes < 1e7 ? 1 : 0 })} MB`;
}
