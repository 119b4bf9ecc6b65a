/**
 * A user's mistake: one sentence that names the input, what was found and what to do.
 * It is printed without a stack; every other error is a bug and keeps its stack and cause.
 */
export class InputError extends Error {
  override readonly name = 'InputError';
}

/**
 * A value from someone else's JSON or YAML as a sentence shows it: at most 60 characters, and of what holds others the
 * kind alone, since it may nest without end, or have a `toString` of its own.
 */
export function shown(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object' && value !== null) return 'an object';
  const text = JSON.stringify(value) ?? 'absent';
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
