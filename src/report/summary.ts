import { htmlPage } from './html.ts';
import { markdownPage } from './markdown.ts';
import type { Receipt } from './receipt.ts';
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

/** The same for the artifact: one HTML file with plots, which needs no network and runs no script. */
export function htmlReport(receipts: readonly Receipt[], title = pipelineTitle(receipts)): string {
  const [last] = receipts.slice(-1);
  const machine =
    receipts.map(({ environment }) => environment).find(({ ort }) => ort !== undefined) ?? last?.environment;
  const footer: [string, string][] = [
    ['made by', last === undefined ? '' : `${last.tool.name} ${last.tool.version}`],
    ['at', last?.createdAt ?? ''],
    ['on', machine === undefined ? '' : `${machine.cpu}, ${machine.cores} cores, ${machine.os}, Node ${machine.node}`],
    ['instruction sets', machine?.isa.join(', ') ?? ''],
    ['runtime', machine?.ort === undefined ? '' : `onnxruntime-node ${machine.ort}, ${machine.provider ?? ''}`],
    ['model root', last?.modelRoot ?? ''],
  ];
  return htmlPage(
    title,
    receipts.map(sectionOf),
    footer.filter(([, value]) => value !== ''),
  );
}

function pipelineTitle(receipts: readonly Receipt[]): string {
  const named = receipts.find(({ action }) => action === 'quantize') ?? receipts[0];
  return named === undefined ? 'No receipts' : titleOf(receipts.length > 1 ? 'Report' : sectionOf(named).title, named);
}

function titleOf(what: string, receipt: Receipt): string {
  const name = modelName(receipt);
  return name === '' ? what : `${what}: ${name}`;
}
