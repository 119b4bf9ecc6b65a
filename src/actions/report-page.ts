import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { loadEntry } from '../entry.ts';
import { makeFolder } from '../make-folder.ts';
import { type Receipt, readReceipt } from '../receipt/index.ts';
import type { Action } from './host.ts';

/** Writes `report.html`, one page about all receipts, into a folder. Nothing to write where there are none. */
export async function writeHtmlReport(
  folder: string,
  receipts: readonly Receipt[],
  failures: readonly string[] = [],
): Promise<void> {
  if (receipts.length === 0) return;
  const { htmlReport } = await loadEntry<typeof import('../report/html-report.ts')>('html-report');
  makeFolder(folder);
  await writeFile(path.join(folder, 'report.html'), htmlReport(receipts, failures));
}

/** An action that, where a folder for reports was named, ends with a page about all that this folder tells of its model. */
export function withReportPage<A extends 'validate' | 'compare'>(action: Action<A>): Action<A> {
  return async (inputs, context) => {
    const result = await action(inputs, context);
    const { report }: { report?: string } = inputs;
    const written = result.outputs.report;
    if (report && typeof written === 'string') await writeHtmlReport(report, await receiptsBeside(written));
    return result;
  };
}

/** The receipts beside the one just written that are about the same bytes, it included, in the order of the chain. */
async function receiptsBeside(written: string): Promise<Receipt[]> {
  const { modelRoot } = await readReceipt(written);
  const receipts: Receipt[] = [];
  for (const action of ['quantize', 'validate', 'compare'] as const) {
    const file = written.replace(/\.\w+\.json$/, `.${action}.json`);
    // What is no receipt is not this action's to judge.
    const receipt = existsSync(file) ? await readReceipt(file).catch(() => undefined) : undefined;
    if (receipt?.modelRoot === modelRoot) receipts.push(receipt);
  }
  return receipts;
}
