import {
  AttributeType,
  DataType,
  definingScope,
  type GraphIndex,
  type GraphScope,
  intOf,
  type NodeProto,
  operatorKey,
  type ValueInfoProto,
} from '../../../model/index.ts';

/** Says of what `TensorProto.DataType` a value is; undefined where the graph does not tell. */
export type TypeOf = (scope: GraphScope, name: string) => number | undefined;

/** Types of all values: declared ones, else what the standard says of the operators that make them. */
export function valueTypes(index: GraphIndex): TypeOf {
  const types = new Map<GraphScope, Map<string, number>>();
  const typeOf: TypeOf = (scope, name) => {
    const home = definingScope(scope, name) ?? scope;
    return types.get(home)?.get(name);
  };
  for (const scope of index.scopes) {
    const { input, valueInfo, output, node: nodes } = scope.graph;
    const own = new Map<string, number>();
    types.set(scope, own);
    for (const value of [...input, ...valueInfo, ...output]) {
      const dtype = declaredType(value);
      if (dtype) own.set(value.name, dtype);
    }
    for (const { name, dtype } of scope.constants.values()) own.set(name, dtype);
    for (const node of nodes) {
      for (const [i, name] of node.output.entries()) {
        if (name === '' || own.has(name)) continue;
        const dtype = inferred(node, i, (input) => typeOf(scope, node.input[input] ?? ''));
        if (dtype) own.set(name, dtype);
      }
    }
  }
  return typeOf;
}

function declaredType(value: ValueInfoProto | undefined): number | undefined {
  const type = value?.type?.value;
  return type?.case === 'tensorType' ? type.value.elemType : undefined;
}

const INDICES = new Set(['ArgMax', 'ArgMin', 'NonMaxSuppression', 'NonZero', 'Shape', 'Size']);
const TRUTHS = new Set([
  'And',
  'Equal',
  'Greater',
  'GreaterOrEqual',
  'IsInf',
  'IsNaN',
  'Less',
  'LessOrEqual',
  'Not',
  'Or',
  'Xor',
]);
/** The input whose type the first output has, where it is not the first. */
const LIKE = new Map([
  ['CastLike', 1],
  ['OneHot', 2],
  ['Where', 1],
]);
/** Operators with an output of indices behind that of values. */
const VALUES_AND_INDICES = new Set(['MaxPool', 'TopK', 'Unique']);

function inferred(node: NodeProto, output: number, typeOfInput: (input: number) => number | undefined) {
  const key = operatorKey(node);
  if (INDICES.has(key)) return DataType.INT64;
  if (TRUTHS.has(key)) return DataType.BOOL;
  if (key === 'Cast') return intOf(node, 'to', 0);
  if (key === 'DequantizeLinear') return DataType.FLOAT;
  if (key === 'QuantizeLinear') return typeOfInput(2) ?? DataType.UINT8;
  if (key === 'ConstantOfShape')
    return node.attribute.find(({ name }) => name === 'value')?.t?.dataType ?? DataType.FLOAT;
  if (output > 0 && VALUES_AND_INDICES.has(key)) return DataType.INT64;
  if (output > 0 && key === 'Dropout') return DataType.BOOL;
  const bodies = node.attribute.filter(({ type }) => type === AttributeType.GRAPH);
  if (bodies.length > 0) {
    // A Loop's body says first whether to go on.
    const [body] = bodies;
    return declaredType(body!.g?.output[key === 'Loop' ? output + 1 : output]);
  }
  return typeOfInput(LIKE.get(key) ?? 0);
}
