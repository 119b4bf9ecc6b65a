import {
  type Feeds,
  type MeasureOptions,
  median,
  memoryOf,
  type RunAnswer,
  type RunOptions,
  type Session,
  type Timings,
} from '../runtime/index.ts';

export type Side = 'reference' | 'model';

/** What was seen of one model's sessions. */
export interface SideRecord {
  /** Each load, ms. */
  loadMs: number[];
  /** Resident bytes after warm-up with outputs released, and the highest ever, over all its sessions. */
  residentBytes: number;
  peakBytes: number;
  /** What its sessions took themselves (see `Session`), ms; complete once they are closed. */
  ownMs: number;
  /** Wall time of writing its outputs to disk, ms. */
  spoolMs: number;
  provider: string;
  threads: number;
}

/**
 * The two models' processes. `together`: each is loaded once and stays; otherwise at most one is loaded at a time, and
 * asking for the other closes it.
 */
export class Stage {
  readonly records: Partial<Record<Side, SideRecord>> = {};
  readonly #open: (side: Side) => Promise<Session>;
  readonly #sessions = new Map<Side, { session: Session; runs: number }>();
  readonly #lastMs: Partial<Record<Side, number>> = {};
  #together: boolean;

  constructor(open: (side: Side) => Promise<Session>, together: boolean) {
    this.#open = open;
    this.#together = together;
  }

  get together(): boolean {
    return this.#together;
  }

  /** From now on only one model is loaded at a time. */
  async separate(): Promise<void> {
    this.#together = false;
    for (const side of [...this.#sessions.keys()].slice(1)) await this.leave(side);
  }

  /** One inference; loads the model first where it is not. */
  async run(side: Side, feeds: Feeds, options: RunOptions): Promise<RunAnswer> {
    const seat = await this.enter(side);
    const answer = await seat.session.run(feeds, options);
    seat.runs++;
    const record = this.records[side]!;
    record.spoolMs += answer.handlingMs;
    this.#lastMs[side] = answer.ms;
    return answer;
  }

  /** Timed inferences one after the other; loads the model first where it is not. */
  async measure(side: Side, feeds: readonly Feeds[], options: MeasureOptions): Promise<Timings> {
    const seat = await this.enter(side);
    const timings = await seat.session.measure(feeds, options);
    seat.runs += options.warmup + timings.runs.length;
    this.#lastMs[side] = median(timings.runs);
    return timings;
  }

  /** Waits until a model's threads no longer spin, where it stays loaded while the other one runs. */
  async rest(side: Side): Promise<void> {
    if (this.#together) await this.#sessions.get(side)?.session.rest();
  }

  /** What an inference took last, ms; undefined before the first. */
  lastMs(side: Side): number | undefined {
    return this.#lastMs[side];
  }

  /** Inferences of the session that is loaded now; 0 where none is. */
  runs(side: Side): number {
    return this.#sessions.get(side)?.runs ?? 0;
  }

  async enter(side: Side): Promise<{ session: Session; runs: number }> {
    const seated = this.#sessions.get(side);
    if (seated) return seated;
    if (!this.#together) for (const other of [...this.#sessions.keys()]) await this.leave(other);
    const session = await this.#open(side);
    const seat = { session, runs: 0 };
    this.#sessions.set(side, seat);
    this.records[side] ??= {
      loadMs: [],
      residentBytes: 0,
      peakBytes: 0,
      ownMs: 0,
      spoolMs: 0,
      provider: session.load.provider.got,
      threads: session.threads,
    };
    this.records[side].loadMs.push(session.load.ms);
    return seat;
  }

  /** Notes a model's memory and ends its process. */
  async leave(side: Side): Promise<void> {
    const seat = this.#sessions.get(side);
    if (!seat) return;
    try {
      await this.note(side);
    } finally {
      this.records[side]!.ownMs += seat.session.ownMs;
      this.#sessions.delete(side);
      await seat.session.close();
    }
  }

  /** Takes a loaded model's memory figures. */
  async note(side: Side): Promise<void> {
    const seat = this.#sessions.get(side);
    const record = this.records[side];
    if (!seat || !record) return;
    const { residentBytes, peakBytes } = await seat.session.memory();
    record.residentBytes = residentBytes;
    record.peakBytes = Math.max(record.peakBytes, peakBytes);
  }

  /** The highest memory of a loaded model so far, where another process can read it (Linux). */
  peakBytes(side: Side): number | undefined {
    const seat = this.#sessions.get(side);
    return seat && memoryOf(seat.session.pid)?.peakBytes;
  }

  /** Ends both processes, whatever state they are in. */
  async close(): Promise<void> {
    const seats = [...this.#sessions.values()];
    for (const [side, { session }] of this.#sessions) this.records[side]!.ownMs += session.ownMs;
    this.#sessions.clear();
    await Promise.all(seats.map(({ session }) => session.close()));
  }
}
