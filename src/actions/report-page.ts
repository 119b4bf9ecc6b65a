import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { loadEntry } from '../entry.ts';
import { makeFolder } from '../make-folder.ts';
import type { Receipt } from '../report/index.ts';

/** Writes `report.html`, one page about all receipts, into a folder. Nothing to write where there are none. */
export async function writeHtmlReport(folder: string, receipts: readonly Receipt[]): Promise<void> {
  if (receipts.length === 0) return;
  const { htmlReport } = await loadEntry<typeof import('../report/html-report.ts')>('html-report');
  makeFolder(folder);
  await writeFile(path.join(folder, 'report.html'), htmlReport(receipts));
}
