import { bytes } from '../bytes.ts';
import { InputError } from '../errors.ts';
import {
  bitsOf,
  DataType,
  type DeclaredValue,
  declaredValues,
  indexGraphs,
  intOf,
  type Model,
  type NodeProto,
  readsOf,
} from '../model/index.ts';

/** What loading and running a model takes, in bytes. */
export interface MemoryNeed {
  /** What no run can do without: see `memoryNeed`. Models that need more than there is are refused. */
  least: number;
  /** Weights that lie in memory of the process itself. Others stay in their file, mapped, and can be read again. */
  held: number;
  /** All outputs twice: as the runtime makes them and as JavaScript gets them. */
  outputs: number;
  /** What a run is expected to take at its highest, mapped weights and intermediate results included. */
  expected: number;
}

/** Node.js with onnxruntime-node loaded and no model: its own memory (measured: 23 to 29 MB), and with mapped code (105 MB). */
const PROCESS_LEAST = 25e6;
const PROCESS_EXPECTED = 160e6;

/** Operators that pack their second input for their kernels, if it is a matrix. */
const PACKING = new Set(['MatMul', 'Gemm', 'MatMulInteger', 'DynamicQuantizeMatMul', 'MatMulIntegerToFloat']);

/**
 * Predicts the memory of one model's process before anything is loaded.
 *
 * `least` is what onnxruntime-node 1.30 was seen to hold in every case on Linux x64: weights that lie within the graph
 * file, matrices of external data that MatMul and Gemm pack, floats that DequantizeLinear and Cast dequantize, all outputs
 * twice, and the process. External data that are only looked up or read in place, such as an embedding table, stay mapped
 * and take memory only as long as there is some.
 *
 * `expected` adds the mapped weights, the largest weight once more (it is packed while the original still lies there),
 * and the intermediate results that are alive at once by the shapes that stand in the graph. It does not know shapes that
 * do not stand there, what the runtime fuses or computes in place, the work space of kernels, and the memory of a GPU.
 * @param outputBytes bytes of all outputs of one inference, as declared or as seen
 * @param sizes sizes of symbolic dimensions, by name
 */
export function memoryNeed(model: Model, outputBytes: number, sizes: ReadonlyMap<string, number>): MemoryNeed {
  const nodes = indexGraphs(model).scopes.flatMap(({ graph }) => graph.node);
  const packed = new Set(nodes.flatMap(({ opType, input }) => (PACKING.has(opType) ? (input[1] ?? []) : [])));
  const dequantized = new Set(nodes.filter(dequantizes(nodes)).map(({ input }) => input[0] ?? ''));
  let held = 0;
  let all = 0;
  let largest = 0;
  for (const { name, dims, length, source } of model.tensors.values()) {
    const floats = 4 * dims.reduce((product, size) => product * size, 1);
    const bytes = dequantized.has(name) ? floats : length;
    const mapped = source.kind === 'file' && source.path !== model.path;
    if (!mapped || dequantized.has(name) || (packed.has(name) && dims.length === 2)) held += bytes;
    all += bytes;
    largest = Math.max(largest, bytes);
  }
  const outputs = 2 * outputBytes;
  return {
    least: held + outputs + PROCESS_LEAST,
    held,
    outputs,
    expected: all + largest + Math.max(outputs, outputBytes + intermediateBytes(model, sizes)) + PROCESS_EXPECTED,
  };
}

/**
 * Nodes that turn a stored weight into floats when the model is loaded. Where activations are quantized as well, or
 * weights in blocks, the runtime fuses DequantizeLinear into integer kernels instead.
 */
function dequantizes(nodes: readonly NodeProto[]): (node: NodeProto) => boolean {
  const fused = nodes.some(({ opType }) => opType === 'QuantizeLinear');
  return (node) =>
    (node.opType === 'DequantizeLinear' && !fused && intOf(node, 'block_size', 0) === 0) ||
    (node.opType === 'Cast' && intOf(node, 'to', 0) === DataType.FLOAT);
}

/** The most that intermediate results of known shape take at once if each goes as soon as nobody reads it any more. */
function intermediateBytes(model: Model, sizes: ReadonlyMap<string, number>): number {
  const graph = model.proto.graph;
  if (!graph) return 0;
  const outputs = new Set(graph.output.map(({ name }) => name));
  const bytes = new Map(declaredValues(model).map((value) => [value.name, declaredBytes([value], sizes)]));
  const reads = graph.node.map((node) => new Set(readsOf(node)));
  const lastRead = new Map(reads.flatMap((names, index) => [...names].map((name) => [name, index] as const)));
  const alive = new Set<string>();
  let taken = 0;
  let most = 0;
  for (const [index, { output }] of graph.node.entries()) {
    for (const name of output) {
      if (outputs.has(name) || !bytes.has(name)) continue;
      alive.add(name);
      taken += bytes.get(name)!;
    }
    most = Math.max(most, taken);
    for (const name of [...reads[index]!, ...output]) {
      if ((lastRead.get(name) ?? index) <= index && alive.delete(name)) taken -= bytes.get(name)!;
    }
  }
  return most;
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
export function assertFits(what: string, { least, held, outputs }: MemoryNeed, available: number): void {
  if (least <= available) return;
  throw new InputError(
    `The ${what} needs at least ${bytes(least)} of memory (weights ${bytes(held)}, outputs twice ${bytes(outputs)}), but ${bytes(available)} are available: free memory, use a larger machine, or smaller dims.`,
  );
}
