import { DataType } from './enums.ts';
import { type Constant, indexGraphs, usesOf } from './graph-index.ts';
import type { Model } from './types.ts';

/** In which forms a model keeps its weights. */
export interface WeightForms {
  /** Bytes of weights in floats, and of those in 8 bits and fewer. */
  floatBytes: number;
  quantizedBytes: number;
  /** Quantized weights that have one scale for all of a tensor. */
  perTensor: number;
}

/** Elements below which a tensor is a bias, a scale or a constant, and no weight that anybody would quantize. */
const WEIGHT_ELEMENTS = 1024;
const FLOATS: ReadonlySet<number> = new Set([DataType.FLOAT, DataType.DOUBLE, DataType.FLOAT16, DataType.BFLOAT16]);
const QUANTIZED: ReadonlySet<number> = new Set([DataType.INT8, DataType.UINT8, DataType.INT4, DataType.UINT4]);
/** Where operators read a weight's scale, by where they read the weight. */
const SCALES: Record<string, Record<number, number>> = {
  DequantizeLinear: { 0: 1 },
  QLinearConv: { 3: 4 },
  QLinearMatMul: { 3: 4 },
  MatMulNBits: { 1: 2 },
  GatherBlockQuantized: { 0: 2 },
  DynamicQuantizeLSTM: { 1: 8, 2: 10 },
  DynamicQuantizeMatMul: { 1: 2 },
  MatMulIntegerToFloat: { 1: 3 },
  QAttention: { 1: 4 },
};

/** Counts the weights of two dimensions and more in all graphs of a model. */
export function weightForms(model: Model): WeightForms {
  const index = indexGraphs(model);
  const forms: WeightForms = { floatBytes: 0, quantizedBytes: 0, perTensor: 0 };
  for (const scope of [...index.scopes, ...index.functions]) {
    for (const constant of scope.constants.values()) {
      const { dims, dtype, ref } = constant;
      if (dims.length < 2 || elementsOf(dims) < WEIGHT_ELEMENTS) continue;
      if (FLOATS.has(dtype) && !isScale(constant)) forms.floatBytes += ref?.length ?? 0;
      if (!QUANTIZED.has(dtype)) continue;
      forms.quantizedBytes += ref?.length ?? 0;
      const scale = scaleOf(constant);
      if (scale && elementsOf(scale.dims) === 1) forms.perTensor++;
    }
  }
  return forms;
}

/** The scales of blocks have two dimensions as weights have. */
function isScale({ scope, name }: Constant): boolean {
  return usesOf(scope, name).some(({ node, index }) => Object.values(SCALES[node?.opType ?? ''] ?? {}).includes(index));
}

/** The scale of a quantized weight: read beside it, or named as this tool and ONNX Runtime's name it. */
function scaleOf({ scope, name }: Constant): Constant | undefined {
  for (const use of usesOf(scope, name)) {
    const at = SCALES[use.node?.opType ?? '']?.[use.index];
    const scale = at === undefined ? undefined : scope.constants.get(use.node!.input[at] ?? '');
    if (scale) return scale;
  }
  return scope.constants.get(`${name.replace(/_quantized$/, '')}_scale`);
}

const elementsOf = (dims: readonly number[]): number => dims.reduce((product, size) => product * size, 1);
