import { escapeMarkdown, inlineCode, markdownTable } from '../report/index.ts';
import type { CheckedModel, Level, ModelCheck, Row } from './check.ts';

const SIGNS: Record<Level, string> = { pass: '✅', warn: '⚠️', inconclusive: '❔', fail: '❌' };
const WORDS: Record<Level, string> = { pass: 'pass', warn: 'warning', inconclusive: 'inconclusive', fail: 'fail' };
/** GitHub refuses a comment above 65,536 characters. */
const MAX_LENGTH = 60_000;

/** What a pull request does to its models, as GitHub Markdown for a comment. Names and sentences come out as text. */
export function modelCheckComment({ level, models, base, head, gates }: ModelCheck, baseRef: string): string {
  if (models.length === 0) return '## Model check\n\nNo ONNX model changes in this pull request.\n';
  const limits = gates
    ? `limits of ${inlineCode(gates)} on the base branch`
    : 'the default limits: the base branch has no `model-gates.yaml`';
  const commits = `${inlineCode(base.slice(0, 7))} (where it left ${inlineCode(baseRef.slice(0, 40))}) against ${inlineCode(head.slice(0, 7))}`;
  const way = level === 'fail' ? ' What is meant to change needs its limits there first.' : '';
  const foot = `<sub>${commits}, under ${limits}.${way} Times are of the runner that measured, both models side by side.</sub>`;
  const heading = `## ${SIGNS[level]} Model check: ${verdict(models)}`;
  return `${within([heading, ...models.map(section)], MAX_LENGTH - foot.length - 100)}\n\n${foot}\n`;
}

/** `1 of 3 models fails` */
function verdict(models: readonly CheckedModel[]): string {
  const count = (level: Level) => models.filter((model) => model.level === level).length;
  const all = `${models.length} ${models.length === 1 ? 'model' : 'models'}`;
  const parts = (['fail', 'inconclusive', 'warn'] as const).flatMap((level) =>
    count(level) > 0 ? [`${count(level)} ${WORDS[level]}`] : [],
  );
  return parts.length > 0 ? `${all}, ${parts.join(', ')}` : `${all}, all within the limits`;
}

function section({ path, from, kind, level, rows, failures, open, warnings }: CheckedModel): string {
  const moved = from === undefined ? '' : `, was ${inlineCode(from)}`;
  const what = { changed: moved, new: ': new', deleted: ': deleted', unchanged: `${moved}: same bytes` }[kind];
  const lines = [
    ...failures.map((text) => [SIGNS.fail, text]),
    ...open.map((text) => [SIGNS.inconclusive, text]),
    ...warnings.map((text) => [SIGNS.warn, text]),
  ].map(([sign = '', text = '']) => `- ${sign} ${escapeMarkdown(text)}`);
  const parts = [
    `### ${SIGNS[level]} ${inlineCode(path)}${what}`,
    lines.join('\n'),
    rows.length > 0 ? table(rows) : '',
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

function table(rows: readonly Row[]): string {
  return markdownTable({
    head: ['', 'base', 'head', 'Δ', 'limit', 'verdict'],
    rows: rows.map(({ name, base = '', head = '', delta = '', limit = '', level }) => [
      ...[name, base, head, delta, limit],
      level === undefined ? '' : `${SIGNS[level]} ${WORDS[level]}`,
    ]),
    numeric: [1, 2, 3],
  });
}

/** Whole sections as long as there is room, and how many are left out. */
function within(sections: readonly string[], limit: number): string {
  const shown: string[] = [];
  let length = 0;
  for (const text of sections) {
    length += text.length + 2;
    if (length > limit) break;
    shown.push(text);
  }
  const rest = sections.length - shown.length;
  return [...shown, ...(rest > 0 ? [`${rest} more in the job's log.`] : [])].join('\n\n');
}
