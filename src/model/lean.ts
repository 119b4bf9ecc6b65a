import { create, type DescMessage, type MessageShape } from '@bufbuild/protobuf';

/** What stands for an empty list. Frozen: set another list in its place, do not push. */
const NOTHING: readonly never[] = Object.freeze([]);

/**
 * Makes empty messages of one type that take little memory: what is not set lies on a prototype that they share, and an
 * empty list is the one frozen list. A graph has messages by the hundred thousand, whose many empty lists would take more
 * memory than all that is in them.
 */
export function leanMaker<Desc extends DescMessage>(schema: Desc): () => MessageShape<Desc> {
  const empty: object = create(schema);
  // Objects of a class have room for the fields that its first ones got, and no more.
  class Lean {}
  Object.setPrototypeOf(Lean.prototype, Object.getPrototypeOf(empty));
  for (const [name, value] of Object.entries(empty)) {
    Reflect.set(Lean.prototype, name, Array.isArray(value) ? NOTHING : Object.freeze(value));
  }
  return () => new Lean() as MessageShape<Desc>;
}
