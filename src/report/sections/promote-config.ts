import type { Receipt } from '../../receipt/index.ts';
import { duration } from '../format.ts';
import type { Section } from '../page.ts';
import { baseSection } from './base.ts';
import { fields, list, numberOf, sentences, textOf } from './read.ts';

export function promoteSection(receipt: Receipt): Section {
  const { changed, config, diff, edits, steps, commit, pullRequest, history } = fields(receipt.results);
  const section = baseSection(receipt, receipt.inputs.mode === 'rollback' ? 'Roll back' : 'Promote');
  if (typeof changed === 'boolean') {
    section.gates.push({ name: 'Config', figure: changed ? 'changed' : 'unchanged', limit: '', verdict: 'info' });
  }
  for (const { name, phase, ok, ms } of list(steps)) {
    const back = phase === 'revert' ? ' (on the way back)' : '';
    const figure = numberOf(ms) === undefined ? '' : duration(numberOf(ms) ?? 0);
    section.gates.push({
      name: `${capital(textOf(name))}${back}`,
      figure,
      limit: '',
      verdict: ok === true ? 'pass' : 'fail',
    });
  }
  const undone = list(steps).some(({ phase }) => phase === 'revert');
  const [edit] = list(edits);
  section.gist = [
    typeof changed === 'boolean' ? `config ${changed ? 'changed' : 'unchanged'}` : '',
    edit === undefined ? '' : `${textOf(edit.path)}: ${textOf(edit.after)}`,
    undone ? 'taken back' : '',
  ]
    .filter((part) => part !== '')
    .join(', ');
  const facts: [string, string][] = [
    ['config', textOf(config)],
    ...list(edits).map(({ path, before, after }): [string, string] => [
      textOf(path),
      `${textOf(before) || '–'} → ${textOf(after) || '–'}`,
    ]),
    ['by', textOf(fields(history).who)],
    ['commit', textOf(commit)],
    ['pull request', textOf(pullRequest)],
  ];
  section.facts.push(...facts.filter(([, value]) => value !== ''));
  section.notes.push(...sentences(fields(history).forced).map((reason) => `Forced: ${reason}`));
  if (textOf(diff) !== '') section.blocks.push({ title: 'Change of the config', language: 'diff', text: textOf(diff) });
  section.tables.push({
    title: 'What the commands and the service said',
    head: ['step', 'said'],
    rows: list(steps).map(({ name, detail }) => [textOf(name), textOf(detail)]),
    code: [1],
  });
  return section;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
