import { operatorKey, usesOf } from '../../../../model/index.ts';
import type { BlockOperator } from './form.ts';
import { transposedConstant } from './matrix.ts';

const PRODUCTS = new Set(['Gemm', 'MatMul']);

/** A Transpose of a matrix that products take in blocks: only who reads FLOAT still needs it. */
export const transpose: BlockOperator = {
  key: 'Transpose',
  becomes: 'part of the product behind it',
  // It is the product's weight, not its own.
  weights: () => [],
  refusal({ node, scope }) {
    const uses = transposedConstant(node, scope) ? usesOf(scope, node.output[0]!) : [];
    const product = uses.some(({ node: reader, index }) => reader && PRODUCTS.has(operatorKey(reader)) && index === 1);
    return product ? undefined : 'it exchanges no rows and columns of a weight';
  },
  rewrite: (node, place) => place.defer(node.output[0]!, () => place.keep(node)),
};
