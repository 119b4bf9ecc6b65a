import { InputError } from '../../errors.ts';
import {
  assertNamesUnique,
  assertNotOverlong,
  DataType,
  type GraphIndex,
  type Model,
  opsetOf,
} from '../../model/index.ts';
import type { Decisions } from './decide.ts';
import { METADATA_KEY } from './rewrite.ts';

/** Operators that only a quantized model has. */
const QUANTIZED = new Set([
  'ConvInteger',
  'DequantizeLinear',
  'DynamicQuantizeLSTM',
  'DynamicQuantizeLinear',
  'DynamicQuantizeMatMul',
  'GatherBlockQuantized',
  'MatMulBnb4',
  'MatMulInteger',
  'MatMulIntegerToFloat',
  'MatMulNBits',
  'QAttention',
  'QEmbedLayerNormalization',
  'QGemm',
  'QLinearConv',
  'QLinearMatMul',
  'QuantizeLinear',
]);

/** @throws InputError for a model that cannot be quantized whatever the method. */
export function refuseUnfit(model: Model, index: GraphIndex): void {
  refuseQuantized(model, index);
  assertNamesUnique(model.path, index);
  assertNotOverlong(model);
  refuseNoOpset(model);
}

/** @throws InputError for a model that is quantized already, by us or by others. */
function refuseQuantized(model: Model, index: GraphIndex): void {
  const advice = 'quantize the FP32 model it was made from.';
  const ours = model.proto.metadataProps.find(({ key }) => key === METADATA_KEY);
  if (ours) throw new InputError(`The model "${model.path}" is already quantized (${ours.value}): ${advice}`);
  for (const { graph } of index.scopes) {
    const node = graph.node.find((each) => QUANTIZED.has(each.opType));
    if (!node) continue;
    throw new InputError(`The model "${model.path}" is already quantized (it has ${node.opType} nodes): ${advice}`);
  }
}

/** @throws InputError for a model that does not say which operators it has. */
function refuseNoOpset(model: Model): void {
  if (opsetOf(model.proto) !== undefined) return;
  throw new InputError(
    `The model "${model.path}" imports no standard operator set: export it again with operator set 13 or later.`,
  );
}

/** Why nothing at all is quantized, the commonest reason. @throws InputError where the weights are FP16. */
export function reasonForNothing(model: Model, { nodes }: Decisions): string {
  const weights = nodes.flatMap((decision) => decision.weights);
  const half = weights.some(({ constant }) => constant.dtype === DataType.FLOAT16);
  if (half && weights.every(({ constant }) => constant.ref?.dtype !== DataType.FLOAT)) {
    throw new InputError(
      `The model "${model.path}" has FP16 weights, which this release does not quantize: give it FP32.`,
    );
  }
  const reasons = nodes.filter((decision) => decision.weights.length > 0).map(({ reason }) => reason);
  return reasons.length > 0 ? `its weights stay because ${commonest(reasons)}` : 'no node has constant weights';
}

/** @throws InputError always: nothing at all is quantized. */
export function refuseNothing(model: Model, method: string, why: string): never {
  throw new InputError(
    `Nothing in the model "${model.path}" can be quantized with \`${method}\`: ${why}; \`dry-run\` tells more, \`allow-nothing\` copies the model.`,
  );
}

function commonest(reasons: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const reason of reasons) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0]![0];
}
