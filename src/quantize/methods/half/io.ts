import { create } from '@bufbuild/protobuf';
import {
  DataType,
  definingScope,
  type GraphProto,
  type GraphScope,
  indexGraphs,
  intAttribute,
  type Model,
  makeNode,
  shallowCopy,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
} from '../../../model/index.ts';
import { ModelEditor } from '../../graph/editor.ts';

/**
 * The model with FLOAT16 for each FLOAT among its inputs and outputs: Casts behind and before them, and other names for the
 * values between. Half precision then takes the place of the Casts.
 */
export function withHalfIo(model: Model): Model {
  const index = indexGraphs(model);
  const editor = new ModelEditor(model, index);
  const { main } = index;
  const fed = new Set(main.graph.input.filter(isFloat).map(({ name }) => name));
  const made = main.graph.output.filter(isFloat).map(({ name }) => name);
  // What is both keeps one name; constants stay what they are.
  const outputs = new Set(made.filter((name) => !fed.has(name)));
  for (const names of [fed, outputs]) for (const name of main.constants.keys()) names.delete(name);
  const inner = new Map([...fed, ...outputs].map((name) => [name, editor.unique(`${name}_float`)]));
  const rewritten = (scope: GraphScope): GraphProto => {
    const graph = editor.graph(scope);
    const rename = (name: string) => (definingScope(scope, name) === main ? (inner.get(name) ?? name) : name);
    for (const node of scope.graph.node) {
      const copy = editor.copyWith(node, (body) => rewritten(index.scopeOf.get(body)!));
      copy.input = copy.input.map(rename);
      copy.output = copy.output.map(rename);
      graph.emit(copy);
    }
    return graph.result;
  };
  const graph = editor.graph(main);
  const cast = (from: string, to: string, type: number) =>
    makeNode('Cast', [from], [to], { name: editor.unique(`${to}_Cast`), attributes: [intAttribute('to', type)] });
  graph.emit(...[...fed].map((name) => cast(name, inner.get(name)!, DataType.FLOAT)));
  const result = rewritten(main);
  graph.emit(...[...outputs].map((name) => cast(inner.get(name)!, name, DataType.FLOAT16)));
  editor.finish({ gone: new Set<never>(), replaced: new Set<never>(), missing: () => new Set() });
  const typed = main.graph.output.filter(({ name }) => outputs.has(name));
  result.valueInfo = [
    ...result.valueInfo.filter(({ name }) => !inner.has(name)),
    ...typed.map((value) => Object.assign(shallowCopy(value), { name: inner.get(value.name)! })),
  ];
  const halved = (value: ValueInfoProto) => (inner.has(value.name) ? asHalf(value) : value);
  result.input = result.input.map(halved);
  result.output = result.output.map(halved);
  const proto = shallowCopy(model.proto);
  proto.graph = result;
  return { ...model, proto, omitted: editor.omitted };
}

function isFloat({ type }: ValueInfoProto): boolean {
  return type?.value.case === 'tensorType' && type.value.value.elemType === DataType.FLOAT;
}

function asHalf(value: ValueInfoProto): ValueInfoProto {
  const { value: was } = value.type!;
  const tensor = create(TypeProto_TensorSchema, { elemType: DataType.FLOAT16 });
  if (was.case === 'tensorType' && was.value.shape) tensor.shape = was.value.shape;
  const type = create(TypeProtoSchema, { value: { case: 'tensorType', value: tensor } });
  return Object.assign(shallowCopy(value), { type });
}
