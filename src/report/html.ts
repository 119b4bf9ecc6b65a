import { type Description, type GateRow, isJudged, type Page, type Section, type Table } from './page.ts';
import { PLOT_STYLE, plotElement, plotTitle } from './plot.ts';

/** Rows of a table; the rest is in the receipt. */
const MAX_ROWS = 2000;

/**
 * The page as one HTML file that needs nothing else: no script, no network, plots as SVG, light and dark.
 * @param footer facts about where and by what it was made, as label and value.
 */
export function htmlPage(page: Page, footer: readonly [string, string][] = []): string {
  const { title, headline, sections, skipped, failures } = page;
  const sides = sections.findLast((section) => section.sides !== undefined)?.sides;
  const parts = [
    headline === undefined
      ? ''
      : `<p class="headline ${headline.verdict}">${SIGNS[headline.verdict]} ${escapeHtml(headline.text)}</p>`,
    sentences(failures, 'failure'),
    sides === undefined || sides.rows.length === 0 ? '' : table(sides),
    sections.length + skipped.length > 1 ? steps(page) : '',
    ...sections.map((section, index) => sectionHtml(section, `s${index + 1}`)),
  ];
  return document(title, parts, footer);
}

/** The same page about what has no verdict. */
export function htmlDescription(
  title: string,
  parts: readonly Description[],
  footer: readonly [string, string][],
): string {
  const empty = { gates: [], failures: [], blocks: [] };
  return document(
    title,
    parts.map((part, index) => sectionHtml({ ...part, ...empty }, `s${index + 1}`)),
    footer,
  );
}

function document(title: string, parts: readonly string[], footer: readonly (readonly [string, string])[]): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>${escapeHtml(title)}</title>
<style>${PLOT_STYLE}${PAGE_STYLE}</style>
</head>
<body>
<main>
<h1>${escapeHtml(title)}</h1>
${parts.join('\n')}
</main>
<footer>${definitions(footer)}</footer>
</body>
</html>
`;
}

function escapeHtml(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replace(/(?![\t\n\r])\p{Cc}/gu, '\ufffd').replace(/[&<>"']/g, (sign) => entities[sign] as string);
}

function steps({ sections, skipped }: Page): string {
  const rows = [
    ...sections.map(
      ({ title, gist, verdict }, index) =>
        `<tr><th scope="row"><a href="#s${index + 1}">${escapeHtml(title)}</a></th><td>${escapeHtml(gist)}</td><td>${badge(verdict)}</td></tr>`,
    ),
    ...skipped.map(
      ({ title, why }) => `<tr><th scope="row">${escapeHtml(title)}</th><td>${escapeHtml(why)}</td><td>–</td></tr>`,
    ),
  ];
  const head = ['step', 'what it came to', 'verdict'].map((text) => `<th scope="col">${text}</th>`).join('');
  return `<nav aria-label="Steps"><div class="scroll"><table><thead><tr>${head}</tr></thead><tbody>${rows.join('')}</tbody></table></div></nav>`;
}

function sectionHtml(
  section: Omit<Section, 'action' | 'verdict' | 'gist' | 'sides'> & { verdict?: Section['verdict'] },
  id: string,
): string {
  const plots = section.charts.flatMap((chart, index) => {
    const svg = plotElement(chart, `${id}p${index + 1}`);
    return svg === undefined ? [] : [`<figure><figcaption>${escapeHtml(plotTitle(chart))}</figcaption>${svg}</figure>`];
  });
  return `<section id="${id}">
<h2>${escapeHtml(section.title)} ${section.verdict ? badge(section.verdict) : ''}</h2>
${sentences(section.failures, section.verdict === 'inconclusive' ? 'note' : 'failure')}
${gateTable(section.gates)}
${definitions(section.facts)}
${sentences(section.notes, 'note')}
${plots.length > 0 ? `<div class="plots">${plots.join('\n')}</div>` : ''}
${section.blocks.map(({ title, language, text }) => `<h3>${escapeHtml(title)}</h3>\n${block(text, language)}`).join('\n')}
${section.tables.map(tableHtml).join('\n')}
</section>`;
}

function gateTable(gates: readonly GateRow[]): string {
  if (gates.length === 0) return '';
  const judged = isJudged(gates);
  const rows = gates.map(({ name, figure, limit, verdict, group }) => {
    const against = `<td class="number">${escapeHtml(limit)}</td><td>${verdict === 'info' ? '' : badge(verdict)}</td>`;
    return `<tr${group ? ' class="group"' : ''}><th scope="row">${escapeHtml(name)}</th><td class="number">${escapeHtml(figure)}</td>${judged ? against : ''}</tr>`;
  });
  return `<div class="scroll"><table><thead><tr><th scope="col">check</th><th scope="col" class="number">figure</th>${judged ? '<th scope="col" class="number">limit</th><th scope="col">verdict</th>' : ''}</tr></thead><tbody>${rows.join('')}</tbody></table></div>`;
}

function tableHtml(given: Table): string {
  const { title, rows, open } = given;
  if (rows.length === 0) return '';
  if (open) return `<h3>${escapeHtml(title)}</h3>${table(given)}`;
  return `<details><summary>${escapeHtml(title)} (${rows.length})</summary>${table(given)}</details>`;
}

function table({ head, rows, numeric = [], code = [] }: Table): string {
  const style = (column: number) => (numeric.includes(column) ? ' class="number"' : '');
  const cell = (text: string, column: number) =>
    `<td${style(column)}>${code.includes(column) ? `<code>${escapeHtml(text)}</code>` : escapeHtml(text)}</td>`;
  const shown = rows.slice(0, MAX_ROWS).map((row) => `<tr>${row.map(cell).join('')}</tr>`);
  const header = head.map((text, column) => `<th scope="col"${style(column)}>${escapeHtml(text)}</th>`).join('');
  const rest = rows.length > MAX_ROWS ? `<p>${rows.length - MAX_ROWS} more in the receipt.</p>` : '';
  return `<div class="scroll"><table><thead><tr>${header}</tr></thead><tbody>${shown.join('')}</tbody></table></div>${rest}`;
}

function definitions(facts: readonly (readonly [string, string])[]): string {
  if (facts.length === 0) return '';
  return `<dl>${facts.map(([label, value]) => `<div><dt>${escapeHtml(label)}</dt><dd>${escapeHtml(value)}</dd></div>`).join('')}</dl>`;
}

function sentences(list: readonly string[], kind: 'failure' | 'note'): string {
  return list.map((sentence) => `<p class="${kind}">${escapeHtml(sentence)}</p>`).join('\n');
}

function block(text: string, language: string): string {
  if (language !== 'diff') return `<pre>${escapeHtml(text)}</pre>`;
  const lines = text.split('\n').map((line) => {
    const kind = /^(\+\+\+|---|@@)/.test(line)
      ? 'mark'
      : line.startsWith('+')
        ? 'ins'
        : line.startsWith('-')
          ? 'del'
          : 'span';
    return kind === 'mark' ? `<span class="meta">${escapeHtml(line)}</span>` : `<${kind}>${escapeHtml(line)}</${kind}>`;
  });
  return `<pre>${lines.join('\n')}</pre>`;
}

function badge(verdict: Section['verdict']): string {
  return `<span class="badge ${verdict}">${SIGNS[verdict]} ${verdict}</span>`;
}

/** Letters and no emoji, which not every machine can draw. */
const SIGNS: Record<Section['verdict'], string> = { pass: '✓', fail: '✗', inconclusive: '?' };

const PAGE_STYLE = `
  :root { --ground: #ffffff; --card: #f6f8fa; --pass: #1a7f37; --fail: #cf222e; --open: #9a6700; --add: #dafbe1; --remove: #ffebe9; }
  @media (prefers-color-scheme: dark) {
    :root { --ground: #0d1117; --card: #151b23; --pass: #3fb950; --fail: #f85149; --open: #d29922; --add: #12261e; --remove: #301b1e; }
  }
  * { box-sizing: border-box; }
  body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
  main, footer { max-width: 60rem; margin: 0 auto; padding: 1rem; }
  footer { color: var(--muted); font-size: 0.875rem; border-top: 1px solid var(--grid); }
  h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; border-top: 1px solid var(--grid); padding-top: 1.2rem; } h3 { font-size: 1rem; }
  a { color: var(--series-1); }
  .headline { font-size: 1.1rem; font-weight: 600; margin: 0.5rem 0 1rem; overflow-wrap: anywhere; } h1, h2 { overflow-wrap: anywhere; }
  .badge { display: inline-block; font-size: 0.8rem; font-weight: 600; padding: 0 0.5em; border: 1px solid currentColor; border-radius: 1em; white-space: nowrap; vertical-align: middle; }
  .pass { color: var(--pass); } .fail { color: var(--fail); } .inconclusive { color: var(--open); }
  .scroll { overflow-x: auto; }
  table { border-collapse: collapse; margin: 0.75rem 0; }
  th, td { text-align: left; padding: 0.3rem 0.9rem 0.3rem 0; border-bottom: 1px solid var(--grid); font-weight: 400; vertical-align: top; }
  thead th { color: var(--muted); font-size: 0.875rem; }
  .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
  @media (max-width: 30rem) { th, td { padding-right: 0.5rem; font-size: 0.875rem; } .badge { font-size: 0.7rem; } }
  code, pre { font: 0.85rem/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
  pre { background: var(--card); padding: 0.75rem; overflow-x: auto; border-radius: 6px; overflow-wrap: normal; }
  pre ins { background: var(--add); text-decoration: none; } pre del { background: var(--remove); text-decoration: none; } .meta { color: var(--muted); }
  dl { display: flex; flex-wrap: wrap; gap: 0.4rem 2rem; margin: 0.75rem 0; }
  dt { color: var(--muted); font-size: 0.875rem; } dd { margin: 0; overflow-wrap: anywhere; }
  .failure, .note { border-left: 4px solid var(--fail); background: var(--card); padding: 0.5rem 0.75rem; margin: 0.5rem 0; overflow-wrap: anywhere; }
  .note { border-color: var(--open); }
  .group th { font-weight: 600; } .group td { color: var(--muted); }
  .plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 0.5rem 2rem; align-items: start; }
  .plots figure:first-child:nth-last-child(odd) { grid-column: 1 / -1; }
  figure { margin: 1rem 0; min-width: 0; } figcaption { font-weight: 600; margin-bottom: 0.25rem; }
  svg { width: 100%; max-width: 27rem; height: auto; }
  details { margin: 0.5rem 0; } summary { cursor: pointer; }
  @media print { details { display: block; } }
`;
