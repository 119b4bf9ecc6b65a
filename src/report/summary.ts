import type { Receipt } from '../receipt/index.ts';
import { headlineOf, skippedSteps } from './headline.ts';
import { markdownPage } from './markdown.ts';
import type { Page } from './page.ts';
import { modelName } from './sections/base.ts';
import { sectionOf } from './sections/index.ts';

/** The job summary of one action: GitHub Markdown with Mermaid charts, below 1 MiB. */
export function actionSummary(receipt: Receipt): string {
  return markdownPage(pageOf([receipt]));
}

/**
 * The job summary of several actions on one model, in the order given: the answer, both models side by side, a row per
 * step, then each action.
 * @param failures why the chain ended, a sentence each.
 */
export function pipelineSummary(receipts: readonly Receipt[], failures: readonly string[] = []): string {
  return markdownPage(pageOf(receipts, failures));
}

/** All that a page about these receipts says. */
export function pageOf(receipts: readonly Receipt[], failures: readonly string[] = []): Page {
  const sections = receipts.map(sectionOf);
  const headline = headlineOf(receipts, sections, failures);
  const told = new Set(sections.flatMap((section) => section.failures));
  // The headline goes on in small letters where a sentence begins.
  const says = headline?.text.toLowerCase() ?? '';
  return {
    title: pageTitle(receipts),
    ...(headline === undefined ? {} : { headline }),
    sections,
    skipped: skippedSteps(receipts, failures),
    failures: failures.filter((failure) => !told.has(failure) && !says.includes(failure.toLowerCase())),
  };
}

function pageTitle(receipts: readonly Receipt[]): string {
  const named = receipts.find(({ action }) => action === 'quantize') ?? receipts[0];
  if (named === undefined) return 'No receipts';
  const what = receipts.length > 1 ? 'Report' : sectionOf(named).title;
  const name = modelName(named);
  return name === '' ? what : `${what}: ${name}`;
}
