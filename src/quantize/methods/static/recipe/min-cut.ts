/**
 * Divides things into two sides at the least cost (max-flow, Dinic 1970): `near` things pay their cost of being far, and
 * the other way round; a link is paid where its start is near and its end is far.
 */
export class MinCut {
  /** By edge: where it leads, what it can still carry; edge ^ 1 is its reverse. */
  readonly #to: number[] = [];
  readonly #room: number[] = [];
  readonly #edges: number[][] = [[], []];

  /** A thing to be put on a side, with what it costs to be there. Infinity: never there. */
  add(costNear: number, costFar: number): number {
    const thing = this.#edges.push([]) - 1;
    if (costFar > 0) this.link(SOURCE, thing, costFar);
    if (costNear > 0) this.link(thing, SINK, costNear);
    return thing;
  }

  /** What it costs that `from` is near while `to` is far. */
  link(from: number, to: number, cost: number): void {
    this.#edges[from]!.push(this.#to.push(to) - 1);
    this.#room.push(Math.min(cost, UNBOUNDED));
    this.#edges[to]!.push(this.#to.push(from) - 1);
    this.#room.push(0);
  }

  /** The things that are near where all is paid least. */
  solve(): (thing: number) => boolean {
    for (let levels = this.#levels(); levels[SINK]! >= 0; levels = this.#levels()) {
      const next = new Int32Array(this.#edges.length);
      while (this.#push(levels, next) > 0);
    }
    const near = this.#levels();
    return (thing) => near[thing]! >= 0;
  }

  /** Links from the source to each thing along edges with room; −1 where there is no way. */
  #levels(): Int32Array {
    const levels = new Int32Array(this.#edges.length).fill(-1);
    levels[SOURCE] = 0;
    const queue = [SOURCE];
    for (const thing of queue) {
      for (const edge of this.#edges[thing]!) {
        const to = this.#to[edge]!;
        if (levels[to] !== -1 || this.#room[edge]! <= ROUNDING) continue;
        levels[to] = levels[thing]! + 1;
        queue.push(to);
      }
    }
    return levels;
  }

  /** Sends flow along one way from source to sink, found without recursion: graphs are thousands of nodes deep. */
  #push(levels: Int32Array, next: Int32Array): number {
    const way: number[] = [];
    for (let at = SOURCE; at !== SINK; ) {
      const edges = this.#edges[at]!;
      let edge: number | undefined;
      for (; next[at]! < edges.length; next[at]! += 1) {
        const candidate = edges[next[at]!]!;
        if (this.#room[candidate]! > ROUNDING && levels[this.#to[candidate]!] === levels[at]! + 1) {
          edge = candidate;
          break;
        }
      }
      if (edge !== undefined) {
        way.push(edge);
        at = this.#to[edge]!;
        continue;
      }
      const back = way.pop();
      if (back === undefined) return 0;
      at = this.#to[back ^ 1]!;
      next[at]! += 1;
    }
    const flow = Math.min(...way.map((edge) => this.#room[edge]!));
    for (const edge of way) {
      this.#room[edge]! -= flow;
      this.#room[edge ^ 1]! += flow;
    }
    return flow;
  }
}

const SOURCE = 0;
const SINK = 1;
/** More than any sum of costs. */
const UNBOUNDED = 1e15;
const ROUNDING = 1e-6;
