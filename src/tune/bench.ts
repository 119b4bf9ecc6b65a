import { stat, statfs } from 'node:fs/promises';
import path from 'node:path';
import { bytes } from '../bytes.ts';
import type { Ranking, Score, Scorer, Subject } from '../compare/index.ts';
import { InputError } from '../errors.ts';
import { addressOf, labelOf } from '../model/index.ts';
import { type QuantizeResult, quantize, type Shared } from '../quantize/index.ts';
import { type Log, silentLog } from '../receipt/index.ts';
import { withScratch } from '../runtime/index.ts';
import { type Candidate, nameOf, type Recipe } from './candidates.ts';
import type { Check, Journal, Measured, Proposal, Proposals, Times, Trial } from './journal.ts';

/** The time that a search may take is used up. */
export class OutOfTime extends Error {}

/** Timing a model again takes this long at most. */
const LONGEST_SECONDS = 30;

/** The scorers of the three parts of the samples. */
export type Scorers = Record<'choose' | 'confirm' | 'final', Scorer>;

export interface BenchOptions {
  source: Subject;
  /** File name of the result: the candidates have the same, so their bytes are those of the result. */
  fileName: string;
  scorers: Scorers;
  journal: Journal;
  /** Existing folder; what is written there is removed after each trial. */
  folder: string;
  maxSeconds: number;
  threads: number | undefined;
  seed: number;
  log: Log;
  signal: AbortSignal | undefined;
}

/** Makes models, measures them and forgets them: what stays is a line in the journal. */
export class Bench {
  /** Every trial that counts, in order. */
  readonly trials: Trial[] = [];
  /** What quantizing measured of the source: calibration watches it once for all models. */
  readonly shared: Shared = new Map();
  readonly #options: BenchOptions;
  /** Seconds that all findings took, those of the journal too: so a search that goes on decides as one in one go. */
  #spent = 0;

  constructor(options: BenchOptions) {
    this.#options = options;
  }

  get spent(): number {
    return this.#spent;
  }

  /**
   * Makes a model and measures it on the samples that choose; times it beside the source if `timed`.
   * @throws OutOfTime where the time was used up before it was measured
   */
  async trial({ form, recipe }: Candidate, timed: boolean): Promise<Trial> {
    const { journal, scorers, source, log } = this.#options;
    const name = nameOf(recipe);
    const known = journal.get('trial', name);
    if (known && (known.refused !== null || known.slowdown || known.nodesQuantized === 0 || !timed)) {
      return this.#take({ ...known, form });
    }
    this.#assertTime(0);
    const started = performance.now();
    const seconds = () => (performance.now() - started) / 1000;
    const trial = await this.#made(recipe, async (file, { root, data, nodesQuantized }): Promise<Trial> => {
      const size = await sizeOf([file, data]);
      this.#assertTime(seconds());
      // Another recipe may have come to the same bytes.
      const same = known ?? this.trials.find((each) => each.root === root);
      const scored = same ?? scoreOf(await scorers.choose.score(file), size / source.size);
      // What quantizes nothing is no choice, however fast.
      const wanted = timed && nodesQuantized > 0 && !same?.slowdown;
      if (wanted) this.#assertTime(seconds());
      const pace = wanted ? await this.#paceOf(file) : paceIn(same);
      const made = { root, size, nodesQuantized };
      return { ...scored, ...pace, ...made, kind: 'trial', name, form, refused: null, seconds: seconds() };
    }).catch((error: unknown): Trial => {
      if (!(error instanceof InputError) || this.#options.signal?.aborted) throw error;
      return { ...NOTHING, kind: 'trial', name, form, refused: error.message, seconds: seconds() };
    });
    const whole = { ...trial, seconds: trial.seconds + (known?.seconds ?? 0) };
    await journal.add(whole);
    log.info(`Tried ${describe(whole)}`);
    return this.#take(whole);
  }

  /**
   * Times a model once more, for longer: until its time is told from `slowdown`, that of another, or its share of the time
   * is used up. Once for each: noise that outlasts that stays.
   */
  async retime({ recipe }: Candidate, trial: Trial, slowdown: number): Promise<Trial> {
    const { journal, maxSeconds, log } = this.#options;
    const known = journal.get('again', trial.name);
    const limit = Math.min(LONGEST_SECONDS, maxSeconds / 20);
    if (!known && this.#spent + limit >= maxSeconds) return trial;
    const started = performance.now();
    const pace = known ?? (await this.#made(recipe, (file) => this.#paceOf(file, limit, [1 / slowdown])));
    const seconds = known?.seconds ?? (performance.now() - started) / 1000;
    const { residentBytes } = pace;
    if (!known) await journal.add({ kind: 'again', name: trial.name, slowdown: pace.slowdown, residentBytes, seconds });
    const again: Trial = { ...trial, slowdown: pace.slowdown, residentBytes, seconds: trial.seconds + seconds };
    if (!known) log.info(`Timed again ${describe(again)}`);
    return this.#take(again);
  }

  /** How a choice does on samples that did not choose it. */
  async check(part: 'confirm' | 'final', { recipe }: Candidate): Promise<Check> {
    const { journal, scorers, source } = this.#options;
    const name = nameOf(recipe);
    const known = journal.get(part, name);
    if (known) return known;
    const started = performance.now();
    const measured = await this.#made(recipe, async (file, { data }) =>
      scoreOf(await scorers[part].score(file), (await sizeOf([file, data])) / source.size),
    );
    const check: Check = { ...measured, kind: part, name, seconds: (performance.now() - started) / 1000 };
    await journal.add(check);
    return check;
  }

  /** What may be given back of a candidate: the layers with the most error for what they save come first. */
  async proposals({ recipe }: Candidate, rankBy: Ranking): Promise<Proposal[]> {
    const { journal, scorers, source, maxSeconds } = this.#options;
    const name = `${nameOf(recipe)} ${rankBy}`;
    const known = journal.get('diagnosis', name);
    if (known) {
      this.#spent += known.seconds;
      return known.layers;
    }
    this.#assertTime(0);
    const shares = await this.#timeShares();
    const started = performance.now();
    const layers = await this.#made(recipe, async (file, { plan }) => {
      const limit = Math.max(5, Math.min(60, maxSeconds / 10));
      const { layers: found } = await scorers.choose.diagnose(file, { rankBy, maxSeconds: limit });
      const labels = new Map(
        source.model.proto.graph!.node.map((node) => [node.name || node.output[0]!, labelOf(node)]),
      );
      const quantized = new Map(plan.nodes.filter(({ form }) => form !== 'kept').map((node) => [node.name, node]));
      const plannedOf = (node: string) => quantized.get(labels.get(node) ?? node);
      return found.flatMap(({ members, operators, relativeError, channelSimilarity }): Proposal[] => {
        // What folding took away, and what stays as it is, cannot be given back.
        const left = members.filter(plannedOf);
        if (left.length === 0) return [];
        const bytesOf = (node: string) => plannedOf(node)!.before;
        const nodes = left.filter((node) => bytesOf(node) > 0);
        const others = left.filter((node) => bytesOf(node) === 0);
        const bytes = nodes.reduce((sum, node) => sum + bytesOf(node), 0);
        const time = left.reduce((sum, node) => sum + (shares[node] ?? 0), 0);
        return [{ nodes, others, operators, error: relativeError, channelSimilarity, bytes, time }];
      });
    });
    const entry: Proposals = { kind: 'diagnosis', name, layers, seconds: (performance.now() - started) / 1000 };
    await journal.add(entry);
    this.#spent += entry.seconds;
    return layers;
  }

  /** What part of an inference of the source each node takes. */
  async #timeShares(): Promise<Record<string, number>> {
    const { journal, scorers, source } = this.#options;
    const known = journal.get('times', 'source');
    if (known) {
      this.#spent += known.seconds;
      return known.shares;
    }
    const started = performance.now();
    const times = await scorers.choose.nodeTimes();
    const all = [...times.values()].reduce((sum, time) => sum + time, 0) || 1;
    const shares: Record<string, number> = {};
    for (const node of source.model.proto.graph!.node) {
      const names = [node.name, ...node.output.flatMap((output) => [output, `${output}_nchwc`])];
      const time = names.reduce((sum, name) => sum + (times.get(name) ?? 0), 0);
      if (time > 0) shares[addressOf(node)] = time / all;
    }
    const entry: Times = { kind: 'times', name: 'source', shares, seconds: (performance.now() - started) / 1000 };
    await journal.add(entry);
    this.#spent += entry.seconds;
    return shares;
  }

  /** Makes a model in a folder of its own, which is removed afterwards. */
  async #made<T>(recipe: Recipe, body: (file: string, result: QuantizeResult) => Promise<T>): Promise<T> {
    const { source, fileName, folder, threads, signal } = this.#options;
    signal?.throwIfAborted();
    return withScratch(folder, 'trial', async (own) => {
      await this.#assertRoom(own);
      const output = path.join(own, fileName);
      const result = await quantize(
        { ...recipe, model: source.model.path, output, threads, sourceDigest: false },
        { log: silentLog, signal, shared: this.shared },
      );
      return body(output, result);
    });
  }

  async #paceOf(
    file: string,
    seconds = Math.max(2, Math.min(10, this.#options.maxSeconds / 60)),
    limits: readonly number[] = [],
  ): Promise<Pick<Measured, 'slowdown' | 'residentBytes'>> {
    const { scorers, seed } = this.#options;
    const time = (limit: number) => scorers.choose.time(file, { maxSeconds: limit, limits, seed });
    let { speed, residentBytes } = await time(seconds);
    // Runs too slow for two pairs of blocks: what one says may be anything, and would decide.
    if (speed.pairs.length < 2) ({ speed, residentBytes } = await time(4 * seconds));
    const { low, high } = speed.interval ?? { low: Number.EPSILON, high: Number.MAX_SAFE_INTEGER };
    return {
      slowdown: {
        value: 1 / speed.speedup,
        low: 1 / high,
        high: 1 / low,
        p50Ms: speed.modelP50Ms,
        referenceP50Ms: speed.referenceP50Ms,
      },
      residentBytes,
    };
  }

  #take(trial: Trial): Trial {
    const index = this.trials.findIndex(({ name }) => name === trial.name);
    if (index >= 0) {
      this.#spent -= this.trials[index]!.seconds;
      this.trials.splice(index, 1);
    }
    this.trials.push(trial);
    this.#spent += trial.seconds;
    return trial;
  }

  #assertTime(more: number): void {
    if (this.#spent + more >= this.#options.maxSeconds) throw new OutOfTime();
  }

  /** A full disk would otherwise look as if a form could not be made. */
  async #assertRoom(folder: string): Promise<void> {
    const { bavail, bsize } = await statfs(folder);
    const needed = this.#options.source.size * 1.1;
    if (bavail * bsize >= needed) return;
    throw new DiskFull(
      `The temporary folder ${folder} has ${bytes(bavail * bsize)} free, and each model that \`auto\` tries takes up to ${bytes(needed)} of it for a while: make room there, or name another one (TMPDIR, on a runner RUNNER_TEMP).`,
    );
  }
}

const paceIn = (same: Trial | undefined): Pick<Measured, 'slowdown' | 'residentBytes'> => ({
  slowdown: same?.slowdown ?? null,
  residentBytes: same?.residentBytes ?? null,
});

/** Not an `InputError`, which a trial takes for a form that cannot be made; `auto` makes it one. */
export class DiskFull extends Error {}

const NOTHING = {
  similarity: -1,
  channelSimilarity: null,
  notFinite: 0,
  unequal: 0,
  metric: null,
  sizeRatio: 1,
  slowdown: null,
  residentBytes: null,
  root: '',
  size: 0,
  nodesQuantized: 0,
};

function scoreOf({ similarity, channelSimilarity, metric, outputs }: Score, sizeRatio: number): Measured {
  const finite = (figure: number) => (Number.isFinite(figure) ? figure : -1);
  return {
    similarity: finite(similarity),
    channelSimilarity: channelSimilarity === null ? null : finite(channelSimilarity),
    notFinite: outputs.reduce((sum, { notComparable: { modelNans, infinities } }) => sum + modelNans + infinities, 0),
    unequal: Math.max(
      ...outputs.map(({ kind, unequal, elements }) => (kind === 'exact' ? unequal / elements || 0 : 0)),
    ),
    metric: metric?.value ?? null,
    sizeRatio,
    slowdown: null,
    residentBytes: null,
  };
}

async function sizeOf(files: readonly string[]): Promise<number> {
  let size = 0;
  for (const file of files) if (file !== '') size += (await stat(file)).size;
  return size;
}

/** `static: 0.9912 alike (channels 0.962), 2.41 × as fast, 3.8 × smaller` */
export function describe(trial: Trial): string {
  const { form, refused, similarity, channelSimilarity, slowdown, sizeRatio } = trial;
  if (refused !== null) return `${form}: ${refused}`;
  const channels = channelSimilarity === null ? '' : ` (channels ${channelSimilarity.toFixed(3)})`;
  const speed = slowdown ? `, ${(1 / slowdown.value).toFixed(2)} × as fast` : '';
  return `${form}: ${similarity.toFixed(4)} alike${channels}${speed}, ${(1 / sizeRatio).toFixed(1)} × smaller`;
}
