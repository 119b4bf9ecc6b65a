import { readFile } from 'node:fs/promises';
import { InputError } from '../errors.ts';
import { declaredInputs, type Model } from '../model/index.ts';
import { type Log, silentLog } from '../receipt/index.ts';
import {
  assertNumeric,
  availableMemory,
  describeFeeds,
  elementCount,
  type Feeds,
  generateFeeds,
  givenShapes,
  type OutputSummary,
  openSession,
  type ProviderChoice,
  parseDims,
  type RuntimeLocation,
  recipeOf,
  type Session,
  SessionError,
  type SettledInputs,
  type Spell,
  type ValueInfo,
  valueInfoOf,
  withScratch,
} from '../runtime/index.ts';
import { type Site, sizeFacts } from './facts.ts';
import { indexRanges } from './ids.ts';
import { type OpenSize, openSizes, type SizeSet, sizeSets } from './sizes.ts';
import { type StatePair, statePairs } from './states.ts';

export interface SettleOptions {
  /** As `SampleOptions` has them. */
  dims?: string | undefined;
  ranges?: string | undefined;
  seed?: number | undefined;
  count?: number | undefined;
  sampleRate?: number | undefined;
  executionProvider?: ProviderChoice | undefined;
  threads?: number | undefined;
  /** For loading the model, and for one inference. Default 600. */
  timeoutSeconds?: number | undefined;
}

/** What whoever measures a model may be told of its inputs. */
export interface InputContext {
  /** What was settled before, on the model that this one was made from; else it is settled where it is needed. */
  settled?: SettledInputs | undefined;
  /** How an input is written where the user is: `dims: seq=16` in a workflow (the default), `--dims seq=16` on a terminal. */
  spell?: Spell | undefined;
}

export interface SettleContext extends InputContext {
  /** Finds onnxruntime-node; asked only where the model has to be tried. */
  runtime(): Promise<RuntimeLocation>;
  /** Where states lie for a moment. */
  temporaryFolder: string;
  log?: Log;
  signal?: AbortSignal | undefined;
  /** Monotonic, ms. */
  clock?: () => number;
}

/** No further set of sizes is tried after so long. */
const MAX_MS = 120_000;
/** Processes that the model may take down while sizes are tried. */
const MAX_DEATHS = 3;
const SAMPLES = 8;
const SAMPLE_RATE = 16_000;

/**
 * Settles what a model is fed when nobody brings samples: sizes that the signature leaves open are read off metadata and
 * graph or taken from what is usual, tried on the model until it runs, and states are carried from sample to sample. What
 * was guessed is told to the log. Nothing is loaded where nothing but the batch is open.
 *
 * @throws InputError with the question for the user, where no plausible set of sizes runs, and for inputs that are no
 * numbers
 * @throws SessionError where the model does not load
 */
export async function settleInputs(
  model: Model,
  options: SettleOptions,
  context: SettleContext,
): Promise<SettledInputs> {
  if (context.settled) return context.settled;
  const inputs = declaredInputs(model).map(valueInfoOf);
  assertNumeric(inputs);
  const settled = await new Trial(model, inputs, guessInputs(model, options), options, context).settle();
  for (const note of settled.notes) context.log?.info(note);
  return settled;
}

/** What would be tried, without trying it. */
export interface InputGuess {
  open: OpenSize[];
  sets: SizeSet[];
  states: StatePair[];
  sampleRate: number;
  /** Every input's shape with a set of sizes put in. */
  shapesOf(set: SizeSet): Record<string, number[]>;
}

/** @throws InputError for `dims` that do not fit the model */
export function guessInputs(
  model: Model,
  { dims, sampleRate }: Pick<SettleOptions, 'dims' | 'sampleRate'>,
): InputGuess {
  const inputs = declaredInputs(model).map(valueInfoOf);
  const given = givenShapes(inputs, parseDims(dims));
  const metadata = new Map(model.proto.metadataProps.map(({ key, value }) => [key, value]));
  const told = Number(metadata.get('sample_rate') ?? metadata.get('sampling_rate'));
  const rate = sampleRate ?? (told >= 1000 && told <= 384_000 ? told : SAMPLE_RATE);
  const states = carriedPairs(model, inputs);
  const open = openSizes({
    inputs,
    facts: sizeFacts(model),
    metadata,
    states: states.length > 0,
    given: ({ input, axis }: Site) => given[input]?.[axis],
    sampleRate: rate,
  });
  const nameOf = (input: string, axis: number) =>
    open.find(({ sites }) => sites.some((site) => site.input === input && site.axis === axis))?.name ?? '';
  return {
    open,
    sets: sizeSets(open, inputs),
    states,
    sampleRate: rate,
    shapesOf: (set) =>
      Object.fromEntries(
        inputs.map(({ name }) => [name, given[name]!.map((size, axis) => size ?? set.get(nameOf(name, axis)) ?? 1)]),
      ),
  };
}

/** States whose shape stays: a cache that grows with each token is not carried. */
function carriedPairs(model: Model, inputs: readonly ValueInfo[]): StatePair[] {
  return statePairs(model).filter(({ input }) => {
    const dims = inputs.find(({ name }) => name === input)?.dims ?? [];
    return !dims.some((size) => typeof size === 'string' && /past|cache|total/i.test(size));
  });
}

interface Attempt {
  set: SizeSet;
  /** What the runtime said against it. */
  reason: string;
}

class Trial {
  readonly #model: Model;
  readonly #inputs: readonly ValueInfo[];
  readonly #guess: InputGuess;
  readonly #options: SettleOptions;
  readonly #context: SettleContext;
  readonly #log: Log;
  readonly #ranges: SettledInputs['ranges'];
  #session: Session | undefined;
  #deaths = 0;

  constructor(
    model: Model,
    inputs: readonly ValueInfo[],
    guess: InputGuess,
    options: SettleOptions,
    context: SettleContext,
  ) {
    this.#model = model;
    this.#inputs = inputs;
    this.#guess = guess;
    this.#options = options;
    this.#context = context;
    this.#log = context.log ?? silentLog;
    this.#ranges = indexRanges(model);
  }

  async settle(): Promise<SettledInputs> {
    const { open, sets, states } = this.#guess;
    const [likeliest] = sets;
    if (states.length === 0 && open.every(({ role }) => role === 'batch')) return this.#settledBy(likeliest!);
    if (!this.#fits()) return this.#settledBy(likeliest!, 'untried');
    try {
      const settled = this.#settledBy(await this.#firstThatRuns());
      return { ...settled, carried: await this.#carryStates(settled) };
    } finally {
      await this.#session?.close();
    }
  }

  /** Whether the weights fit into memory; whoever measures the model looks closer. */
  #fits(): boolean {
    const bytes = this.#model.stamps.reduce((sum, { size }) => sum + size, 0);
    return bytes < availableMemory();
  }

  /** The first set that runs and answers something finite; else the first that runs at all. */
  async #firstThatRuns(): Promise<SizeSet> {
    const clock = this.#context.clock ?? (() => performance.now());
    const started = clock();
    const { sets } = this.#guess;
    const failed: Attempt[] = [];
    let odd: SizeSet | undefined;
    for (const [index, set] of sets.entries()) {
      if (clock() - started > MAX_MS || this.#deaths >= MAX_DEATHS) break;
      if (index > 0) this.#log.progress({ label: 'Trying sizes', done: index, total: sets.length, unit: 'runs' });
      const tried = await this.#try(set);
      if (tried.summaries && soundAnswer(tried.summaries)) return set;
      if (tried.summaries) odd ??= set;
      else failed.push({ set, reason: tried.reason });
      this.#log.debug(`${textOf(set)} does not do: ${tried.reason}`);
    }
    if (odd) return odd;
    throw this.#question(failed);
  }

  async #try(set: SizeSet): Promise<{ summaries?: OutputSummary[]; reason: string }> {
    try {
      const { summaries } = await (await this.#open()).run(this.#feeds(this.#settledBy(set), 0), {
        outputs: 'summary',
      });
      return { summaries, reason: 'the answer is empty or not finite' };
    } catch (error) {
      if (!(error instanceof SessionError) || /^(load|unsupported-operator|aborted)$/.test(error.kind)) throw error;
      if (error.kind !== 'run') {
        this.#deaths++;
        await this.#session?.close();
        this.#session = undefined;
      }
      return { reason: error.message.replace(/^.*? does not run: /s, '') };
    }
  }

  async #open(): Promise<Session> {
    const { executionProvider, threads, timeoutSeconds } = this.#options;
    this.#session ??= await openSession({
      model: this.#model.path,
      runtime: await this.#context.runtime(),
      provider: executionProvider ?? 'auto',
      ...(threads === undefined ? {} : { threads }),
      ...(timeoutSeconds === undefined ? {} : { timeoutMs: timeoutSeconds * 1000 }),
      log: this.#log,
      ...(this.#context.signal ? { signal: this.#context.signal } : {}),
    });
    return this.#session;
  }

  #feeds(settled: SettledInputs, index: number): Feeds {
    return generateFeeds(this.#recipe(settled), index);
  }

  #recipe(settled: SettledInputs) {
    const { ranges, seed } = this.#options;
    return recipeOf(this.#inputs, {
      ...(ranges === undefined ? {} : { ranges }),
      ...(seed === undefined ? {} : { seed }),
      settled,
    });
  }

  /** Without what states are carried; a model that cannot be tried has none. */
  #settledBy(set: SizeSet, untried?: 'untried'): SettledInputs {
    const { shapesOf, sampleRate } = this.#guess;
    const states = untried ? [] : this.#guess.states.map(({ input }) => input);
    const settled = { shapes: shapesOf(set), ranges: this.#ranges, states, carried: [], sampleRate, notes: [] };
    const sizes = set.size > 0 ? [`Sizes that nobody gave: ${textOf(set)}.`] : [];
    if (untried && set.size > 0) sizes.push('There is too little memory to try them here.');
    return { ...settled, notes: [...sizes, ...describeFeeds(this.#recipe(settled), this.#context.spell)] };
  }

  async #carryStates(settled: SettledInputs): Promise<Feeds[]> {
    if (settled.states.length === 0) return [];
    return withScratch(this.#context.temporaryFolder, 'onnx-inputs', (folder) => this.#carry(settled, folder));
  }

  /** Runs the samples one after the other and keeps what the states were before each. */
  async #carry(settled: SettledInputs, folder: string): Promise<Feeds[]> {
    const { states } = this.#guess;
    const names = new Set(settled.states);
    let held = Object.fromEntries(Object.entries(this.#feeds(settled, 0)).filter(([name]) => names.has(name)));
    const carried: Feeds[] = [held];
    const session = await this.#open();
    for (let index = 0; index < (this.#options.count ?? SAMPLES) - 1; index++) {
      const { spooled } = await session.run(
        { ...this.#feeds(settled, index), ...held },
        { outputs: 'spool', fetch: states.map(({ output }) => output), spoolDirectory: folder },
      );
      const next: Feeds = {};
      for (const { input, output } of states) {
        const answer = spooled.find(({ name }) => name === output);
        const before = held[input]!;
        // What came back in another shape is no state after all, or one that grows.
        const fits = answer && answer.dims.join() === before.dims.join() && answer.dtype === before.dtype;
        next[input] = fits ? { ...before, data: await readFile(answer.path) } : before;
      }
      held = next;
      carried.push(held);
    }
    return carried;
  }

  /** Nothing ran: the user knows what we cannot. */
  #question(failed: readonly Attempt[]): InputError {
    const spell = this.#context.spell ?? ((input, value) => `${input}: ${value}`);
    const { open } = this.#guess;
    const named = open.filter(({ role }) => role !== 'batch');
    const tried = failed.slice(0, 3).map(({ set }) => textOf(set));
    const more = failed.length > tried.length ? ` and ${failed.length - tried.length} more` : '';
    const reason = shortened(failed[0]?.reason ?? 'nothing');
    const samples = spell('samples', '<file>');
    if (named.length === 0) {
      return new InputError(
        `The model ${this.#model.path} does not run on inputs made for it (the runtime says: ${reason}); bring real ones with ${samples}.`,
      );
    }
    const sizes = named.map(({ name }) => `${name}=<size>`).join(',');
    return new InputError(
      `The model ${this.#model.path} leaves ${named.map(({ name }) => name).join(', ')} open and runs with none of the sizes that were tried: ${tried.join('; ')}${more} (of the first the runtime says: ${reason}). Say what it takes: ${spell('dims', sizes)}, or bring ${samples}.`,
    );
  }
}

/** `batch=1, seq=128`. */
const textOf = (set: SizeSet): string => [...set].map(([name, size]) => `${name}=${size}`).join(', ');

function soundAnswer(summaries: readonly OutputSummary[]): boolean {
  return summaries.every(({ dims, notANumber, infinite }) => elementCount(dims) > 0 && notANumber + infinite === 0);
}

const MAX_REASON = 300;

function shortened(reason: string): string {
  const line = reason.replace(/\s+/g, ' ').trim();
  return line.length > MAX_REASON ? `${line.slice(0, MAX_REASON)}…` : line;
}
