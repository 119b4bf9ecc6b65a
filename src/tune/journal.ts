import { readFile } from 'node:fs/promises';
import { appendJsonLine, isJsonObject, type Log, parseJsonLines, replaceFile } from '../receipt/index.ts';

/** Figures of a model on some samples. Those that are no numbers are −1. */
export interface Measured {
  similarity: number;
  channelSimilarity: number | null;
  /** Elements of any output that are NaN, or infinite in one model only. */
  notFinite: number;
  /** Highest share of different elements of an output that holds no floats. */
  unequal: number;
  /** What `metric-command` gave; null without one. */
  metric: number | null;
  /** Bytes ÷ bytes of the source. */
  sizeRatio: number;
  /** Time of an inference ÷ that of the source, with its interval; null where it was not timed. */
  slowdown: { value: number; low: number; high: number; p50Ms: number; referenceP50Ms: number } | null;
  /** Of the model's process after warm-up; null where it was not timed. */
  residentBytes: number | null;
}

/** A model that was tried: what its journal line holds. */
export interface Trial extends Measured {
  kind: 'trial';
  /** Names the recipe. */
  name: string;
  /** As tables call it. */
  form: string;
  /** Why it could not be made or run; null where it could. */
  refused: string | null;
  /** Root of its files; sizes are bytes. */
  root: string;
  size: number;
  nodesQuantized: number;
  /** What it took, s. */
  seconds: number;
}

/** How a choice did on samples that did not choose it. */
export interface Check extends Measured {
  kind: 'confirm' | 'final';
  name: string;
  seconds: number;
}

/** The time of a model that was timed again, because noise would have decided. */
export interface Again extends Pick<Measured, 'slowdown' | 'residentBytes'> {
  kind: 'again';
  name: string;
  seconds: number;
}

/** Where the time of the source goes. */
export interface Times {
  kind: 'times';
  name: string;
  /** Shares of an inference, by the names that overrides know; what has no owner is left out. */
  shares: Record<string, number>;
  seconds: number;
}

/** What may be given back of a candidate, the best first. */
export interface Proposals {
  kind: 'diagnosis';
  name: string;
  layers: Proposal[];
  seconds: number;
}

/** A layer that may be given back. */
export interface Proposal {
  /** Names that overrides know, of nodes with weights and of others beside them. */
  nodes: string[];
  others: string[];
  operators: string[];
  /** The error that it introduces (see `LayerError`), and the similarity of its channels. */
  error: number;
  channelSimilarity: number | null;
  /** Bytes of its weights in FP32. */
  bytes: number;
  /** Its share of the time of an inference in FP32. */
  time: number;
}

export type Entry = Trial | Check | Proposals | Times | Again;

const KINDS: readonly unknown[] = ['trial', 'confirm', 'final', 'diagnosis', 'times', 'again'];
const SCHEMA = 2;

/**
 * What a search has found so far, a line each in a JSON Lines file: a search that was interrupted finds it there and goes
 * on, and one that was not finds everything and decides the same. The first line says what was searched.
 */
export class Journal {
  readonly #file: string;
  readonly #entries: Map<string, Entry>;

  private constructor(file: string, entries: Map<string, Entry>) {
    this.#file = file;
    this.#entries = entries;
  }

  /**
   * @param key all that figures depend on: a journal of another key is begun anew
   * @throws InputError for a file that cannot be written or is broken
   */
  static async open(file: string, key: string, log: Log): Promise<Journal> {
    const text = await readFile(file, 'utf8').catch(() => '');
    const { lines, warnings } = parseJsonLines(text, file);
    const head = lines[0]?.value;
    if (isJsonObject(head) && head.schema === SCHEMA && head.key === key) {
      for (const warning of warnings) log.warning(warning);
      const entries = lines.slice(1).flatMap(({ value }) => (isEntry(value) ? [value] : []));
      if (entries.length > 0) log.info(`Going on with ${entries.length} findings of ${file}.`);
      return new Journal(file, new Map(entries.map((entry) => [idOf(entry), entry])));
    }
    await replaceFile(file, `${JSON.stringify({ schema: SCHEMA, key })}\n`);
    return new Journal(file, new Map());
  }

  get<Kind extends Entry['kind']>(kind: Kind, name: string): Extract<Entry, { kind: Kind }> | undefined {
    return this.#entries.get(`${kind} ${name}`) as Extract<Entry, { kind: Kind }> | undefined;
  }

  async add(entry: Entry): Promise<void> {
    await appendJsonLine(this.#file, entry);
    this.#entries.set(idOf(entry), entry);
  }
}

const idOf = ({ kind, name }: Entry) => `${kind} ${name}`;

function isEntry(value: unknown): value is Entry {
  if (!isJsonObject(value) || !KINDS.includes(value.kind) || typeof value.name !== 'string') return false;
  if (typeof value.seconds !== 'number') return false;
  if (value.kind === 'again') return isJsonObject(value.slowdown);
  if (value.kind === 'times') return isJsonObject(value.shares);
  return value.kind === 'diagnosis' ? Array.isArray(value.layers) : typeof value.similarity === 'number';
}
