import type { BlockJob, BlockPart } from './block-geometry.ts';
import type { Channels, Exchange } from './geometry.ts';

/**
 * A source as a worker reads it: an open file in which it begins at `offset`, or bytes that came with the message and
 * begin `from` bytes into the source.
 */
export type Input = { fd: number; path: string; offset: number } | { bytes: Uint8Array; from: number };

/** A float tensor as a worker reads it. */
export interface Floats {
  input: Input;
  /** `TensorProto.DataType` of a float type. */
  dtype: number;
}

/** A part of one tensor whose range is wanted. `start` and `count` are elements. */
export interface RangePiece extends Channels {
  floats: Floats;
  start: number;
  count: number;
  /** Whether the largest magnitudes will do. */
  symmetric: boolean;
}

/** A part of an output chunk: `length` bytes. */
export type WritePiece = { length: number } & (
  | { kind: 'zeros' }
  | { kind: 'copy'; input: Input }
  /** Bytes that a `blocks` task wrote: they only have to be digested. */
  | { kind: 'present' }
  /** Half precision from element `start` on, without the first `skip` bytes: a chunk may end between two bytes. */
  | { kind: 'float16'; floats: Floats; start: number; skip: 0 | 1 }
  | ({
      kind: 'quantize';
      floats: Floats;
      /** First element, counted in the order of the output. */
      start: number;
      /** By name, from what is known of the values. */
      kernel: 'quantizeInt8' | 'quantizeUint8' | 'quantizeAnyInt8' | 'quantizeAnyUint8';
      scales: Float32Array;
      zeroPoints: Int16Array;
      exchange: Exchange | undefined;
    } & Channels)
);

export type Task =
  | { kind: 'range'; pieces: RangePiece[] }
  | { kind: 'digest'; input: Input; length: number }
  | BlocksTask
  | WriteTask;

/**
 * A step of writing the chunk at [position, position + length): its next pieces. All steps of a chunk go to one worker;
 * the last one's outcome is the digest. `digest` false: no SHA-256 is made, the outcome is empty.
 */
export interface WriteTask {
  kind: 'write';
  fd: number;
  position: number;
  length: number;
  digest: boolean;
  pieces: WritePiece[];
  /** Whether further steps follow; the outcome is empty then. */
  more: boolean;
}

/** Makes units [first, first + count) of a block-wise quantized matrix. */
export interface BlocksTask extends Omit<BlockJob, 'source'> {
  kind: 'blocks';
  floats: Floats;
  source: { dims: readonly number[] };
  first: number;
  count: number;
  fd: number;
  /** Where in the file each part that lies there begins, with its first unit. */
  positions: Partial<Record<BlockPart, number>>;
  /** The parts that come back in memory, because they lie elsewhere. */
  collect: readonly BlockPart[];
}

export interface BlockOutcome {
  /** NaN and infinite weights: there is no scale for them, and what was made is of no use. */
  nonFinite: number;
  collected: Partial<Record<BlockPart, Uint8Array>>;
}

/** Ranges of the channels that a piece touches: `min` and `max` begin with channel `first`. */
export interface PieceRange {
  first: number;
  min: Float32Array;
  max: Float32Array;
  /** NaN and infinite values, and how many of them are NaN. */
  nonFinite: number;
  nan: number;
}

/** Ranges piece by piece, what came of blocks, or the SHA-256 of what was read or written. */
export type Outcome<T extends Task = Task> = T extends { kind: 'range' }
  ? PieceRange[]
  : T extends { kind: 'blocks' }
    ? BlockOutcome
    : string;

/** What a worker answers. */
export type Answer = { outcome: Outcome } | { failure: Failure };

/** An error on its way between threads. */
export interface Failure {
  message: string;
  stack: string | undefined;
  /** Of an error of the file system. */
  code: string | undefined;
  syscall: string | undefined;
  /** Path of the source file that could not be read; without a `code`, because it ended too early. */
  source: string | undefined;
}
