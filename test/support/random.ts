/** A small seeded generator (mulberry32): the same seed gives the same test model on every machine. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** Uniform integer in [0, limit). */
  below(limit: number): number;
  /** Standard normal (Box–Muller). */
  normal(): number;
  /** `count` normal values as float32. */
  floats(count: number, deviation?: number): Float32Array;
}

export function seeded(seed: number): Random {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  const normal = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  return {
    next,
    below: (limit) => Math.floor(next() * limit),
    normal,
    floats: (count, deviation = 1) => Float32Array.from({ length: count }, () => normal() * deviation),
  };
}
