import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { InputError } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import { type Model, readModel } from '../model/index.ts';
import { type Log, silentLog } from '../receipt/index.ts';
import {
  type ProviderChoice,
  type RuntimeLocation,
  resolveRuntime,
  type Samples,
  SessionError,
  withScratch,
} from '../runtime/index.ts';
import { type Execution, openModel } from './execution.ts';
import { type Figures, type OutputFigures, outputFigures, overallFigures } from './figures.ts';
import type { RowsOptions } from './logits.ts';
import type { StoredTensor } from './metrics/outputs.ts';
import { assertOutputs, assertRoom, compareQuality, hasRoomFor } from './quality.ts';
import { Stage } from './stage.ts';
import { assertSameSignature } from './subjects.ts';

/** How alike a model's outputs are to its reference's: figures without limits, times or a receipt. */
export interface Score extends Figures {
  outputs: OutputFigures[];
  /** Samples that both were run on. */
  samples: number;
  /** What has no figure, and why. */
  notes: string[];
}

export interface ScoreOptions {
  /** The model that others are held against. */
  reference: string | Model;
  /** What all models are fed; see `loadSamples`. */
  samples: Samples;
  /** Found by `resolveRuntime` where absent. */
  runtime?: RuntimeLocation;
  /** Default `auto`. */
  provider?: ProviderChoice;
  /** Threads within an operator; default: the physical cores. */
  threads?: number;
  /** Longest load or single inference; default 600. */
  timeoutSeconds?: number;
  /** Outputs whose rows are scores; absent: those that look like it. */
  agreementOutputs?: readonly string[];
  /** Where outputs are spooled; default the system's temporary folder. */
  temporaryFolder?: string;
  log?: Log;
  signal?: AbortSignal;
}

/** Scores models against one reference. */
export interface Scorer {
  /**
   * Runs all samples through a model. One model is loaded at a time, in a process of its own, and outputs go through
   * files; memory does not grow with them.
   * @throws InputError for a model of another signature, one that does not load or run, and too little disk
   */
  score(model: string | Model): Promise<Score>;
}

/** How alike these two models are on these samples. Nothing is written but spooled outputs, which are gone afterwards. */
export async function score(model: string | Model, options: ScoreOptions): Promise<Score> {
  return withScorer(options, (scorer) => scorer.score(model));
}

/**
 * Gives `body` a scorer for any number of models. The reference runs once: its outputs stay on disk as long as `body`
 * does, or it runs again for each model where the disk has no room for them.
 */
export async function withScorer<T>(options: ScoreOptions, body: (scorer: Scorer) => Promise<T>): Promise<T> {
  const { log = silentLog, signal, temporaryFolder = tmpdir() } = options;
  const reference = await modelOf(options.reference);
  assertOutputs(reference);
  const runtime = options.runtime ?? (await resolveRuntime({ log, ...(signal ? { signal } : {}) }));
  const { provider, threads, timeoutSeconds } = options;
  const execution: Execution = { runtime, provider, threads, timeoutSeconds, log, ...(signal ? { signal } : {}) };
  return withScratch(temporaryFolder, 'onnx-score', (folder) =>
    body(new OneReference(reference, options, execution, folder)),
  );
}

class OneReference implements Scorer {
  readonly #reference: Model;
  readonly #samples: Samples;
  readonly #rows: RowsOptions;
  readonly #execution: Execution;
  readonly #folder: string;
  /** The reference's outputs by sample; null where the disk is too small to keep them. */
  #stored: Promise<StoredTensor[][] | null> | undefined;
  #runs = 0;

  constructor(
    reference: Model,
    { samples, agreementOutputs = [] }: Pick<ScoreOptions, 'samples' | 'agreementOutputs'>,
    execution: Execution,
    folder: string,
  ) {
    this.#reference = reference;
    this.#samples = samples;
    this.#rows = { named: agreementOutputs, wanted: false };
    this.#execution = execution;
    this.#folder = folder;
  }

  async score(given: string | Model): Promise<Score> {
    const model = await modelOf(given);
    assertSameSignature(this.#reference, model);
    const folder = path.join(this.#folder, `model-${this.#runs++}`);
    makeFolder(folder);
    try {
      return await this.#scoreIn(folder, model);
    } catch (error) {
      if (error instanceof SessionError && !this.#execution.signal?.aborted)
        throw new InputError(`${error.message}.`, { cause: error });
      throw error;
    } finally {
      await rm(folder, { recursive: true, force: true, maxRetries: 3 });
    }
  }

  async #scoreIn(folder: string, model: Model): Promise<Score> {
    this.#stored ??= this.#runReference();
    const stored = await this.#stored;
    const models = { reference: this.#reference, model };
    const stage = new Stage((side) => openModel(this.#execution, models[side].path), false);
    const { log, signal } = this.#execution;
    const total = this.#samples.length;
    try {
      const quality = await compareQuality(stage, this.#samples, {
        reference: this.#reference,
        rows: this.#rows,
        folder,
        stored,
        sized: (bytes) => assertRoom(folder, bytes),
        progress: (done) => log.progress({ label: 'Comparing', done, total, unit: 'runs' }),
        ...(signal ? { signal } : {}),
      });
      const outputs = outputFigures(quality.samples, quality.channels);
      return { ...overallFigures(outputs), outputs, samples: total, notes: quality.notes };
    } finally {
      await stage.close();
    }
  }

  /** Runs the reference on all samples, unless their outputs do not fit, which the first of them tells. */
  async #runReference(): Promise<StoredTensor[][] | null> {
    const session = await openModel(this.#execution, this.#reference.path);
    const stored: StoredTensor[][] = [];
    try {
      for (let index = 0; index < this.#samples.length; index++) {
        const spoolDirectory = path.join(this.#folder, `reference-${index}`);
        makeFolder(spoolDirectory);
        const feeds = await this.#samples.get(index);
        const { spooled } = await session.run(feeds, { outputs: 'spool', spoolDirectory });
        stored.push(spooled);
        const bytes = spooled.reduce((sum, { length }) => sum + length, 0);
        // The model's own outputs lie there as well.
        if (index > 0 || (await hasRoomFor(this.#folder, this.#samples.length * bytes))) continue;
        await rm(spoolDirectory, { recursive: true, force: true });
        return null;
      }
      return stored;
    } finally {
      await session.close();
    }
  }
}

function modelOf(given: string | Model): Promise<Model> | Model {
  return typeof given === 'string' ? readModel(given) : given;
}
