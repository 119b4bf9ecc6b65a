import type { InputContext } from '../inputs/index.ts';
import type { Log } from '../receipt/index.ts';
import type { Cache } from './cache.ts';
import type { ActionName, Inputs, OutputName } from './inputs.ts';

/** The value of an output. */
export type OutputValue = string | number | boolean | readonly string[] | undefined;

/** An output as text, which is all that a runner knows. */
export function outputText(value: OutputValue): string {
  if (value === undefined) return '';
  return Array.isArray(value) ? value.join('\n') : String(value);
}

/** Where an action runs: a runner, which speaks in environment variables and workflow commands, or a terminal. */
export interface Host {
  log: Log;
  /** The cache service, where there is one. */
  cache?: Cache;
  /** Existing folder for what is gone when the action ends. */
  temporaryFolder: string;
  /** Whether stacks and details are wanted (`RUNNER_DEBUG`). */
  debug: boolean;
  /** Begins a part of the work: a group in a job's log, a heading on a terminal. The next one, or `endSteps`, ends it. */
  step(title: string): void;
  endSteps(): void;
  /** Raw text of an input; undefined where nothing was given. */
  input(name: string): string | undefined;
  /** How an input with a value is written here: `dims: seq=16` in a workflow, `--dims seq=16` on a terminal. */
  spell(input: string, value: string): string;
  output(name: string, value: OutputValue): void;
  /** Keeps a value out of logs. */
  secret(value: string): void;
  /** Adds Markdown to the job summary, where there is one; `text` is the same for a terminal. */
  summary(markdown: string, text?: string): Promise<void>;
  /** Says why the action failed; the caller sets the exit code. */
  fail(message: string): void;
}

/** What an action may use besides its inputs. */
export interface ActionContext extends InputContext {
  log: Log;
  signal: AbortSignal;
  /** Begins a part of the work: a group in a job's log, a heading on a terminal. */
  step(title: string): void;
  /** Keeps folders between runs, where the host has such a service. */
  cache?: Cache;
  /** Existing folder for what is gone when the action ends. */
  temporaryFolder: string;
}

/** What came of an action. Its receipt is written by then. */
export interface ActionResult<A extends ActionName> {
  outputs: Partial<Record<OutputName<A>, OutputValue>>;
  /** Markdown for the job summary. */
  summary: string;
  /** What a terminal shows before the outputs; absent where the outputs say it all. */
  text?: string;
  /** Why the action fails: a sentence per gate, with figure, limit and what to do next. Empty: it passed. */
  failures: readonly string[];
}

/** An action: typed inputs → one call into a room → its result. */
export type Action<A extends ActionName> = (inputs: Inputs<A>, context: ActionContext) => Promise<ActionResult<A>>;
