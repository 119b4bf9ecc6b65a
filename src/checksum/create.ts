import { stat } from 'node:fs/promises';
import { silentLog } from '../receipt/index.ts';
import { digestFile, type FileDigests, readError } from './digest.ts';
import { locateManifest, lockManifest, mergeManifest, nameIn, readManifest } from './files.ts';
import { knownChunks } from './known.ts';
import { checkNames } from './manifest.ts';
import { openPool } from './pool.ts';
import { writeReceipts } from './receipts.ts';
import { selectFiles } from './select.ts';
import type { CheckedFile, ChecksumContext, ChecksumOptions, ChecksumResult } from './types.ts';

/**
 * Writes `SHA256SUMS` and `SHA256SUMS.json` over the files that `options.path` names; entries of other files stay.
 * @throws InputError where a file is missing, unreadable, outside the manifest's folder, or changes meanwhile, and
 * where a manifest is there that cannot be read.
 */
export async function createManifest(options: ChecksumOptions, context: ChecksumContext = {}): Promise<ChecksumResult> {
  const started = performance.now();
  const { log = silentLog } = context;
  const { files, models } = await selectFiles(options.path);
  const paths = locateManifest(options.manifest, files);
  const names = new Map(files.map((file) => [file, nameIn(paths.folder, file)]));
  // A broken manifest is refused now, not after minutes of hashing.
  const { sums, chunked } = await readManifest(paths);
  checkNames(new Set([...names.values(), ...(sums?.entries.keys() ?? []), ...(chunked?.keys() ?? [])]), paths.sums);
  const known = await knownChunks(files, options.receipts ?? [], log);
  for (const receipt of new Set([...known.values()].map(({ receipt }) => receipt))) {
    log.info(`Chunk digests are taken from ${receipt}.`);
  }

  const digests = await digestAll(files, known, options, context);
  const lock = await lockManifest(paths, context);
  try {
    await mergeManifest(paths, digests);
  } finally {
    lock.release();
  }

  const checked = files.map((file): CheckedFile => {
    const { size, sha256, root } = digests.get(file) as FileDigests;
    return { name: names.get(file) as string, status: 'ok', size, sha256, root };
  });
  const bytes = checked.reduce((sum, { size }) => sum + (size ?? 0), 0);
  const result: ChecksumResult = {
    mode: 'create',
    manifest: paths.sums,
    verdict: 'pass',
    verified: true,
    files: checked,
    mismatched: [],
    failures: [],
    warnings: [],
    bytes,
    ms: performance.now() - started,
    receipts: [],
  };
  return writeReceipts(result, { options, context, paths, models, digests });
}

async function digestAll(
  files: readonly string[],
  known: Awaited<ReturnType<typeof knownChunks>>,
  options: ChecksumOptions,
  { log = silentLog, signal }: ChecksumContext,
): Promise<Map<string, FileDigests>> {
  const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  let done = 0;
  const pool = openPool({
    threads: options.threads,
    signal,
    onBytes(bytes) {
      done += bytes;
      log.progress({ label: 'checksum', done, total, unit: 'bytes' });
    },
  });
  try {
    const digested = files.map(async (file): Promise<[string, FileDigests]> => {
      try {
        return [file, await digestFile(file, pool, known.get(file))];
      } catch (error) {
        throw readError(file, error);
      }
    });
    return new Map(await Promise.all(digested));
  } finally {
    await pool.close();
  }
}
