import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { messageOf } from '../errors.ts';
import { CHUNK_BYTES } from '../model/index.ts';
import type { Log } from '../receipt/index.ts';
import { readReceipt } from '../receipt/index.ts';
import type { KnownChunks } from './digest.ts';

/**
 * Chunk digests of `files` (absolute paths) that quantize wrote into its receipt, so that nobody computes them twice.
 * They count only while the file is older than the receipt and has the size that stands there.
 * @param receipts receipts or folders of them; those in the files' own folders where there are none.
 */
export async function knownChunks(
  files: readonly string[],
  receipts: readonly string[],
  log: Log,
): Promise<Map<string, KnownChunks>> {
  const places = receipts.length > 0 ? receipts : [...new Set(files.map((file) => path.dirname(file)))];
  const known = new Map<string, KnownChunks>();
  for (const place of places) {
    for (const receipt of await quantizeReceipts(place)) {
      for (const [file, chunks] of await chunksOf(receipt, files, log)) known.set(file, { chunks, receipt });
    }
  }
  return known;
}

async function quantizeReceipts(place: string): Promise<string[]> {
  const info = await stat(place);
  if (!info.isDirectory()) return [place];
  const names = await readdir(place);
  return names.filter((name) => name.endsWith('.quantize.json')).map((name) => path.join(place, name));
}

async function chunksOf(receiptFile: string, files: readonly string[], log: Log): Promise<[string, string[]][]> {
  let receipt: Awaited<ReturnType<typeof readReceipt>>;
  try {
    receipt = await readReceipt(receiptFile);
  } catch (error) {
    log.warning(`${messageOf(error)} Its digests are computed instead.`);
    return [];
  }
  if (receipt.action !== 'quantize') return [];
  const receiptTime = (await stat(receiptFile)).mtimeMs;
  const found: [string, string[]][] = [];
  for (const { path: name, role, size, chunks } of receipt.files) {
    if (role !== 'written' || chunks === undefined || chunks.length !== Math.ceil(size / CHUNK_BYTES)) continue;
    const candidates = [path.resolve(path.dirname(receiptFile), name), path.resolve(name)];
    const file = candidates.find((candidate) => files.includes(candidate));
    if (file === undefined) continue;
    const info = await stat(file);
    if (info.size === size && info.mtimeMs <= receiptTime) found.push([file, chunks]);
    else log.debug(`${file} is newer than ${receiptFile}, or of another size: its chunks are digested anew`);
  }
  return found;
}
