import { DataType, intAttribute, makeNode, type NodeProto } from '../../model/index.ts';
import type { GraphEditor } from '../graph/editor.ts';
import type { QuantizedValue } from './value.ts';

/** The first operator set whose DequantizeLinear takes an axis. */
export const AXIS_OPSET = 13;

/** 8 bits back to FLOAT, under `name`. With an axis it takes operator set 13. */
export function dequantizeLinear(value: QuantizedValue, name: string, graph: GraphEditor): NodeProto {
  return makeNode('DequantizeLinear', [value.q, value.scale, value.zeroPoint], [name], {
    name: graph.unique(`${name}_DequantizeLinear`),
    attributes: value.axis === null ? [] : [intAttribute('axis', value.axis)],
  });
}

/** What DequantizeLinear does, node by node. Scale and zero point must broadcast over the elements. */
export function dequantizeByHand(
  { q, scale, zeroPoint }: Omit<QuantizedValue, 'axis'>,
  name: string,
  graph: GraphEditor,
): NodeProto[] {
  const toFloat = (input: string, output: string) =>
    makeNode('Cast', [input], [output], {
      name: graph.unique(`${output}_Cast`),
      attributes: [intAttribute('to', DataType.FLOAT)],
    });
  const [float, zero, centred] = ['q', 'zero', 'centred'].map((part) => graph.unique(`${name}_${part}_float`));
  return [
    toFloat(q, float!),
    toFloat(zeroPoint, zero!),
    makeNode('Sub', [float!, zero!], [centred!], { name: graph.unique(`${name}_Sub`) }),
    makeNode('Mul', [centred!, scale], [name], { name: graph.unique(`${name}_Mul`) }),
  ];
}
