import { constantBehind, intAttribute, makeNode, operatorKey } from '../../../../model/index.ts';
import { Blocks } from '../../../encodings/blocks.ts';
import { WIDEST_BLOCK } from '../../../stream/index.ts';
import type { StoredForm } from '../../method.ts';
import { incompleteness } from '../../site.ts';
import type { BlockWeights } from './form.ts';
import { matrixRefusal, weightOf } from './matrix.ts';

/**
 * Blocks by operators of the standard: DequantizeLinear before the product, of which ONNX Runtime makes MatMulNBits when
 * it loads the model.
 */
export function storedBlocks({ bits, block, symmetric }: BlockWeights): StoredForm {
  return {
    kind: 'stored',
    name: 'blocks',
    needs: { opset: 21, operator: 'DequantizeLinear of blocks' },
    note: 'DequantizeLinear with blocks is for runtimes without MatMulNBits; where ONNX Runtime does not make that of it, weights are dequantized at every inference.',
    weights({ node, scope }) {
      const constant = operatorKey(node) === 'MatMul' ? constantBehind(scope, node.input[1] ?? '') : undefined;
      return weightOf(constant && { constant, along: 'columns' });
    },
    offer(site, weights) {
      if (operatorKey(site.node) !== 'MatMul') return { refusal: `${site.node.opType} has no form in blocks` };
      const refusal = incompleteness(site) ?? matrixRefusal(weights);
      if (refusal !== undefined) return { refusal };
      const { name, dims } = weights[0]!.constant;
      if (dims.length !== 2) return { refusal: `weight ${name} has axes [${dims}], and blocks are cut of matrices` };
      if (dims[1]! * block > WIDEST_BLOCK) {
        return { refusal: `weight ${name} has ${dims[1]} columns, too many for blocks of ${block}` };
      }
      return { becomes: `stored INT${bits} in blocks, dequantized before its products` };
    },
    encode: ({ ref }) =>
      new Blocks(ref, {
        along: 'columns',
        layout: 'source',
        rounding: 'apart',
        bits,
        block,
        symmetric,
      }),
    restore({ constant: { name }, q, scale, zeroPoint }, { graph }) {
      const inputs = [q, scale, ...(zeroPoint ? [zeroPoint] : [])];
      const attributes = [intAttribute('axis', 0), intAttribute('block_size', block)];
      graph.emit(
        makeNode('DequantizeLinear', inputs, [name], { name: graph.unique(`${name}_DequantizeLinear`), attributes }),
      );
    },
  };
}
