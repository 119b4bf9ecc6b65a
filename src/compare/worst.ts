import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import { makeFolder } from '../make-folder.ts';
import { DataType, declaredInputs, type Model, TensorProtoSchema } from '../model/index.ts';
import type { Feeds, Tensor } from '../runtime/index.ts';

/**
 * Saves a sample as ONNX test data (`input_0.pb`, …), which the input `samples` reads back. Replaces what an earlier run
 * left there. Inputs are numbered as the model declares them.
 */
export async function saveSample(folder: string, feeds: Feeds, model: Model): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  makeFolder(folder);
  for (const [index, { name }] of declaredInputs(model).entries()) {
    const { dtype, dims, data } = feeds[name]!;
    const tensor = { name, dataType: dataTypeOf(dtype), dims: dims.map(BigInt), rawData: data };
    await writeFile(
      path.join(folder, `input_${index}.pb`),
      toBinary(TensorProtoSchema, create(TensorProtoSchema, tensor)),
    );
  }
}

/** `TensorProto.DataType` of a type that onnxruntime-node names. */
function dataTypeOf(dtype: Tensor['dtype']): number {
  const names: Partial<Record<Tensor['dtype'], keyof typeof DataType>> = { float32: 'FLOAT', float64: 'DOUBLE' };
  return DataType[names[dtype] ?? (dtype.toUpperCase() as keyof typeof DataType)];
}
