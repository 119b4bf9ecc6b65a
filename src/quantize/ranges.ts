import { InputError } from '../errors.ts';
import type { Constant } from '../model/index.ts';
import { stepwise } from './breathe.ts';
import type { Encoding } from './encodings/encoding.ts';
import { type Draft, drafting, type Findings, type Prepared } from './plan/index.ts';
import type { Settings } from './settings.ts';
import {
  computeParameters,
  type NonFiniteBlocks,
  type Pool,
  type WeightJob,
  type WeightParameters,
} from './stream/index.ts';
import type { Encoded } from './values/value.ts';

/** A plan that holds, with what it needs to know of the weights. */
export interface Measured extends Draft {
  found: ReadonlyMap<Encoded, WeightParameters>;
}

/** What was found out before planning. */
type Before = Pick<Findings, 'notes' | 'observed'>;

/** Finds the plan that holds once the values of the weights are known. What it finds, it keeps. */
export class Measurer {
  readonly prepared: Prepared;
  readonly #settings: Settings;
  readonly #before: Before;
  readonly #ranges = new Ranges();
  readonly #skip = new Map<Constant['holder'], string>();

  constructor(prepared: Prepared, settings: Settings, before: Before = { notes: [] }) {
    this.prepared = prepared;
    this.#settings = settings;
    this.#before = before;
  }

  /**
   * Pass 1: reads the weights that the plan quantizes; in a dry run those too whose values would show when they are
   * written. Those that have no such form stay as they are, and the plan is made anew until it holds. `onBytes` hears
   * how many more bytes of how many were read.
   *
   * @throws InputError for NaN, unless the user allows it; and what `draft` throws.
   */
  async measure(pool: Pool, onBytes: (bytes: number, total: number) => void, signal?: AbortSignal): Promise<Measured> {
    for (;;) {
      const skip = this.#skip;
      const findings: Findings = { ...this.#before, skip, warnings: warningsOf(skip) };
      const current = await stepwise(drafting(this.prepared, this.#settings, findings), signal);
      const { encoded } = current.rewrite;
      const known = skip.size;
      await this.#look(
        this.#settings.dryRun ? encoded : encoded.filter(({ encoding }) => encoding.range),
        pool,
        onBytes,
      );
      if (skip.size > known) continue;
      const found = new Map<Encoded, WeightParameters>();
      for (const each of encoded) {
        const parameters = each.encoding.range && this.#ranges.get(each);
        if (parameters) found.set(each, parameters);
      }
      return { ...current, found };
    }
  }

  /** Looks at what turned out to have no scale when it was written; the next plan is without it. */
  async refuse({ found }: NonFiniteBlocks, { rewrite }: Measured, pool: Pool): Promise<void> {
    const met = rewrite.encoded.filter(({ encoding }) => {
      const job = encoding.range ? undefined : encoding.job(undefined);
      return job && 'kind' in job && job.kind === 'blocks' && found.has(job.job);
    });
    await this.#look(met, pool, () => {});
  }

  async #look(encoded: readonly Encoded[], pool: Pool, onBytes: (bytes: number, total: number) => void): Promise<void> {
    await this.#ranges.read(encoded, pool, onBytes);
    for (const each of encoded) {
      const { name, holder } = each.constant;
      if (this.#skip.has(holder)) continue;
      const refusal = refusalOf(each, this.#ranges.get(each)!, this.#settings);
      if (refusal !== undefined) this.#skip.set(holder, `weight ${name} ${refusal}`);
    }
  }
}

function refusalOf(
  { constant, encoding }: Encoded,
  found: WeightParameters,
  { allowNonFinite }: Settings,
): string | undefined {
  const { nan } = found;
  if (nan === 0) return encoding.refusal(found);
  const what = `${nan} NaN value${nan > 1 ? 's' : ''}`;
  if (allowNonFinite) return `has ${what}`;
  throw new InputError(
    `Weight "${constant.name}" has ${what}, which no number stands for: export the model again, or keep it FP32 with \`allow-non-finite\`.`,
  );
}

/** Weights of which it is said that they stay; of more, only how many. */
const MOST_WARNINGS = 5;

function warningsOf(skip: ReadonlyMap<Constant['holder'], string>): string[] {
  const all = [...skip.values()].map((reason) => `W${reason.slice(1)}: it stays FP32.`);
  const more = all.length - MOST_WARNINGS;
  return more > 0 ? [...all.slice(0, MOST_WARNINGS), `${more} more weights stay FP32 for such reasons.`] : all;
}

/** What was found in the weights, over all drafts of a plan: each is read once for each way to look at it. */
class Ranges {
  /** By the way to look: a model has many weights, and few ways. */
  readonly #known = new Map<string, Map<Constant['holder'], WeightParameters>>();

  get({ constant, encoding }: Encoded): WeightParameters | undefined {
    return this.#known.get(keyOf(rangeOf(encoding)))?.get(constant.holder);
  }

  /** Reads what is not known yet. */
  async read(encoded: readonly Encoded[], pool: Pool, onBytes: (bytes: number, total: number) => void): Promise<void> {
    const missing = this.#missing(encoded);
    const jobs = missing.map(({ range }) => range);
    const total = jobs.reduce((sum, { source }) => sum + source.length, 0);
    const found = await computeParameters(jobs, pool, (bytes) => onBytes(bytes, total));
    for (const [i, { holder, key }] of missing.entries()) {
      const known = this.#known.get(key) ?? new Map<Constant['holder'], WeightParameters>();
      this.#known.set(key, known.set(holder, found[i]!));
    }
  }

  #missing(encoded: readonly Encoded[]): { holder: Constant['holder']; key: string; range: WeightJob }[] {
    const seen = new Map<string, Set<Constant['holder']>>();
    return encoded.flatMap(({ constant: { holder }, encoding }) => {
      const range = rangeOf(encoding);
      const key = keyOf(range);
      const holders = seen.get(key) ?? new Set<Constant['holder']>();
      if (holders.has(holder) || this.#known.get(key)?.has(holder)) return [];
      seen.set(key, holders.add(holder));
      return [{ holder, key, range }];
    });
  }
}

/** What to look at in a source: what the encoding asks for, or else only whether its values are numbers. */
function rangeOf({ range, source }: Encoding): WeightJob {
  return range ?? { source, target: 'int8', symmetric: false, reduceRange: false, axis: null };
}

/** What a range depends on besides the elements. How they are stored does not change it. */
function keyOf({ source: _, permutation: __, ...scheme }: WeightJob): string {
  return JSON.stringify(scheme);
}
