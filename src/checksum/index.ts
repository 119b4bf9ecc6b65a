/** The checksum room: manifests that every system's tools can read, written and verified on all cores. */
export { createManifest } from './create.ts';
export type { FileDigests } from './digest.ts';
export { type ChunkedSums, parseChunkedSums, parseSums, type Sums } from './manifest.ts';
export type {
  CheckedFile,
  ChecksumContext,
  ChecksumOptions,
  ChecksumResult,
  ChecksumResults,
  FileStatus,
} from './types.ts';
export { verifyManifest } from './verify.ts';
