import { operatorKey } from '../../../../model/index.ts';
import type { NodeForm } from '../../method.ts';
import { incompleteness } from '../../site.ts';
import type { BlockOperator, BlockWeights } from './form.ts';
import { gather } from './gather.ts';
import { gemm } from './gemm.ts';
import { matMul } from './matmul.ts';
import { transpose } from './transpose.ts';

export type { BlockWeights } from './form.ts';
export { storedBlocks } from './stored.ts';

const OPERATORS: readonly BlockOperator[] = [gather, gemm, matMul, transpose];

/** The operators whose weights can be in blocks. */
export const BLOCK_OPERATORS: readonly string[] = [gather, gemm, matMul].map(({ key }) => key);

const forms: ReadonlyMap<string, BlockOperator> = new Map(OPERATORS.map((form) => [form.key, form]));

/**
 * Weights in blocks of 4 or 8 bits that are never FLOAT again: MatMulNBits in place of MatMul and Gemm,
 * GatherBlockQuantized in place of Gather. A table that embeds and projects is stored once.
 */
export function blockForm(settings: BlockWeights): NodeForm {
  return {
    kind: 'node',
    name: 'blocks',
    needs: { opset: 7, operator: 'MatMulNBits' },
    note: noteOf(settings),
    weights: (site) => forms.get(operatorKey(site.node))?.weights(site) ?? [],
    offer(site, weights) {
      const form = forms.get(operatorKey(site.node));
      if (!form) return { refusal: `${site.node.opType} has no form in blocks` };
      const refusal = incompleteness(site) ?? form.refusal(site, weights, settings);
      return refusal === undefined ? { becomes: `becomes ${form.becomes}` } : { refusal };
    },
    rewrite(node, place) {
      forms.get(operatorKey(node))!.rewrite(node, place, settings);
      return true;
    },
  };
}

/** When it pays, as measured (docs/quantization.md), and which runtimes have the operators. */
function noteOf({ bits }: BlockWeights): string {
  const when =
    bits === 8
      ? '8 bits in blocks are for quality: `dynamic` is as small, and faster from a few rows a product on.'
      : '4 bits are fastest at one or two rows a product (a token, a frame); from about eight rows `dynamic` is faster.';
  return `${when} They need ONNX Runtime ${bits === 8 ? '1.22' : '1.19'}, 1.23 where an embedding is in blocks.`;
}
