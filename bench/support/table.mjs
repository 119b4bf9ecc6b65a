import { existsSync, readFileSync, writeFileSync } from 'node:fs';

/**
 * A group's row: `{ what, figure, limit?, met?, note?, values? }`. `figure` and `limit` are text for people, `met` is
 * absent where there is no limit, a skipped row has the figure `skipped` and says why in `note`.
 */
const HEADINGS = ['what', 'figure', 'must reach', '', 'note'];

const cells = ({ what, figure, limit = '', met, note = '' }) => [
  what,
  figure,
  limit,
  met === undefined ? '' : met ? 'met' : 'MISSED',
  note,
];

/** The tables for a terminal. */
export function terminal({ machine, groups }) {
  const parts = [
    Object.entries(machine)
      .map(([name, value]) => `${name}: ${value}`)
      .join('\n'),
  ];
  for (const { title, rows } of groups) {
    const lines = [HEADINGS, ...rows.map(cells)];
    const widths = HEADINGS.map((_, i) => Math.max(...lines.map((line) => line[i].length)));
    parts.push(
      [
        title,
        ...lines.map((line) =>
          line
            .map((cell, i) => cell.padEnd(widths[i]))
            .join('  ')
            .trimEnd(),
        ),
      ].join('\n'),
    );
  }
  return parts.join('\n\n');
}

/** A group as Markdown, with the machine it ran on. */
function markdown({ date, machine }, { title, rows }) {
  const row = (line) => `| ${line.map((cell) => String(cell).replaceAll('|', '\\|')).join(' | ')} |`;
  return [
    `## ${title}`,
    '',
    row(HEADINGS),
    row(HEADINGS.map(() => '---')),
    ...rows.map((each) => row(cells(each))),
    '',
    `Measured on ${date.slice(0, 10)}. ${Object.entries(machine)
      .map(([name, value]) => `${name}: ${value}`)
      .join('; ')}.`,
  ].join('\n');
}

/** Puts each group's table between its marks in a document; a group without marks gets them at the end. */
export function writeDocs(file, result) {
  for (const group of result.groups) putBetweenMarks(file, group.name, markdown(result, group));
}

/** Puts a text between the marks of `name` in a document, or at its end with marks. */
export function putBetweenMarks(file, name, content) {
  const text = existsSync(file) ? readFileSync(file, 'utf8') : '# Benchmarks\n';
  const [begin, end] = [`<!-- bench:${name}:begin -->`, `<!-- bench:${name}:end -->`];
  const block = `${begin}\n${content}\n${end}`;
  const [from, until] = [text.indexOf(begin), text.indexOf(end)];
  const written =
    from >= 0 && until > from ? text.slice(0, from) + block + text.slice(until + end.length) : `${text}\n${block}\n`;
  writeFileSync(file, written);
}
