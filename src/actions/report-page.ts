import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { entryPath } from '../entry.ts';
import type { Receipt } from '../report/index.ts';

/** Writes `report.html`, one page about all receipts, into a folder. Nothing to write where there are none. */
export async function writeHtmlReport(folder: string, receipts: readonly Receipt[]): Promise<void> {
  if (receipts.length === 0) return;
  const { href } = pathToFileURL(entryPath('html-report'));
  const { htmlReport }: typeof import('../report/html-report.ts') = await import(/* webpackIgnore: true */ href);
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, 'report.html'), htmlReport(receipts));
}
