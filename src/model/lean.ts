import type { DescMessage, Message } from '@bufbuild/protobuf';

/** What stands for an empty list. Frozen: set another list in its place, do not push. */
const NOTHING: readonly never[] = Object.freeze([]);

/** Names of the fields of a message type that are lists. */
export function listsOf({ fields }: DescMessage): readonly string[] {
  return fields.filter(({ fieldKind }) => fieldKind === 'list').map(({ localName }) => localName);
}

/**
 * Puts one frozen list in place of those of `lists` that are empty. A graph has messages by the hundred thousand, whose
 * many empty lists would take more memory than all that is in them. Returns the message.
 */
export function lean<T extends Message>(message: T, lists: readonly string[]): T {
  const slots = message as unknown as Record<string, readonly unknown[]>;
  for (const name of lists) if (slots[name]!.length === 0) slots[name] = NOTHING;
  return message;
}
