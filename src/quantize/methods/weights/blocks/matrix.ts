import {
  type Constant,
  constantBehind,
  dataTypeName,
  type GraphScope,
  int64Tensor,
  intAttribute,
  MS_DOMAIN,
  makeNode,
  type NodeProto,
  operatorKey,
  producerOf,
} from '../../../../model/index.ts';
import { type BlockOptions, Blocks, sameBlocks } from '../../../encodings/blocks.ts';
import type { Place } from '../../../values/place.ts';
import { type Encoded, isFloat } from '../../../values/value.ts';
import type { Weight } from '../../method.ts';
import type { BlockWeights } from './form.ts';

/** Lets the CPU multiply in 8-bit integers. Without it the weights are made FLOAT first, which takes 8 bits 20 times as long. */
const ACCURACY_LEVEL = 4;

/** A constant matrix, and whether the product runs along its columns ([K, N]) or its rows ([N, K]). */
export interface Matrix {
  constant: Constant;
  along: BlockOptions['along'];
}

/** The matrix that a right-hand side stands for, through Identity and a Transpose. */
export function matrixBehind(scope: GraphScope, name: string): Matrix | undefined {
  const constant = constantBehind(scope, name);
  if (constant) return { constant, along: 'columns' };
  const producer = producerOf(scope, name);
  const turned = producer && transposedConstant(producer.node, producer.scope);
  return turned && { constant: turned, along: 'rows' };
}

/** The constant matrix whose rows and columns a node exchanges, if that is all that it does. */
export function transposedConstant(node: NodeProto, scope: GraphScope): Constant | undefined {
  if (operatorKey(node) !== 'Transpose') return undefined;
  const constant = constantBehind(scope, node.input[0] ?? '');
  const perm = node.attribute.find(({ name }) => name === 'perm')?.ints.map(Number) ?? [1, 0];
  return constant?.dims.length === 2 && perm[0] === 1 && perm[1] === 0 ? constant : undefined;
}

/** A matrix in the role of a weight; none where there is no constant. */
export function weightOf(matrix: Matrix | undefined): Weight[] {
  if (!matrix) return [];
  const { constant, along } = matrix;
  const { dims } = constant;
  return [
    {
      constant,
      axis: along === 'rows' ? 0 : dims.length - 1,
      direct: true,
      fits: dims.length >= 2 && dims.slice(0, -2).every((size) => size === 1),
    },
  ];
}

/** Why a weight cannot be cut into blocks, or undefined. */
export function matrixRefusal([weight]: readonly Weight[]): string | undefined {
  if (!weight) return 'its weight is not a constant';
  const { constant, fits } = weight;
  if (!fits) return `weight ${constant.name} has axes [${constant.dims}], and blocks are cut of matrices`;
  if (!isFloat(constant)) return `weight ${constant.name} is ${dataTypeName(constant.dtype)}, not FLOAT`;
  return constant.ref.length === 0 ? `weight ${constant.name} is empty` : undefined;
}

/** The blocks of a matrix, made for this node or taken from another that cut it alike. */
export function encodeMatrix(
  { constant, along }: Matrix,
  place: Place,
  settings: BlockWeights,
  { layout, rounding }: Pick<BlockOptions, 'layout' | 'rounding'>,
): Encoded {
  if (!isFloat(constant)) throw new Error(`${constant.name} is no FLOAT constant`);
  const wanted = new Blocks(constant.ref, { ...settings, along, layout, rounding });
  return place.encode(constant, wanted, (have) => sameBlocks(have, wanted));
}

/** The codes in the shape that an operator wants: those of a shared table may have the other operator's. */
export function codesOf({ q, encoding, constant }: Encoded, layout: BlockOptions['layout'], place: Place): string {
  const { geometry, blocks: job } = encoding as Blocks;
  const wanted =
    layout === 'table'
      ? [geometry.rows, geometry.unit.codes]
      : [geometry.rows, geometry.blocks, (job.block * job.bits) / 8];
  if (encoding.data.dims.length === wanted.length) return q;
  const { graph } = place;
  const shape = int64Tensor(graph.unique(`${constant.name}_${layout}_shape`), wanted);
  const shaped = graph.unique(`${q}_${layout}`);
  graph.addInitializer(shape);
  graph.emit(makeNode('Reshape', [q, shape.name], [shaped], { name: graph.unique(`${shaped}_Reshape`) }));
  return shaped;
}

/** Emits a product with a matrix in blocks. */
export function emitMatMulNBits(
  place: Place,
  settings: BlockWeights,
  product: { name: string; input: string; matrix: Matrix; bias?: string | undefined; output: string },
): void {
  const { name, input, matrix, bias, output } = product;
  const weight = encodeMatrix(matrix, place, settings, { layout: 'matrix', rounding: 'away' });
  const { rows, depth } = (weight.encoding as Blocks).geometry;
  const { bits, block } = settings;
  const inputs = [input, codesOf(weight, 'matrix', place), weight.scale, weight.zeroPoint, '', bias ?? ''];
  while (inputs.at(-1) === '') inputs.pop();
  place.keep(
    makeNode('MatMulNBits', inputs, [output], {
      name: name && place.graph.unique(`${name}_Q${bits}`),
      domain: MS_DOMAIN,
      attributes: [
        intAttribute('K', depth),
        intAttribute('N', rows),
        intAttribute('bits', bits),
        intAttribute('block_size', block),
        intAttribute('accuracy_level', ACCURACY_LEVEL),
      ],
    }),
  );
}
