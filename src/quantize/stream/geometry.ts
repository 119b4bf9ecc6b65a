/** How the channels of a row-major tensor lie: `inner` elements of each in turn, `channels` in a round. */
export interface Channels {
  channels: number;
  inner: number;
}

/** Source matrices that are exchanged row by column: `batches` of `rows` × `columns` become `columns` × `rows`. */
export interface Exchange {
  rows: number;
  columns: number;
}

/** Where an element stands among the channels; the arguments of the kernels. */
export interface Phase {
  channel: number;
  /** Elements until this channel's run ends. */
  left: number;
}

/** Larger runs are cut in the kernels' arguments; no block is that long. */
const LONGEST_RUN = 2 ** 31 - 1;

/** The channels along `axis` (several adjacent axes count as one); null makes the whole tensor one channel. */
export function channelsOf(dims: readonly number[], axis: number | readonly number[] | null): Channels {
  if (axis === null) return { channels: 1, inner: Math.max(product(dims), 1) };
  const axes = (typeof axis === 'number' ? [axis] : axis).map((a) => (a < 0 ? a + dims.length : a));
  const first = axes[0] ?? -1;
  if (first < 0 || axes.some((a, i) => a !== first + i) || first + axes.length > dims.length) {
    throw new RangeError(`[${axes}] are no adjacent axes of a tensor of shape [${dims}]`);
  }
  return {
    channels: product(dims.slice(first, first + axes.length)),
    inner: product(dims.slice(first + axes.length)),
  };
}

/** The rows and columns that `permutation` exchanges, or undefined where it moves nothing. */
export function exchangeOf(dims: readonly number[], permutation: readonly number[]): Exchange | undefined {
  const rank = dims.length;
  if (permutation.length !== rank || [...permutation].sort((a, b) => a - b).some((axis, i) => axis !== i)) {
    throw new RangeError(`[${permutation}] is no permutation of the ${rank} axes of [${dims}]`);
  }
  const start = permutation.findIndex((axis, i) => axis !== i);
  if (start < 0) return undefined;
  const end = permutation.findLastIndex((axis, i) => axis !== i) + 1;
  const split = permutation[start]!;
  const moved = permutation
    .slice(start, end)
    .every((axis, i) => axis === start + ((i + split - start) % (end - start)));
  if (!moved || product(dims.slice(end)) !== 1) {
    throw new RangeError(
      `Permutation [${permutation}] of [${dims}] does more than exchange two adjacent groups of axes`,
    );
  }
  return { rows: product(dims.slice(start, split)), columns: product(dims.slice(split, end)) };
}

/** The phase of the element at flat index `element`. */
export function phaseOf({ channels, inner }: Channels, element: number): Phase {
  const run = Math.floor(element / inner);
  return { channel: run % channels, left: Math.min((run + 1) * inner - element, LONGEST_RUN) };
}

/** `inner` as a kernel takes it. */
export function kernelInner({ inner }: Channels): number {
  return Math.min(inner, LONGEST_RUN);
}

export function product(dims: readonly number[]): number {
  return dims.reduce((all, dim) => all * dim, 1);
}
