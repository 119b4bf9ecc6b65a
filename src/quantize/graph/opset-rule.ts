import {
  type AttributeProto,
  attributeOf,
  type GraphIndex,
  type GraphScope,
  int64Tensor,
  labelOf,
  type Model,
  type NodeProto,
  type TensorProto,
} from '../../model/index.ts';

/** How the nodes of an operator are brought into a newer form. */
export interface Rule {
  /** The operator set from which on a node has the new form. */
  changedIn: number;
  /** Changes `node`, which is a copy. */
  raise(node: NodeProto, place: Place): void;
}

/** Something that cannot be raised; never leaves this folder. */
export class Obstacle extends Error {}

/** What is known while a model is raised. */
export interface Raiser {
  from: number;
  target: number;
  index: GraphIndex;
  unique: (wanted: string) => string;
  /** No value of the model can be of another float type than FLOAT. */
  onlyFloat: boolean;
  tensors: Model['tensors'];
  omitted: Model['omitted'];
  /** How many axes values have, as far as it was asked. */
  ranks: Map<GraphScope, Map<string, number | undefined>>;
  /** What cannot be raised, each once. */
  obstacles: Set<string>;
}

/** What raising one node needs: new constants go to its graph. */
export interface Place {
  scope: GraphScope;
  raiser: Raiser;
  initializers: TensorProto[];
  /** Nodes that a node needs around it. */
  before: NodeProto[];
  after: NodeProto[];
}

/** Says that a node cannot be raised. */
export function refuse(node: NodeProto, why: string): never {
  throw new Obstacle(`${node.opType} node "${labelOf(node)}" ${why}`);
}

/** An attribute that became the second input. */
export function listToInput(node: NodeProto, name: string, place: Place): void {
  if (!attributeOf(node, name)) return;
  node.input = [node.input[0]!, added(place, int64Tensor(nameFor(node, name, place), intsOf(node, name)))];
  removeAttributes(node, [name]);
}

export function intsOf(node: NodeProto, name: string): number[] {
  return attributeOf(node, name)?.ints.map(clampedToSafe) ?? [];
}

/** Exporters write INT64_MAX for "to the end", which a double cannot hold; no axis is that long. */
function clampedToSafe(value: bigint): number {
  const limit = BigInt(Number.MAX_SAFE_INTEGER);
  return Number(value > limit ? limit : value < -limit ? -limit : value);
}

export function nameFor(node: NodeProto, part: string, { raiser }: Place): string {
  return raiser.unique(`${node.output[0] ?? node.name}_${part}`);
}

/** Adds a constant to the graph and returns its name. */
export function added({ initializers, raiser }: Place, tensor: TensorProto): string {
  initializers.push(tensor);
  const { name, dataType: dtype, rawData: bytes } = tensor;
  const dims = tensor.dims.map(Number);
  raiser.tensors.set(tensor, { name, dtype, dims, length: bytes.length, source: { kind: 'bytes', bytes } });
  return tensor.name;
}

export function removeAttributes(node: NodeProto, names: readonly string[]): void {
  node.attribute = node.attribute.filter(({ name }: AttributeProto) => !names.includes(name));
}
