import { InputError } from '../../../errors.ts';
import { type IntegerWeights, integerWeights, oneOf, type QuantizeOptions } from '../../options.ts';
import type { Method } from '../method.ts';
import { BLOCK_OPERATORS, type BlockWeights, blockForm, storedBlocks } from './blocks/index.ts';
import { storedInteger8 } from './stored.ts';

export { storedFloat16, storedInteger8 } from './stored.ts';

export interface WeightOnlySettings {
  weights: IntegerWeights;
  /** Undefined: one scale a channel. */
  blocks: BlockWeights | undefined;
  /** Operators of ONNX Runtime that take blocks as they are, or DequantizeLinear of the standard before each product. */
  quantFormat: 'qoperator' | 'qdq';
}

/**
 * Weights in fewer bits, activations FLOAT. One scale a channel: they are FLOAT again once the model is loaded. In
 * blocks: they stay as they are, and what has no form in blocks is stored in 8 bits.
 */
export const weightOnly: Method<'weight-only', WeightOnlySettings> = {
  name: 'weight-only',
  owns: ['blockSize', 'algorithm', 'quantFormat'],
  bits: [8, 4],
  settings(options) {
    const blocks = blockWeights(options);
    // Blocks choose the symmetry of their own; `weight-symmetric` is about them where there are any.
    const weights = integerWeights(blocks ? { ...options, weightSymmetric: undefined } : options);
    const quantFormat = oneOf('quant-format', options.quantFormat ?? 'qoperator', ['qoperator', 'qdq']);
    return { weights, blocks, quantFormat };
  },
  suffix: ({ blocks }) => `int${blocks?.bits ?? 8}`,
  describe({ weights, blocks }) {
    if (blocks) return `weight-only int${blocks.bits} blocks of ${blocks.block}${blocks.symmetric ? ' symmetric' : ''}`;
    return `weight-only ${weights.type} ${weights.perChannel ? 'per-channel' : 'per-tensor'}`;
  },
  forms({ weights, blocks, quantFormat }) {
    const stored = storedInteger8(weights);
    if (!blocks) return [stored];
    return [quantFormat === 'qdq' ? storedBlocks(blocks) : blockForm(blocks), stored];
  },
};

/** Sizes that the runtime has kernels for. */
const BLOCK_SIZES = [16, 32, 64, 128, 256];
const DEFAULT_BLOCK = 32;

function blockWeights({
  bits = 8,
  blockSize,
  algorithm,
  quantFormat,
  weightSymmetric,
  opTypes = [],
}: QuantizeOptions): BlockWeights | undefined {
  if (bits === 8 && blockSize === undefined) {
    const idle = algorithm === undefined ? quantFormat && 'quant-format' : 'algorithm';
    if (!idle) return undefined;
    throw new InputError(
      `Input \`${idle}\` is about blocks: give \`block-size\` or \`bits: 4\` too, or leave it empty.`,
    );
  }
  const block = blockSize ?? DEFAULT_BLOCK;
  if (!BLOCK_SIZES.includes(block)) {
    throw new InputError(`Input \`block-size\` is ${block}: it must be one of ${BLOCK_SIZES.join(', ')}.`);
  }
  oneOf('algorithm', algorithm ?? 'rtn', ['rtn']);
  const formless = opTypes.find((opType) => !BLOCK_OPERATORS.includes(opType));
  if (bits === 4 && formless !== undefined) {
    throw new InputError(
      `Input \`op-types\` names \`${formless}\`, which has no form in 4 bits: name ${BLOCK_OPERATORS.join(', ')}, or set \`bits\` to 8.`,
    );
  }
  return { bits, block, symmetric: weightSymmetric ?? false };
}
