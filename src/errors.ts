/**
 * A user's mistake: one sentence that names the input, what was found and what to do.
 * It is printed without a stack; every other error is a bug and keeps its stack and cause.
 */
export class InputError extends Error {
  override readonly name = 'InputError';
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
