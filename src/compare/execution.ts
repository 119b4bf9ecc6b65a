import {
  openSession,
  type ProviderChoice,
  type RuntimeLocation,
  type Session,
  type SessionHost,
  type SessionOptions,
  startHost,
} from '../runtime/index.ts';
import type { CompareContext } from './options.ts';
import type { Side } from './stage.ts';

/** How models are run: all sessions of a comparison have the same runtime and options. */
export interface Execution extends Pick<CompareContext, 'log' | 'signal'> {
  runtime: RuntimeLocation;
  /** Default `auto`. */
  provider?: ProviderChoice | undefined;
  /** Default: the physical cores. */
  threads?: number | undefined;
  /** Longest load or single inference; default 600. */
  timeoutSeconds?: number | undefined;
}

/** Loads a model in a process of its own, or in one that was started ahead. Throws `SessionError`. */
export function openModel(execution: Execution, model: string, host?: SessionHost): Promise<Session> {
  return openSession({ ...sessionOptions(execution, model), ...(host ? { host } : {}) });
}

/** How the model is loaded. */
export function sessionOptions(
  { runtime, provider = 'auto', threads, timeoutSeconds = 600, log, signal }: Execution,
  model: string,
): SessionOptions {
  return {
    model,
    runtime,
    provider,
    ...(threads === undefined ? {} : { threads }),
    timeoutMs: timeoutSeconds * 1000,
    log,
    ...(signal ? { signal } : {}),
  };
}

/** A process for each model, started before it is known whether they can be compared: they take a while. */
export class Hosts {
  readonly #started: readonly SessionHost[];
  readonly #waiting = new Map<Side, SessionHost>();

  constructor(context: Pick<CompareContext, 'log' | 'signal'>) {
    for (const side of ['reference', 'model'] as const) this.#waiting.set(side, startHost(context));
    this.#started = [...this.#waiting.values()];
  }

  preload(runtime: RuntimeLocation): void {
    for (const host of this.#waiting.values()) host.preload(runtime);
  }

  /** The process that waits for a model; none for one that is loaded again. */
  take(side: Side): SessionHost | undefined {
    const host = this.#waiting.get(side);
    this.#waiting.delete(side);
    return host;
  }

  /** Ends all of them, whatever runs in them. */
  async close(): Promise<void> {
    await Promise.all(this.#started.map((host) => host.close()));
  }
}
