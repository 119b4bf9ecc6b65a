import path from 'node:path';
import { bytes } from '../bytes.ts';
import { type CompareFigures, type CompareOptions, compare } from '../compare/index.ts';
import { InputError } from '../errors.ts';
import type { InputContext } from '../inputs/index.ts';
import { readModel } from '../model/index.ts';
import {
  beyond,
  COMPARE_LIMITS,
  type GatesFile,
  type Levels,
  type ModelGates,
  NO_GATES,
  optionsOf,
  parseModelGates,
  VALIDATE_LIMITS,
} from '../model-gates.ts';
import type { Log } from '../receipt/index.ts';
import { type CacheService, withScratch } from '../runtime/index.ts';
import { type ValidateResult, validate } from '../validate/index.ts';
import { changedModels, type Trees, weightFiles } from './changed.ts';
import { formOf } from './form.ts';
import { type ChangedFile, Repository, type Tree, type TreeFile } from './tree.ts';

export interface ModelCheckOptions {
  /** Git ref of the base branch. */
  baseRef: string;
  /** Folder of the checkout, whose HEAD is the pull request; default the working directory. */
  repository?: string | undefined;
  /** `model-gates.yaml` as the base branch has it. */
  gates?: string | undefined;
  /** File or folder of samples as the base branch has it; absent: generated. */
  samples?: string | undefined;
  dims?: string | undefined;
  ranges?: string | undefined;
  count?: number | undefined;
  seed?: number | undefined;
  threads?: number | undefined;
  /** Of each measurement; default 30. */
  maxSeconds?: number | undefined;
  timeoutSeconds?: number | undefined;
  ortPath?: string | undefined;
  registryUrl?: string | undefined;
  /** What may read the repository's Git LFS objects. */
  token?: string | undefined;
  /** Folder for the receipts of each model; none are kept unless given. */
  report?: string | undefined;
}

export interface ModelCheckContext extends InputContext {
  log: Log;
  signal?: AbortSignal;
  cache?: CacheService;
  temporaryFolder: string;
}

/** How bad something is; `inconclusive` is what noise leaves open. */
export type Level = 'pass' | 'warn' | 'inconclusive' | 'fail';

/** A line of a model's table: what it was, what it is, and what came of its limits. */
export interface Row {
  name: string;
  base?: string | undefined;
  head?: string | undefined;
  /** `+12 %` */
  delta?: string | undefined;
  limit?: string | undefined;
  /** Absent where nothing limits it. */
  level?: Level | undefined;
}

export interface CheckedModel {
  /** Path in the repository, as the pull request has it (for a deleted one, as the base has it). */
  path: string;
  /** Where it was, if it was moved. */
  from?: string;
  kind: 'changed' | 'new' | 'deleted' | 'unchanged';
  level: Level;
  rows: Row[];
  failures: string[];
  /** What noise leaves open. */
  open: string[];
  warnings: string[];
}

export interface ModelCheck {
  level: Level;
  models: CheckedModel[];
  /** Commits that were compared. */
  base: string;
  head: string;
  /** Where the limits stand; absent where the base branch has no such file. */
  gates?: string;
  /** Whether what is open may be let through: noise may, times that a cache seems to have answered may not. */
  excusable: boolean;
}

export const DEFAULT_GATES = 'model-gates.yaml';
/** Models that are measured; a pull request with more is none that anybody reviews. */
const MAX_MODELS = 20;

/**
 * What a pull request does to a repository's models: base against head, each changed model by itself and against what it
 * was, under the limits of the base branch. Files come from git (and Git LFS) and not from the working tree; nothing of
 * the pull request is executed but the models.
 * @throws InputError where the commits, the gates or the samples cannot be read. What is wrong with a model is its result's.
 */
export async function checkModels(options: ModelCheckOptions, context: ModelCheckContext): Promise<ModelCheck> {
  const { token } = options;
  const repository = new Repository(path.resolve(options.repository ?? '.'), { token, signal: context.signal });
  const [tip, head] = [await repository.commit(options.baseRef), await repository.commit('HEAD')];
  const base = await repository.mergeBase(tip, head);
  const trees = { base: await repository.tree(base), head: await repository.tree(head) };
  const trusted = await repository.tree(tip);
  const { gates, gatesFile } = await readGates(repository, trusted, options.gates);
  const fetchLfs = trusted.get(LFS_CONFIG)?.blob === trees.head.get(LFS_CONFIG)?.blob;
  return withScratch(context.temporaryFolder, 'onnx-model-check', async (scratch) => {
    const changes = await repository.changes(base, head);
    const changed = await changedModels(repository, changes, trees, path.join(scratch, 'graphs'), fetchLfs);
    const samples =
      changed.length > 0 ? await fetchSamples(repository, trusted, options.samples, scratch, fetchLfs) : undefined;
    const models: CheckedModel[] = [];
    let excusable = true;
    for (const [index, change] of changed.entries()) {
      context.signal?.throwIfAborted();
      const folder = path.join(scratch, String(index));
      const work = new ModelWork(change, { repository, trees, folder, fetchLfs, gates, samples, options, context });
      models.push(index < MAX_MODELS ? await work.check() : work.leave());
      excusable &&= work.excusable;
    }
    const level = worst(models.map((model) => model.level));
    return { level, models, base, head, excusable, ...(gatesFile ? { gates: gatesFile } : {}) };
  });
}

const LFS_CONFIG = '.lfsconfig';

async function readGates(
  repository: Repository,
  trusted: Tree,
  given: string | undefined,
): Promise<{ gates: GatesFile; gatesFile?: string }> {
  const name = given ?? DEFAULT_GATES;
  const file = trusted.get(path.posix.normalize(name));
  if (file) return { gates: parseModelGates(await repository.content(file), name), gatesFile: name };
  if (given === undefined || given === DEFAULT_GATES) return { gates: NO_GATES };
  throw new InputError(`'gates' names '${name}', which the base branch does not have: commit it there first.`);
}

/** Samples of the base branch: those of a pull request could be chosen to please. */
async function fetchSamples(
  repository: Repository,
  trusted: Tree,
  samples: string | undefined,
  scratch: string,
  fetchLfs: boolean,
): Promise<string | undefined> {
  if (samples === undefined) return undefined;
  const name = path.posix.normalize(samples.replaceAll('\\', '/')).replace(/\/$/, '');
  const files = [...trusted.values()].filter((file) => file.path === name || file.path.startsWith(`${name}/`));
  if (files.length === 0) {
    throw new InputError(`'samples' names '${samples}', which the base branch does not have: commit it there first.`);
  }
  const folder = path.join(scratch, 'samples');
  for (const file of files) await repository.extract(file, folder, { fetchLfs });
  return path.join(folder, ...name.split('/'));
}

interface Job {
  repository: Repository;
  trees: Trees;
  /** Where this model's two sides are put. */
  folder: string;
  fetchLfs: boolean;
  gates: GatesFile;
  samples: string | undefined;
  options: ModelCheckOptions;
  context: ModelCheckContext;
}

/** One side of a model, as files. */
interface Side {
  file: string;
  /** Git's names of all its bytes. */
  blobs: string[];
  size: number;
  nodes: number;
  method: string;
}

/** One model, from its files to its rows. */
class ModelWork {
  excusable = true;
  readonly #change: ChangedFile;
  readonly #job: Job;
  readonly #gates: ModelGates;
  readonly #model: CheckedModel;

  constructor(change: ChangedFile, job: Job) {
    const { base, head } = change;
    const name = (head ?? base)!.path;
    this.#change = change;
    this.#job = job;
    this.#gates = job.gates(name);
    this.#model = {
      path: name,
      ...(base && head && base.path !== head.path ? { from: base.path } : {}),
      kind: head ? (base ? 'changed' : 'new') : 'deleted',
      level: 'pass',
      rows: [],
      failures: [],
      open: [],
      warnings: [],
    };
  }

  async check(): Promise<CheckedModel> {
    this.#job.context.log.info(`${this.#model.path}: ${this.#model.kind}`);
    if (this.#model.kind !== 'deleted') {
      await this.#attempt(() => this.#checkHead());
    }
    return this.#finish();
  }

  /** A model for which there is no time. */
  leave(): CheckedModel {
    this.#model.failures.push(`Not measured: more than ${MAX_MODELS} models change; make several pull requests.`);
    return this.#finish();
  }

  #finish(): CheckedModel {
    const { rows, failures, open, warnings } = this.#model;
    // A path of this machine's scratch folder tells nobody anything.
    const cleaned = (sentences: string[]) => [
      ...new Set(sentences.map((text) => text.replaceAll(`${this.#job.folder}${path.sep}`, ''))),
    ];
    const level = worst([
      ...rows.map((row) => row.level ?? 'pass'),
      ...(failures.length > 0 ? (['fail'] as const) : []),
      ...(open.length > 0 ? (['inconclusive'] as const) : []),
      ...(warnings.length > 0 ? (['warn'] as const) : []),
    ]);
    return { ...this.#model, level, failures: cleaned(failures), open: cleaned(open), warnings: cleaned(warnings) };
  }

  async #attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof InputError) || this.#job.context.signal?.aborted) throw error;
      this.#model.failures.push(error.message);
    }
  }

  async #checkHead(): Promise<void> {
    const head = await this.#side('head', this.#change.head!);
    const base = this.#change.base && (await this.#baseSide(this.#change.base));
    if (base && base.blobs.join() === head.blobs.join()) {
      this.#model.kind = 'unchanged';
      return;
    }
    this.#sizeRows(base, head);
    const own = await this.#validate(head);
    if (base && own.receipt.results.timings) await this.#attempt(() => this.#compare(base, head, own));
    else this.#ownRows(own, undefined);
  }

  /** What was there before may be broken: that is said, and the new one is looked at all the same. */
  async #baseSide(file: TreeFile): Promise<Side | undefined> {
    try {
      return await this.#side('base', file);
    } catch (error) {
      if (!(error instanceof InputError) || this.#job.context.signal?.aborted) throw error;
      this.#model.failures.push(`There is nothing to compare with: ${error.message}`);
      return undefined;
    }
  }

  async #side(name: 'base' | 'head', file: TreeFile): Promise<Side> {
    const { repository, trees, folder, fetchLfs } = this.#job;
    const root = path.join(folder, name);
    const target = await repository.extract(file, root, { fetchLfs });
    const blobs = [file.blob];
    for (const weights of weightFiles(target, file)) {
      const found = trees[name].get(weights);
      // What is missing, reading the model says.
      if (!found) continue;
      await repository.extract(found, root, { fetchLfs });
      blobs.push(found.blob);
    }
    const model = await readModel(target);
    const size = model.stamps.reduce((sum, stamp) => sum + stamp.size, 0);
    return { file: target, blobs, size, ...formOf(model) };
  }

  #sizeRows(base: Side | undefined, head: Side): void {
    const { limits, changes } = this.#gates;
    const growth = base && percent(base.size, head.size);
    this.#add({
      name: 'Size',
      base: base && bytes(base.size),
      head: bytes(head.size),
      delta: delta(base?.size, head.size),
      ...this.#held(
        { limit: 'max-size-mb', levels: limits['max-size-mb'], figure: head.size / 1e6, unit: 'MB' },
        {
          limit: 'max-size-increase-percent',
          levels: changes['max-size-increase-percent'],
          figure: growth,
          unit: '%',
          what: 'growth in size',
        },
      ),
    });
    const nodes = delta(base?.nodes, head.nodes);
    this.#add({ name: 'Nodes', base: base && String(base.nodes), head: String(head.nodes), delta: nodes });
    this.#add({ name: 'Method', base: base?.method, head: head.method });
  }

  async #validate(head: Side): Promise<ValidateResult> {
    const { dims, ranges, ...shared } = this.#shared();
    const result = await validate(
      {
        ...shared,
        dims,
        ranges,
        model: head.file,
        ...optionsOf(this.#gates.limits, VALIDATE_LIMITS, 'error'),
        warn: optionsOf(this.#gates.limits, VALIDATE_LIMITS, 'warn'),
      },
      this.#job.context,
    );
    this.excusable &&= result.excusable;
    this.#model[result.verdict === 'inconclusive' ? 'open' : 'failures'].push(...result.failures);
    this.#model.warnings.push(...result.receipt.results.warnings);
    return result;
  }

  async #compare(base: Side, head: Side, own: ValidateResult): Promise<void> {
    const { dims, ranges, ...shared } = this.#shared();
    const options = {
      ...shared,
      ...(dims ? { dims: dims.split(/[,\n]/) } : {}),
      ...(ranges ? { ranges: ranges.split(/[,\n]/) } : {}),
      reference: base.file,
      model: head.file,
      ...optionsOf(this.#gates.changes, COMPARE_LIMITS, 'error'),
    };
    try {
      const { figures } = await compare(options as CompareOptions, this.#job.context);
      this.#likenessRows(figures);
      this.#ownRows(own, figures);
    } catch (error) {
      this.#ownRows(own, undefined);
      throw error;
    }
  }

  #likenessRows(figures: CompareFigures): void {
    const { changes } = this.#gates;
    for (const { verdict, name, figure, sentence } of figures.gates) {
      // What a low figure of a quantized model calls for is no advice for one that was changed: the rows say it.
      const said = figure !== null && LIKENESS.some(([, key]) => key === name);
      if (verdict !== 'pass' && !said) this.#model[verdict === 'fail' ? 'failures' : 'open'].push(sentence);
    }
    for (const [what, key, limit] of LIKENESS) {
      const figure = figures[key];
      const gate = figures.gates.find((each) => each.name === key);
      if (figure === null || (gate === undefined && changes[limit] === undefined && key !== 'similarity')) continue;
      const levels = { ...changes[limit], ...(gate ? { error: gate.limit } : {}) };
      const name = `${what[0]?.toUpperCase()}${what.slice(1)}`;
      this.#add({ name, head: plain(figure), ...this.#held({ limit, levels, figure, unit: '', what }) });
    }
  }

  /** Times and memory: of both where they were compared, side by side, else of the model alone. */
  #ownRows(own: ValidateResult, figures: CompareFigures | undefined): void {
    const { limits, changes } = this.#gates;
    const { results } = own.receipt;
    const { reference, model, speed } = figures ?? {};
    this.#add({
      name: 'P50',
      base: ms(reference?.p50Ms),
      head: ms(model?.p50Ms ?? own.latencyP50Ms),
      delta: delta(reference?.p50Ms, model?.p50Ms),
      ...this.#timed(own, 'P50 latency', limits['max-latency-p50-ms']),
    });
    if (speed) {
      const gate = figures?.gates.find(({ name }) => name === 'speedup');
      const warned = changes['min-speedup']?.warn;
      const slow = warned !== undefined && speed.speedup < warned;
      const failed = gate && gate.verdict !== 'pass' ? gate.verdict : undefined;
      if (slow && failed === undefined) {
        this.#model.warnings.push(
          `The speed-up ${plain(speed.speedup)} is below the warning limit ${warned} (min-speedup).`,
        );
      }
      const { low, high } = speed.interval ?? {};
      this.#add({
        name: 'Speed-up',
        head: `${speed.speedup.toFixed(2)} ×${low === undefined ? '' : ` (${low.toFixed(2)} to ${high?.toFixed(2)})`}`,
        ...(gate || warned !== undefined
          ? {
              limit: limitText({ ...(gate ? { error: gate.limit } : {}), warn: warned }, 'min-speedup', '×'),
              level: failed ?? (slow ? 'warn' : 'pass'),
            }
          : {}),
      });
    }
    if (limits['max-latency-p95-ms']) {
      this.#add({
        name: 'P95',
        head: ms(own.latencyP95Ms),
        ...this.#timed(own, 'P95 latency', limits['max-latency-p95-ms']),
      });
    }
    const growth = reference && model && percent(reference.residentBytes, model.residentBytes);
    const grown = 'max-memory-increase-percent';
    this.#add({
      name: 'Memory',
      base: reference && bytes(reference.residentBytes),
      head: mb(model ? model.residentBytes / 1e6 : own.memoryMb),
      delta: delta(reference?.residentBytes, model?.residentBytes),
      ...this.#held(
        { limit: 'max-memory-mb', levels: limits['max-memory-mb'], figure: own.memoryMb, unit: 'MB' },
        { limit: grown, levels: changes[grown], figure: growth, unit: '%', what: 'growth in resident memory' },
      ),
    });
    for (const [name, limit, figure, unit] of [
      ['Peak memory', 'max-peak-memory-mb', results.peakMemoryMb, 'MB'],
      ['Load', 'max-load-ms', results.loadMs, 'ms'],
    ] as const) {
      if (!limits[limit]) continue;
      const head = unit === 'MB' ? mb(figure) : ms(figure);
      this.#add({ name, head, ...this.#held({ limit, levels: limits[limit], figure, unit }) });
    }
  }

  /** A latency has an interval: validate has judged it. */
  #timed(own: ValidateResult, figure: string, levels: Levels | undefined): Pick<Row, 'limit' | 'level'> {
    if (!levels) return {};
    const found = own.receipt.results.checks.flatMap(({ figures }) => figures).find(({ name }) => name === figure);
    const warned = levels.warn !== undefined && found !== undefined && found.value > levels.warn;
    const verdict = found?.verdict ?? 'pass';
    return { limit: limitText(levels, 'max', 'ms'), level: verdict === 'pass' && warned ? 'warn' : verdict };
  }

  /** What comes of a figure's limits; those of `changes` are told too, the others validate has told. */
  #held(...limits: readonly Held[]): Pick<Row, 'limit' | 'level'> {
    const given = limits.filter(({ levels }) => levels?.error != null || levels?.warn !== undefined);
    if (given.length === 0) return {};
    for (const { limit, levels = {}, figure, unit, what } of given) {
      const level = levelOf(levels, limit, figure);
      if (what === undefined || figure === undefined || level === 'pass') continue;
      const side = limit.startsWith('min-') ? 'below' : 'above';
      const bound = level === 'fail' ? `the limit ${levels.error}` : `the warning limit ${levels.warn}`;
      const sentence = `The ${what} ${plain(figure)}${unit && ` ${unit}`} is ${side} ${bound} (${limit}).`;
      this.#model[level === 'fail' ? 'failures' : 'warnings'].push(sentence);
    }
    return {
      level: worst(given.map(({ levels = {}, limit, figure }) => levelOf(levels, limit, figure))),
      limit: given.map(({ levels = {}, limit, unit }) => limitText(levels, limit, unit)).join('; '),
    };
  }

  #add(row: Row): void {
    this.#model.rows.push(row);
  }

  /** What validate and compare are told alike. */
  #shared() {
    const { samples, folder } = this.#job;
    const { dims, ranges, count, seed, threads, timeoutSeconds, ortPath, registryUrl, report } = this.#job.options;
    const given = { dims, ranges, count, seed, threads, timeoutSeconds, ortPath, registryUrl, samples };
    const slug = this.#model.path.replace(/[^A-Za-z0-9._-]+/g, '_').slice(-100);
    return {
      ...(Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as typeof given),
      maxSeconds: this.#job.options.maxSeconds ?? 30,
      executionProvider: 'cpu' as const,
      diagnose: false,
      report: report ? path.join(report, `${path.basename(folder)}-${slug}`) : path.join(folder, 'report'),
    };
  }
}

/** A figure under a limit; with `what`, the name that a sentence gives it. */
interface Held {
  limit: string;
  levels: Levels | undefined;
  figure: number | undefined;
  unit: string;
  what?: string;
}

const LIKENESS = [
  ['similarity', 'similarity', 'min-similarity'],
  ['channel similarity', 'channelSimilarity', 'min-channel-similarity'],
  ['agreement', 'agreement', 'min-agreement'],
  ['MSE', 'mse', 'max-mse'],
  ['MAE', 'mae', 'max-mae'],
] as const;

const ORDER: readonly Level[] = ['pass', 'warn', 'inconclusive', 'fail'];

function worst(levels: readonly Level[]): Level {
  return ORDER[Math.max(0, ...levels.map((level) => ORDER.indexOf(level)))]!;
}

function levelOf({ error, warn }: Levels, limit: string, figure: number | undefined): Level {
  if (figure === undefined) return 'pass';
  if (error != null && beyond(limit, figure, error)) return 'fail';
  return warn !== undefined && beyond(limit, figure, warn) ? 'warn' : 'pass';
}

/** `≤ 1500 MB (warns at 1200)` */
function limitText({ error, warn }: { error?: number | null; warn?: number | undefined }, name: string, unit: string) {
  const sign = name.startsWith('min') ? '≥' : '≤';
  const growth = name.endsWith('-percent') ? '+' : '';
  const text = (bound: number) => `${sign} ${growth}${bound}${unit === '' ? '' : ` ${unit}`}`;
  if (error == null) return warn === undefined ? '' : `${text(warn)} or a warning`;
  return warn === undefined ? text(error) : `${text(error)} (warns at ${growth}${warn})`;
}

const plain = (figure: number): string => String(Number(figure.toFixed(5)));

const percent = (before: number, after: number): number => (after / before - 1) * 100;

function delta(before: number | undefined, after: number | undefined): string | undefined {
  if (before === undefined || after === undefined || before === 0) return undefined;
  const change = percent(before, after);
  if (Math.abs(change) < 0.05) return '0 %';
  return `${change > 0 ? '+' : '−'}${Math.abs(change).toFixed(Math.abs(change) < 10 ? 1 : 0)} %`;
}

const ms = (value: number | undefined): string | undefined =>
  value === undefined ? undefined : `${Number(value.toPrecision(3))} ms`;
const mb = (value: number | undefined): string | undefined =>
  value === undefined ? undefined : bytes(Math.round(value * 1e6));
