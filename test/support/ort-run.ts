import { createRequire } from 'node:module';
import type { InferenceSession, Tensor } from 'onnxruntime-node';

// The package is CommonJS with a native library.
const ort: typeof import('onnxruntime-node') = createRequire(import.meta.url)('onnxruntime-node');

export type OrtArray = Float32Array | BigInt64Array | Int32Array | Uint8Array | Int8Array;
export type OrtFeed = { dims: readonly number[]; data: OrtArray };

/** Runs a small model in this process, one thread, and returns its outputs by name. */
export async function ortRun(
  modelPath: string,
  feeds: Record<string, OrtFeed>,
  options: InferenceSession.SessionOptions = {},
): Promise<Record<string, OrtFeed>> {
  const session = await ort.InferenceSession.create(modelPath, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
    ...options,
  });
  try {
    const tensors = Object.entries(feeds).map(([name, feed]) => [name, tensorOf(feed)] as const);
    const outputs = await session.run(Object.fromEntries(tensors));
    return Object.fromEntries(
      Object.entries(outputs).map(([name, { dims, data }]) => [name, { dims, data: data as OrtArray }]),
    );
  } finally {
    await session.release();
  }
}

function tensorOf({ dims, data }: OrtFeed): Tensor {
  if (data instanceof Float32Array) return new ort.Tensor('float32', data, dims);
  if (data instanceof BigInt64Array) return new ort.Tensor('int64', data, dims);
  if (data instanceof Int32Array) return new ort.Tensor('int32', data, dims);
  if (data instanceof Int8Array) return new ort.Tensor('int8', data, dims);
  return new ort.Tensor('uint8', data, dims);
}
