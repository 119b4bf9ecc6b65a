import { setImmediate } from 'node:timers/promises';

/** Lets a cancellation be heard before the next step that keeps this thread busy. */
export async function breathe(signal: AbortSignal | undefined): Promise<void> {
  await setImmediate();
  signal?.throwIfAborted();
}

/** Work that takes long, cut where it can be left: what drives it may stop after any step. */
export type Steps<T> = Generator<void, T>;

/** Does all steps, and hears a cancellation between two. */
export async function stepwise<T>(steps: Steps<T>, signal: AbortSignal | undefined): Promise<T> {
  for (let step = steps.next(); ; step = steps.next()) {
    if (step.done) return step.value;
    await breathe(signal);
  }
}

/** Does all steps in one go. */
export function atOnce<T>(steps: Steps<T>): T {
  for (let step = steps.next(); ; step = steps.next()) if (step.done) return step.value;
}
