import { rootOf } from '../model/index.ts';
import {
  createReceipt,
  type FileIdentity,
  inputsOf,
  pathInReceipt,
  receiptPath,
  writeReceipt,
} from '../receipt/index.ts';
import { environment } from '../runtime/index.ts';
import type { FileDigests } from './digest.ts';
import { type ManifestPaths, nameIn } from './files.ts';
import type { ChecksumContext, ChecksumOptions, ChecksumResult, ChecksumResults } from './types.ts';

export interface ReceiptSources {
  options: ChecksumOptions;
  context: ChecksumContext;
  paths: ManifestPaths;
  /** Files of each model, graph first. Absolute paths, here and below. */
  models: ReadonlyMap<string, readonly string[]>;
  /** Digests of the bytes that were found. */
  digests: ReadonlyMap<string, FileDigests>;
}

/**
 * Writes a receipt for each model, about its own files only, so that a bad neighbour in the manifest does not stand in
 * the way of a good model; without a model, one about all files, named after the manifest.
 * @returns the result with the receipts' paths.
 */
export async function writeReceipts(result: ChecksumResult, sources: ReceiptSources): Promise<ChecksumResult> {
  const { options, paths, models, digests } = sources;
  const receipts: string[] = [];
  for (const [model, files] of models) {
    const receipt = receiptPath(model, 'checksum', options.report);
    await writeOne(receipt, files, result, sources);
    receipts.push(receipt);
  }
  if (models.size === 0) {
    const receipt = receiptPath(paths.sums, 'checksum', options.report);
    await writeOne(receipt, [...digests.keys()], result, sources);
    receipts.push(receipt);
  }
  return { ...result, receipts };
}

async function writeOne(
  receipt: string,
  files: readonly string[],
  result: ChecksumResult,
  { options, context, paths, models, digests }: ReceiptSources,
): Promise<void> {
  const names = new Set(files.map((file) => nameIn(paths.folder, file)));
  const about = models.size === 0 ? result.files : result.files.filter(({ name }) => names.has(name));
  const bad = about.filter(({ status }) => status !== 'ok');
  const identities = files.flatMap((file): FileIdentity[] => {
    const found = digests.get(file);
    if (found === undefined) return [];
    const { size, root, chunks } = found;
    return [{ path: pathInReceipt(file, receipt), role: 'read', size, root, chunks }];
  });
  const results: ChecksumResults = {
    mode: result.mode,
    manifest: pathInReceipt(paths.sums, receipt),
    files: about,
    mismatched: bad.map(({ name }) => name),
    failures: bad.flatMap(({ problem }) => (problem === undefined ? [] : [problem])),
    warnings: result.warnings,
    bytes: result.bytes,
    ms: result.ms,
  };
  await writeReceipt(
    createReceipt({
      now: context.now?.() ?? new Date(),
      action: 'checksum',
      inputs: inputsOf({ mode: result.mode, ...options }),
      modelRoot: rootOf(files.flatMap((file) => digests.get(file)?.chunks ?? [])),
      files: identities,
      environment: environment(),
      results,
      verdict: bad.length === 0 ? 'pass' : 'fail',
    }),
    receipt,
  );
}
