import type { Log, Verdict } from '../receipt/index.ts';

export interface ChecksumOptions {
  /**
   * Files, folders and globs; a model brings its external data along. A line that begins with `!` excludes.
   * Empty with `verify`: all that the manifest lists.
   */
  path: readonly string[];
  /**
   * The manifest; `<manifest>.json` stands beside it. A path is relative to the working directory; a bare name, where
   * the files lie outside the working directory, to their common folder.
   */
  manifest: string;
  /**
   * `verify`: folder to install what `path` names into (nothing else that the manifest lists), once every one of those
   * files matches; its manifest lists them then.
   */
  installTo?: string | undefined;
  /**
   * What happens where another model or file stands under a name to be installed: it is refused (default) or replaced.
   * The same bytes are left alone either way.
   */
  ifExists?: 'refuse' | 'replace' | undefined;
  /** `verify`: root that the one model which `path` names must have, as quantize said it. */
  root?: string | undefined;
  /** One per core, at most 6, unless given; each takes 8 MiB of memory. */
  threads?: number | undefined;
  /** Receipts, or folders of them, whose chunk digests `create` takes over; those beside the files unless given. */
  receipts?: readonly string[] | undefined;
  /** Folder for the receipts; each model's own unless given. */
  report?: string | undefined;
}

export interface ChecksumContext {
  /** Default: silence. */
  log?: Log | undefined;
  signal?: AbortSignal | undefined;
  now?: () => Date;
}

/** What became of one file. `renamed`: it is there, spelled with other capitals. `unlisted`: no manifest names it. */
export type FileStatus =
  | 'ok'
  | 'missing'
  | 'renamed'
  | 'truncated'
  | 'overlong'
  | 'different'
  | 'unreadable'
  | 'contradictory'
  | 'unlisted';

export interface CheckedFile {
  /** Name in the manifest: relative to its folder, with `/`. */
  name: string;
  status: FileStatus;
  /** What is wrong and what to do, as a sentence, where the status is not `ok`. */
  problem?: string;
  /** Bytes, as found. */
  size?: number;
  /** SHA-256 of the whole file as found, where it was computed or its chunks prove it. */
  sha256?: string;
  /** Root over the chunks as found. */
  root?: string;
  /** Ranges (bytes) that are not as listed, one per chunk: what a repeated transfer has to fetch. */
  differences?: { offset: number; length: number }[];
}

/** What the receipt of a checksum run holds under `results`. */
export interface ChecksumResults {
  mode: 'create' | 'verify';
  /** Path of `SHA256SUMS`, as receipts name files. */
  manifest: string;
  files: CheckedFile[];
  /** Names of files that are missing or differ. */
  mismatched: string[];
  /** One sentence for each thing that is wrong. */
  failures: string[];
  /** One sentence for each thing to know that is not wrong. */
  warnings: string[];
  /** Bytes read and hashed, and the time for all of it. */
  bytes: number;
  ms: number;
}

export interface ChecksumResult extends ChecksumResults {
  verdict: Verdict;
  /** Whether every file is as the manifest says. */
  verified: boolean;
  /** Receipts written: one for each model, or one named after the manifest where there is none. */
  receipts: string[];
}
