import { logLine } from '../receipt/index.ts';
import type { Table } from './page.ts';

/** A table for a terminal: columns aligned, a rule under the head. Width is counted as terminals draw it. */
export function terminalTable(table: Pick<Table, 'head' | 'rows' | 'numeric'>): string {
  const { head, numeric = [] } = table;
  // A cell is one line, whatever the name in it holds.
  const rows = table.rows.map((row) => row.map(logLine));
  const widths = head.map((title, column) =>
    Math.max(...[title, ...rows.map((row) => row[column] ?? '')].map(widthOf)),
  );
  const line = (cells: readonly string[]) =>
    widths
      .map((width, column) => {
        const cell = cells[column] ?? '';
        const space = ' '.repeat(width - widthOf(cell));
        return numeric.includes(column) ? space + cell : cell + space;
      })
      .join('  ')
      .trimEnd();
  return [line(head), widths.map((width) => '─'.repeat(width)).join('  '), ...rows.map(line)].join('\n');
}

/** Columns a text takes: two for emoji and East Asian wide letters, none for marks and selectors. */
function widthOf(text: string): number {
  let width = 0;
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    width +=
      /\p{Emoji_Presentation}|\ufe0f|[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60]/u.test(
        segment,
      )
        ? 2
        : 1;
  }
  return width;
}
