import type { Receipt } from '../receipt/index.ts';
import { htmlPage } from './html.ts';
import { pageOf } from './summary.ts';

export { htmlDescription } from './html.ts';
export { plotFile } from './plot.ts';

/**
 * A report for the artifact: one HTML file with plots, which needs no network and runs no script.
 * It is no part of the room's door, because the plotting library takes 40 MiB, and most who use the room draw nothing.
 * @param failures why the chain ended, a sentence each.
 */
export function htmlReport(receipts: readonly Receipt[], failures: readonly string[] = []): string {
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
    pageOf(receipts, failures),
    footer.filter(([, value]) => value !== ''),
  );
}
