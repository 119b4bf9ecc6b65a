import type { Receipt } from '../../receipt/index.ts';
import type { Chart, GateRow, Section, Table } from '../page.ts';
import { baseSection } from './base.ts';
import { type Fields, fields, list, numberOf, textOf } from './read.ts';

/** What a check of a config found, each with its line, and the memory that the config asks for. */
export function configCheckSection(receipt: Receipt): Section {
  const results = fields(receipt.results);
  const findings = list(results.findings);
  const { before, after } = fields(results.budget);
  const section = baseSection(receipt, 'Check config');
  const errors = findings.filter(({ severity }) => severity === 'error');
  const others = findings.filter((finding) => !errors.includes(finding));
  section.failures.push(...errors.map(sentenceOf));
  section.notes.push(...others.map((finding) => `${textOf(finding.severity)}: ${sentenceOf(finding)}`));
  section.gist = `${errors.length} ${errors.length === 1 ? 'error' : 'errors'}, ${others.length} other findings`;
  section.gates.push({ name: 'Errors', figure: `${errors.length}`, limit: '0', verdict: receipt.verdict });
  if (others.length > 0) {
    section.gates.push({ name: 'Other findings', figure: `${others.length}`, limit: '', verdict: 'info' });
  }
  if (after !== undefined) {
    const [old, now] = [fields(before), fields(after)];
    section.gates.push(...peakGate(now));
    section.charts.push(memoryChart(old, now));
    section.tables.push(budgetTable(old, now));
  }
  return section;
}

function sentenceOf({ place, message }: Fields): string {
  const { file, line } = fields(place);
  return `${textOf(file)}:${textOf(line) || 1}: ${textOf(message)}`;
}

function peakGate({ peakMb, limitMb }: Fields): GateRow[] {
  const [peak, limit] = [numberOf(peakMb), numberOf(limitMb)];
  if (peak === undefined) return [];
  const verdict = limit === undefined ? 'info' : peak <= limit ? 'pass' : 'fail';
  return [{ name: 'Memory at peak', figure: gb(peak), limit: limit === undefined ? '' : `≤ ${gb(limit)}`, verdict }];
}

function memoryChart(before: Fields, after: Fields): Chart {
  const limitMb = numberOf(after.limitMb);
  // The limit is of the peak.
  const limit = limitMb === undefined ? undefined : limitMb / 1000;
  const bars = [
    { label: 'base before', mb: before.baseMb },
    { label: 'base', mb: after.baseMb },
    { label: 'peak before', mb: before.peakMb, limit },
    { label: 'peak', mb: after.peakMb, limit },
  ].flatMap(({ mb, ...bar }) => (numberOf(mb) === undefined ? [] : [{ ...bar, value: (numberOf(mb) ?? 0) / 1000 }]));
  return { kind: 'bars', title: 'Memory of all models', unit: 'GB', bars };
}

/** Components before and after, the totals, the limit, what stays free of the host's memory. */
function budgetTable(before: Fields, after: Fields): Table {
  const known = Object.keys(before).length > 0;
  const old = new Map(list(before.components).map((component) => [component.name, component]));
  const cell = (component: Fields | undefined) =>
    component === undefined ? '–' : `${gb(component.mb)} (${textOf(component.source)})`;
  const host = numberOf(after.hostMb);
  const free = (mb: unknown) => {
    const used = numberOf(mb);
    return host === undefined || used === undefined ? '–' : `${Math.round((100 * (host - used)) / host)} %`;
  };
  const rows = list(after.components).map((component) => [
    textOf(component.name),
    textOf(component.when),
    cell(old.get(component.name)),
    cell(component),
  ]);
  rows.push(['Base', 'permanent', gb(before.baseMb), gb(after.baseMb)]);
  rows.push(['Peak', '+ largest on-demand', gb(before.peakMb), gb(after.peakMb)]);
  if (after.limitMb !== undefined) rows.push(['Limit', 'for all models', gb(before.limitMb), gb(after.limitMb)]);
  if (host !== undefined) {
    rows.push(['Free at base', `of ${gb(host)}`, free(before.baseMb), free(after.baseMb)]);
    rows.push(['Free at peak', `of ${gb(host)}`, free(before.peakMb), free(after.peakMb)]);
  }
  const shown = (row: string[]) => (known ? row : row.toSpliced(2, 1));
  return {
    title: 'Memory budget',
    head: ['component', 'when', ...(known ? ['before', 'after'] : ['memory'])],
    rows: rows.map(shown),
    numeric: known ? [2, 3] : [2],
    open: true,
  };
}

/** MB as GB of 10^9 bytes with one decimal. */
function gb(mb: unknown): string {
  const value = numberOf(mb);
  return value === undefined ? '–' : `${(value / 1000).toFixed(1)} GB`;
}
