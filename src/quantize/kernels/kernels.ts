import { wasmBase64 } from './kernels.wasm.generated.ts';

/**
 * The WASM kernels over one memory. Every argument that is a place is a byte offset into that memory; see
 * `assembly/index.ts` for what each does, how a block of elements meets its channels, and for SLACK.
 */
export interface Kernels {
  range(
    source: number,
    count: number,
    channel: number,
    left: number,
    channels: number,
    inner: number,
    min: number,
    max: number,
  ): number;
  magnitude(
    source: number,
    count: number,
    channel: number,
    left: number,
    channels: number,
    inner: number,
    max: number,
  ): void;
  quantizeInt8: QuantizeKernel;
  quantizeUint8: QuantizeKernel;
  quantizeAnyInt8: QuantizeKernel;
  quantizeAnyUint8: QuantizeKernel;
  transposeBytes(
    source: number,
    target: number,
    rows: number,
    columns: number,
    sourceStride: number,
    targetStride: number,
  ): void;
  blockParameters(
    min: number,
    max: number,
    count: number,
    levels: number,
    symmetric: boolean,
    rounding: number,
    scales: number,
    factors: number,
    zeroPoints: number,
  ): void;
  rangesOfColumns(source: number, rows: number, columns: number, min: number, max: number): number;
  codesOfColumns(
    source: number,
    target: number,
    rows: number,
    columns: number,
    factors: number,
    zeroPoints: number,
    levels: number,
    rounding: number,
  ): void;
  codesOfRow(
    source: number,
    target: number,
    count: number,
    block: number,
    factors: number,
    zeroPoints: number,
    levels: number,
    rounding: number,
  ): void;
  packPairs(source: number, target: number, count: number): void;
  xorBytes(at: number, count: number, mask: number): void;
  packRows(source: number, target: number, pairs: number, columns: number): void;
  float16FromFloat32: ConvertKernel;
  float32FromFloat16: ConvertKernel;
  float32FromBfloat16: ConvertKernel;
  float32FromFloat64: ConvertKernel;
}

export type QuantizeKernel = (
  source: number,
  target: number,
  count: number,
  channel: number,
  left: number,
  channels: number,
  inner: number,
  scales: number,
  zeroPoints: number,
) => void;

export type ConvertKernel = (source: number, target: number, count: number) => void;

/** How a block's codes are rounded, by the name that a job gives it. */
export const ROUNDINGS = { away: 0, even: 1, apart: 2 } as const;

/** Bytes that a kernel may write behind its target and read behind its sources. */
export const SLACK = 64;

/** Compiles the kernels. Once per process: the module can be posted to workers. */
export function compileKernels(): WebAssembly.Module {
  return new WebAssembly.Module(Buffer.from(wasmBase64, 'base64'));
}

/** Binds the kernels to a memory. They keep nothing in it between calls. */
export function bindKernels(module: WebAssembly.Module, memory: WebAssembly.Memory): Kernels {
  return new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Kernels;
}
