import { bitsOf, DataType, indexGraphs, intOf, type Model, weightForms } from '../model/index.ts';

/** What a model's graph says of it. */
export interface Form {
  /** All nodes, those of subgraphs and functions included. */
  nodes: number;
  /** How its weights and operators are quantized, whatever tool did it: `INT8 dynamic`, `INT4 weights`, `FP32`. */
  method: string;
}

export function formOf(model: Model): Form {
  const index = indexGraphs(model);
  const scopes = [...index.scopes, ...index.functions];
  const nodes = scopes.flatMap(({ graph }) => graph.node);
  const operators = new Set(nodes.map(({ opType }) => opType));
  const has = (names: readonly string[]) => names.some((name) => operators.has(name));
  const types = new Set(scopes.flatMap(({ constants }) => [...constants.values()].map(({ dtype }) => dtype)));
  if (weightForms(model).quantizedBytes === 0) {
    const half = types.has(DataType.FLOAT16) && nodes.length > 0;
    return { nodes: nodes.length, method: half ? 'FP16' : 'FP32' };
  }
  const blocks = nodes.some((node) => BLOCKS.has(node.opType) && intOf(node, 'bits', 4) === 4);
  const bits = blocks || [...types].some((dtype) => bitsOf(dtype) === 4) ? 4 : 8;
  const how = has(DYNAMIC) ? 'dynamic' : has(STATIC) ? 'static' : 'weights';
  return { nodes: nodes.length, method: `INT${bits} ${how}` };
}

const BLOCKS = new Set(['MatMulNBits', 'GatherBlockQuantized']);
const DYNAMIC = [
  'DynamicQuantizeLinear',
  'DynamicQuantizeLSTM',
  'DynamicQuantizeMatMul',
  'MatMulInteger',
  'ConvInteger',
];
const STATIC = ['QuantizeLinear', 'QLinearConv', 'QLinearMatMul'];
