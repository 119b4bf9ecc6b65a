import { logLine, type Receipt } from '../receipt/index.ts';
import { sectionOf } from './sections/index.ts';
import { terminalTable } from './terminal.ts';

/** What a receipt says, for a terminal: figures against their limits, what was found, tables that are shown at once. */
export function terminalReport(receipt: Receipt): string {
  const { title, verdict, gates, facts, failures, notes, tables, sides } = sectionOf(receipt);
  const rows = gates.map(({ name, figure, limit, verdict: each }) => [
    name,
    figure,
    limit,
    each === 'info' ? '' : each,
  ]);
  const width = Math.max(0, ...facts.map(([label]) => label.length));
  const parts = [
    gates.length > 0 ? [terminalTable({ head: ['check', 'figure', 'limit', 'verdict'], rows, numeric: [1, 2] })] : [],
    facts.map(([label, value]) => `${label.padEnd(width)}  ${logLine(value)}`),
    [...failures, ...notes].map((sentence) => `- ${logLine(sentence)}`),
    ...[...(sides === undefined ? [] : [sides]), ...tables]
      .filter(({ open, rows: each }) => open && each.length > 0)
      .map((table) => [table.title, terminalTable(table)]),
  ];
  const filled = parts.filter((lines) => lines.length > 0).map((lines) => `\n${lines.join('\n')}\n`);
  return `${title}: ${verdict}\n${filled.join('')}\n`;
}
