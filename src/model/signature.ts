import { definingScope, type GraphScope } from './graph-index.ts';
import type { ValueInfoProto } from './onnx_pb.ts';
import type { Model } from './types.ts';

/** An input or output as the graph declares it. */
export interface DeclaredValue {
  name: string;
  /** `TensorProto.DataType`; 0 where it is no tensor or has no type. */
  dtype: number;
  /** A number is a fixed size, a string the name of a symbolic one, '' an unknown one. */
  dims: (number | string)[];
}

/** What a caller feeds: the main graph's inputs without those that have a default as an initializer. */
export function declaredInputs(model: Model): DeclaredValue[] {
  const initializers = new Set(model.proto.graph?.initializer.map(({ name }) => name));
  return (model.proto.graph?.input ?? []).filter(({ name }) => !initializers.has(name)).map(declared);
}

/** The main graph's outputs. */
export function declaredOutputs(model: Model): DeclaredValue[] {
  return (model.proto.graph?.output ?? []).map(declared);
}

/** Every value of the main graph that has a declared type: inputs, outputs and what shape inference left in it. */
export function declaredValues(model: Model): DeclaredValue[] {
  const { input, output, valueInfo } = model.proto.graph ?? { input: [], output: [], valueInfo: [] };
  return [...input, ...valueInfo, ...output].map(declared);
}

/** Number of axes that a value is declared to have, where the graph says so. Searches the declarations. */
export function declaredRank(scope: GraphScope, name: string): number | undefined {
  const { input, output, valueInfo } = (definingScope(scope, name) ?? scope).graph;
  const found = [input, valueInfo, output].flatMap((list) => list.find((each) => each.name === name) ?? [])[0];
  const type = found?.type?.value;
  return type?.case === 'tensorType' ? type.value.shape?.dim.length : undefined;
}

function declared({ name, type }: ValueInfoProto): DeclaredValue {
  if (type?.value.case !== 'tensorType') return { name, dtype: 0, dims: [] };
  const { elemType, shape } = type.value.value;
  const dims = (shape?.dim ?? []).map(({ value }) => {
    if (value.case === 'dimValue') return Number(value.value);
    return value.case === 'dimParam' ? value.value : '';
  });
  return { name, dtype: elemType, dims };
}
