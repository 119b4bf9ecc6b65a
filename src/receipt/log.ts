/** Where a finding stands, for an annotation on the line. Lines and columns count from 1. */
export interface Place {
  file: string;
  line?: number;
  column?: number;
}

/** How far a long piece of work has come. `done` and `total` are in `unit`. */
export interface Progress {
  label: string;
  done: number;
  total: number;
  unit: 'bytes' | 'runs' | 'files';
}

/** How a room speaks while it works; the terminal and the runner each have their own. */
export interface Log {
  info(message: string): void;
  warning(message: string, place?: Place): void;
  error(message: string, place?: Place): void;
  debug(message: string): void;
  progress(progress: Progress): void;
}

/** A log that says nothing, for library callers and tests. */
export const silentLog: Log = {
  info() {},
  warning() {},
  error() {},
  debug() {},
  progress() {},
};
