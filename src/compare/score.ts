import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { InputError } from '../errors.ts';
import { makeFolder } from '../make-folder.ts';
import { type Model, readModel } from '../model/index.ts';
import { type Log, silentLog } from '../receipt/index.ts';
import {
  availableMemory,
  type ProviderChoice,
  type RuntimeLocation,
  resolveRuntime,
  type Samples,
  SessionError,
  timeNodes,
  withScratch,
} from '../runtime/index.ts';
import { type Diagnosis, diagnose, type Ranking } from './diagnosis/index.ts';
import { type Execution, openModel, sessionOptions } from './execution.ts';
import { type Figures, type OutputFigures, outputFigures, overallFigures } from './figures.ts';
import { fitsTogether } from './fit.ts';
import type { RowsOptions } from './logits.ts';
import { type Metric, MetricCommand } from './metric.ts';
import type { StoredTensor } from './metrics/outputs.ts';
import { assertOutputs, assertRoom, compareQuality, hasRoomFor } from './quality.ts';
import { measureSpeed, type Speed, type SpeedOptions } from './speed.ts';
import { Stage } from './stage.ts';
import { assertSameSignature, symbolicSizes } from './subjects.ts';

/** How alike a model's outputs are to its reference's: figures without limits, times or a receipt. */
export interface Score extends Figures {
  outputs: OutputFigures[];
  /** What `metricCommand` found; null without one. */
  metric: Metric | null;
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
  /** The user's own measure, see `MetricCommand`. */
  metricCommand?: string;
  /** Where outputs are spooled; default the system's temporary folder. */
  temporaryFolder?: string;
  log?: Log;
  signal?: AbortSignal;
}

/** How fast a model is beside its reference, and what it holds. */
export interface Pace {
  speed: Speed;
  /** Bytes of the model's process after warm-up with its outputs released. */
  residentBytes: number;
}

/** Scores models against one reference. */
export interface Scorer {
  /**
   * Runs the reference on all samples, which the first score would do otherwise.
   * @throws InputError where it does not load or run
   */
  start(): Promise<void>;
  /**
   * Runs all samples through a model. One model is loaded at a time, in a process of its own, and outputs go through
   * files; memory does not grow with them.
   * @throws InputError for a model of another signature, one that does not load or run, and too little disk
   */
  score(model: string | Model): Promise<Score>;
  /**
   * Times a model and the reference in alternating blocks (see `measureSpeed`); both are loaded at once where they fit.
   * @throws InputError for a model that does not load or run
   */
  time(model: string | Model, options: Pick<SpeedOptions, 'maxSeconds' | 'limits' | 'seed'>): Promise<Pace>;
  /** Time of each node of the reference as the runtime runs it, µs (see `timeNodes`), on the first sample. */
  nodeTimes(): Promise<Map<string, number>>;
  /** Ranks the model's layers by the error that they introduce (see `diagnose`), on the first few samples. */
  diagnose(model: string | Model, options: { rankBy: Ranking; maxSeconds: number }): Promise<Diagnosis>;
}

/** Samples that layers are ranked on: an odd number, so that the median is one of them. */
const DIAGNOSED_SAMPLES = 3;
/** Inferences whose nodes are timed. */
const PROFILED_RUNS = 4;

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
  const runtime = options.runtime ?? (await resolveRuntime({ log, signal }));
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
  readonly #metricCommand: string | undefined;
  readonly #folder: string;
  /** The reference's outputs by sample; null where the disk is too small to keep them. */
  #stored: Promise<StoredTensor[][] | null> | undefined;
  #runs = 0;

  constructor(
    reference: Model,
    { samples, agreementOutputs = [], metricCommand }: ScoreOptions,
    execution: Execution,
    folder: string,
  ) {
    this.#reference = reference;
    this.#samples = samples;
    this.#rows = { named: agreementOutputs, wanted: false };
    this.#metricCommand = metricCommand;
    this.#execution = execution;
    this.#folder = folder;
  }

  async start(): Promise<void> {
    await this.#inFolder(this.#reference, async () => {
      this.#stored ??= this.#runReference();
      await this.#stored;
    });
  }

  async score(given: string | Model): Promise<Score> {
    return this.#inFolder(given, (folder, model) => this.#scoreIn(folder, model));
  }

  async time(given: string | Model, options: Pick<SpeedOptions, 'maxSeconds' | 'limits' | 'seed'>): Promise<Pace> {
    return this.#inFolder(given, async (folder, model) => {
      const models = { reference: this.#reference, model };
      const { log, signal } = this.#execution;
      const together = await fitsTogether({
        subjects: { reference: { model: this.#reference }, model: { model } },
        sizes: await symbolicSizes(this.#reference, this.#samples),
        runsReference: true,
        folder,
        log: silentLog,
        availableMemory,
      });
      const stage = new Stage((side) => openModel(this.#execution, models[side].path), together);
      try {
        const speed = await measureSpeed(stage, this.#samples, {
          ...options,
          clock: () => performance.now(),
          progress: (done) => log.progress({ label: 'Timing', done, total: done, unit: 'runs' }),
          ...(signal ? { signal } : {}),
        });
        await stage.note('model');
        return { speed, residentBytes: stage.records.model!.residentBytes };
      } finally {
        await stage.close();
      }
    });
  }

  async nodeTimes(): Promise<Map<string, number>> {
    return this.#inFolder(this.#reference, async (folder) => {
      const options = sessionOptions({ ...this.#execution, provider: 'cpu' }, this.#reference.path);
      return timeNodes(options, await this.#samples.get(0), PROFILED_RUNS, path.join(folder, 'profile'));
    });
  }

  async diagnose(
    given: string | Model,
    { rankBy, maxSeconds }: { rankBy: Ranking; maxSeconds: number },
  ): Promise<Diagnosis> {
    return this.#inFolder(given, (folder, model) => {
      const count = Math.min(DIAGNOSED_SAMPLES, this.#samples.length);
      const samples = Array.from({ length: count }, (_, index) => () => this.#samples.get(index));
      return diagnose(this.#reference, model, samples, {
        folder,
        rankBy,
        openSession: (file) => openModel({ ...this.#execution, provider: 'cpu' }, file),
        log: this.#execution.log,
        maxSeconds,
        clock: () => performance.now(),
      });
    });
  }

  /** Gives `body` a folder of its own and the model, which must take and give what the reference does. */
  async #inFolder<T>(given: string | Model, body: (folder: string, model: Model) => Promise<T>): Promise<T> {
    const model = await modelOf(given);
    assertSameSignature(this.#reference, model);
    const folder = path.join(this.#folder, `model-${this.#runs++}`);
    makeFolder(folder);
    try {
      return await body(folder, model);
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
    const command = this.#metricCommand;
    const program = command ? new MetricCommand(command, folder, this.#samples) : null;
    try {
      const quality = await compareQuality(stage, this.#samples, {
        reference: this.#reference,
        rows: this.#rows,
        folder,
        stored,
        sized: (bytes) => assertRoom(folder, bytes),
        ...(program ? { answered: (index, expected, actual) => program.add(index, expected, actual) } : {}),
        progress: (done) => log.progress({ label: 'Comparing', done, total, unit: 'runs' }),
        ...(signal ? { signal } : {}),
      });
      const outputs = outputFigures(quality.samples, quality.channels);
      const metric = program ? await program.run(this.#execution.timeoutSeconds ?? 600, signal) : null;
      return { ...overallFigures(outputs), outputs, metric, samples: total, notes: quality.notes };
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
