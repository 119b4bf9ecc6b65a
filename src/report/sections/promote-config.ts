import { duration } from '../format.ts';
import type { Section } from '../page.ts';
import type { Receipt } from '../receipt.ts';
import { baseSection } from './base.ts';
import { fields, list, numberOf, textOf } from './read.ts';

const TITLES: Record<string, string> = { promote: 'Promote', rollback: 'Roll back', check: 'Check config' };

export function promoteSection(receipt: Receipt): Section {
  const { mode, keys, changes, changed, diff, commit, pullRequest, steps, rolledBack, forced } = fields(
    receipt.results,
  );
  const section = baseSection(receipt, TITLES[textOf(mode)] ?? 'Promote');
  const edits = list(keys ?? changes);
  if (typeof changed === 'boolean') {
    section.gates.push({ name: 'Config', figure: changed ? 'changed' : 'unchanged', limit: '', verdict: 'info' });
  }
  const facts: [string, string][] = [
    ...edits.map(({ key, from, to }): [string, string] => [
      textOf(key),
      `${textOf(from) || '–'} → ${textOf(to) || '–'}`,
    ]),
    ['rolled back', rolledBack === true ? 'yes' : ''],
    ['commit', textOf(commit)],
    ['pull request', textOf(pullRequest)],
  ];
  section.facts.push(...facts.filter(([, value]) => value !== ''));
  for (const reason of Array.isArray(forced) ? forced : []) section.notes.push(`Forced: ${textOf(reason)}`);
  if (textOf(diff) !== '') section.blocks.push({ title: 'Change of the config', language: 'diff', text: textOf(diff) });
  section.tables.push({
    title: 'Steps',
    head: ['step', 'took', 'outcome'],
    rows: list(steps).map((step) => [
      textOf(step.name ?? step.step),
      numberOf(step.ms) === undefined ? '' : duration(numberOf(step.ms) as number),
      textOf(step.outcome ?? step.detail ?? step.ok),
    ]),
    numeric: [1],
  });
  return section;
}
