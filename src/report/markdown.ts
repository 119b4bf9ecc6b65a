import { shorten, VERDICT_SIGN } from './format.ts';
import { mermaid } from './mermaid.ts';
import type { Block, GateRow, Section, Table } from './page.ts';

/** GitHub refuses a step's summary above 1 MiB; a little is left for what others add. */
export const SUMMARY_BYTES = 2 ** 20 - 16 * 1024;
/** Rows of a folded table; the rest is in the receipt. */
const MAX_ROWS = 200;
const MAX_CELL = 200;
const MAX_LINES = 60;

/**
 * The sections as GitHub Markdown: an overview of all gates, then each section with its charts (Mermaid) and folded
 * tables. What would pass `limit` bytes is left out, longest details first, and said.
 */
export function markdownPage(title: string, sections: readonly Section[], limit = SUMMARY_BYTES): string {
  const full = render(title, sections, true);
  if (byteLength(full) <= limit) return full;
  const note = '\n> Details are left out here, since GitHub ends a summary at 1 MiB; the receipts have them.\n';
  const short = render(title, sections, false) + note;
  if (byteLength(short) <= limit) return short;
  return `${cutLines(short, limit - byteLength(note))}${note}`;
}

/** A table in GitHub Markdown. Cells are plain text and come out as such. */
export function markdownTable({ head, rows, numeric = [], code = [] }: Omit<Table, 'title'>): string {
  const cells = (row: readonly string[]) =>
    `| ${row.map((cell, column) => (code.includes(column) ? inlineCode(cell) : escapeMarkdown(shorten(cell, MAX_CELL)))).join(' | ')} |`;
  const rule = `|${head.map((_, column) => (numeric.includes(column) ? '---:' : '---')).join('|')}|`;
  const shown = rows.slice(0, MAX_ROWS).map(cells);
  const rest = rows.length - shown.length;
  const header = `| ${head.map(escapeMarkdown).join(' | ')} |`;
  const more = rest > 0 ? [`\n${rest} more in the receipt.`] : [];
  return [header, rule, ...shown, ...more].join('\n');
}

/** Plain text as Markdown that shows just that text, on one line, in a table too. */
export function escapeMarkdown(text: string): string {
  return clean(text)
    .replace(/&/g, '&amp;')
    .replace(/</g, '&lt;')
    .replace(/>/g, '&gt;')
    .replace(/[\\`*_[\]{}()#+!|~$]/g, '\\$&')
    .replace(/^(\s*)([-=])/, '$1\\$2')
    .replace(/^(\s*\d+)([.)])(\s|$)/, '$1\\$2$3')
    .replace(/\b(https?|ftp):/gi, '$1&#58;')
    .replace(/\bwww\./gi, 'www&#46;')
    .replace(/@/g, '&#64;');
}

/** Text as inline code, in a table too. */
export function inlineCode(text: string): string {
  const inside = clean(shorten(text, MAX_CELL)).replaceAll('|', '\\|');
  if (inside.trim() === '') return '';
  const longest = Math.max(0, ...(inside.match(/`+/g) ?? []).map((run) => run.length));
  const fence = '`'.repeat(longest + 1);
  const space = longest > 0 || inside.startsWith(' ') ? ' ' : '';
  return `${fence}${space}${inside}${space}${fence}`;
}

/** Text as a fenced block. */
export function codeBlock(text: string, language: string): string {
  const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map((run) => run.length));
  const fence = '`'.repeat(longest + 1);
  return `${fence}${language}\n${text.replace(/\n+$/, '').split('\n').map(clean).join('\n')}\n${fence}`;
}

function render(title: string, sections: readonly Section[], details: boolean): string {
  const parts = [`## ${escapeMarkdown(title)}`];
  if (sections.length > 1) parts.push(overview(sections));
  for (const section of sections) parts.push(...sectionParts(section, sections.length > 1, details));
  return `${parts.filter((part) => part !== '').join('\n\n')}\n`;
}

function overview(sections: readonly Section[]): string {
  const rows = sections.flatMap((section): string[][] => {
    const gated = section.gates.filter(({ verdict }) => verdict !== 'info');
    if (gated.length === 0) {
      const { name = '', figure = '' } = section.gates[0] ?? {};
      return [[section.title, name, figure, '', VERDICT_SIGN[section.verdict]]];
    }
    return gated.map((gate, index) => [index === 0 ? section.title : '', ...gateCells(gate)]);
  });
  return markdownTable({ head: ['step', 'check', 'figure', 'limit', 'verdict'], rows, numeric: [2, 3] });
}

function sectionParts(section: Section, nested: boolean, details: boolean): string[] {
  const heading = `${nested ? '### ' : ''}${nested ? escapeMarkdown(section.title) : '**Verdict:**'} ${VERDICT_SIGN[section.verdict]}`;
  const gates = section.gates.length > 0 ? gateTable(section.gates) : '';
  const facts = section.facts
    .map(([label, value]) => `- ${escapeMarkdown(label)}: ${escapeMarkdown(value)}`)
    .join('\n');
  const charts = section.charts.map((chart) => mermaid(chart)).filter((chart) => chart !== undefined);
  return [
    heading,
    quoted(section.verdict === 'inconclusive' ? '⚠️' : '❌', section.failures),
    gates,
    facts,
    quoted('ℹ️', section.notes),
    ...charts.map((chart) => codeBlock(chart, 'mermaid')),
    ...(details ? [...section.blocks.map(block), ...section.tables.map(titled)] : []),
  ];
}

function quoted(sign: string, sentences: readonly string[]): string {
  const lines = sentences.slice(0, MAX_LINES).map((text) => `> ${sign} ${escapeMarkdown(shorten(text, 1000))}`);
  const rest = sentences.length - MAX_LINES;
  return [...lines, ...(rest > 0 ? [`> ${rest} more in the receipt.`] : [])].join('\n>\n');
}

function gateTable(gates: readonly GateRow[]): string {
  return markdownTable({ head: ['check', 'figure', 'limit', 'verdict'], rows: gates.map(gateCells), numeric: [1, 2] });
}

function gateCells({ name, figure, limit, verdict }: GateRow): string[] {
  return [name, figure, limit, VERDICT_SIGN[verdict]];
}

function block({ title, language, text }: Block): string {
  return `**${escapeMarkdown(title)}**\n\n${codeBlock(text.split('\n').slice(0, MAX_ROWS).join('\n'), language)}`;
}

function titled(table: Table): string {
  if (table.rows.length === 0) return '';
  if (table.open) return `**${escapeMarkdown(table.title)}**\n\n${markdownTable(table)}`;
  const count = `${table.rows.length} ${table.rows.length === 1 ? 'row' : 'rows'}`;
  return `<details><summary>${escapeMarkdown(table.title)} (${count})</summary>\n\n${markdownTable(table)}\n\n</details>`;
}

/** One line without control characters. */
function clean(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]+/gu, ' ');
}

function cutLines(text: string, limit: number): string {
  const lines: string[] = [];
  let length = 0;
  let fenced = false;
  for (const line of text.split('\n')) {
    length += byteLength(line) + 1;
    if (length > limit - 16) break;
    lines.push(line);
    if (line.startsWith('```')) fenced = !fenced;
  }
  if (fenced) lines.push('```');
  return `${lines.join('\n')}\n`;
}

function byteLength(text: string): number {
  return Buffer.byteLength(text);
}
