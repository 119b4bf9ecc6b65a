import type { Receipt } from '../receipt/index.ts';
import { markdownPage } from './markdown.ts';
import { modelName } from './sections/base.ts';
import { sectionOf } from './sections/index.ts';

/** The job summary of one action: GitHub Markdown with Mermaid charts, below 1 MiB. */
export function actionSummary(receipt: Receipt): string {
  const section = sectionOf(receipt);
  return markdownPage(titleOf(section.title, receipt), [section]);
}

/** The job summary of several actions on one model, in the order given: all gates in one table, then each action. */
export function pipelineSummary(receipts: readonly Receipt[], title = pipelineTitle(receipts)): string {
  return markdownPage(title, receipts.map(sectionOf));
}

/** The title of a page about several receipts. */
export function pipelineTitle(receipts: readonly Receipt[]): string {
  const named = receipts.find(({ action }) => action === 'quantize') ?? receipts[0];
  return named === undefined ? 'No receipts' : titleOf(receipts.length > 1 ? 'Report' : sectionOf(named).title, named);
}

function titleOf(what: string, receipt: Receipt): string {
  const name = modelName(receipt);
  return name === '' ? what : `${what}: ${name}`;
}
