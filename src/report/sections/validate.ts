import type { Receipt } from '../../receipt/index.ts';
import { number, quantity } from '../format.ts';
import type { BarChart, GateRow, Section, Table } from '../page.ts';
import { baseSection } from './base.ts';
import { type Fields, fields, list, numberOf, numbers, sentences, textOf } from './read.ts';

export function validateSection(receipt: Receipt): Section {
  const results = fields(receipt.results);
  const { checks, windows, timings, provider, runtime, threads, samples, tuning } = results;
  const section = baseSection(receipt, 'Validate');
  for (const check of list(checks)) {
    section.gates.push(...checkRows(check));
    section.failures.push(...sentences(check.failures));
    section.notes.push(...sentences(check.findings));
  }
  // What leaves the verdict open stands where failures stand.
  if (receipt.verdict === 'inconclusive')
    section.failures.push(...list(checks).flatMap(({ open }) => sentences(list(open).map(({ sentence }) => sentence))));
  section.notes = [...new Set(section.notes)].filter((note) => !section.failures.includes(note));
  section.failures = [...new Set(section.failures)];
  const facts: [string, string][] = [
    [
      'provider',
      [textOf(fields(provider).got), textOf(fields(runtime).version)]
        .filter((part) => part !== '')
        .join(', onnxruntime-node '),
    ],
    ['threads', textOf(threads)],
    ['samples', textOf(fields(samples).count)],
    ['timed runs', numbers(fields(timings).runs).length > 0 ? String(numbers(fields(timings).runs).length) : ''],
  ];
  section.facts.push(...facts.filter(([, value]) => value !== ''));
  section.tables.push(...windowTables(list(windows)));
  const { best, now, gain, snippets } = fields(tuning);
  if (snippets !== undefined) {
    section.facts.push(['tuning', tuningFact(fields(now), fields(best), numberOf(gain))]);
    const { python, node } = fields(snippets);
    section.blocks.push({ title: 'Session options for Python', language: 'python', text: textOf(python) });
    section.blocks.push({ title: 'Session options for Node.js', language: 'js', text: textOf(node) });
  }
  section.charts.push(...latencyCharts(fields(timings), list(checks)), ...memoryChart(results, list(checks)));
  return section;
}

function tuningFact(now: Fields, best: Fields, gain: number | undefined): string {
  const p50 = (side: Fields) => quantity(numberOf(side.p50Ms), 'ms');
  if (gain === undefined || gain <= 1) return `nothing that was tried is faster than ${p50(now)}`;
  return `${quantity(gain, '×')} as fast with other session options: ${p50(best)} instead of ${p50(now)}`;
}

/** A row per figure, and one for the check itself where no figure's limit says its verdict. */
function checkRows({ name, status, figures }: Fields): GateRow[] {
  const rows = list(figures).map((figure): GateRow => {
    const unit = textOf(figure.unit).replace(/^x$/, '×');
    const [value, limit] = [numberOf(figure.value), numberOf(figure.limit)];
    const within = value !== undefined && limit !== undefined && value <= limit;
    return {
      name: textOf(figure.name),
      figure: quantity(value, unit),
      limit: limit === undefined ? '' : `≤ ${quantity(limit, unit)}`,
      verdict: limit === undefined ? 'info' : verdictOf(figure.verdict ?? (within ? 'pass' : 'fail')),
    };
  });
  const verdict = verdictOf(status);
  if (rows.some((row) => row.verdict === verdict && verdict !== 'info')) return rows;
  const label = textOf(name);
  const title = label.charAt(0).toUpperCase() + label.slice(1);
  return [{ name: title, figure: textOf(status) === 'skipped' ? 'skipped' : '', limit: '', verdict }, ...rows];
}

function verdictOf(value: unknown): GateRow['verdict'] {
  return value === 'pass' || value === 'fail' || value === 'inconclusive' ? value : 'info';
}

/** The windows of a measurement that noise made longer, so that none of them is hidden. */
function windowTables(windows: readonly Fields[]): Table[] {
  if (windows.length < 2) return [];
  const rows = windows.map(({ p50, p95, variation, chosen }, index) => [
    `${index + 1}${chosen === true ? ' (counts)' : ''}`,
    ...[p50, p95].map((each) => {
      const { value, low, high } = fields(each);
      return `${number(numberOf(value))} (${number(numberOf(low))} to ${number(numberOf(high))})`;
    }),
    quantity(100 * (numberOf(variation) ?? 0), '%'),
  ]);
  const head = ['window', 'P50, ms (95 %)', 'P95, ms (95 %)', 'varies by'];
  return [{ title: 'Windows of the timing: the calmest counts', head, rows, numeric: [1, 2, 3] }];
}

function latencyCharts(timings: Fields, checks: readonly Fields[]): Section['charts'] {
  const bars = (
    [
      ['first run', timings.firstMs],
      ['P50', timings.p50],
      ['P90', timings.p90],
      ['P95', timings.p95],
      ['P99', timings.p99],
    ] as const
  ).flatMap(([label, value]) => (numberOf(value) === undefined ? [] : [{ label, value: numberOf(value) as number }]));
  const limit = limitOf(checks, 'P50 latency');
  const runs = numbers(timings.runs);
  const charts: Section['charts'] = [];
  if (bars.length > 0) charts.push({ kind: 'bars', title: 'Latency after warm-up, ms', unit: 'ms', bars, limit });
  if (runs.length > 1) {
    charts.push({
      kind: 'runs',
      title: 'Each run, in order, ms',
      unit: 'ms',
      series: [{ name: 'run', values: runs }],
      limit,
    });
  }
  return charts;
}

function memoryChart(results: Fields, checks: readonly Fields[]): BarChart[] {
  const bars = (
    [
      ['size on disk', results.sizeMb],
      ['before the model', results.baselineMb],
      ['resident', results.memoryMb],
      ['peak', results.peakMemoryMb],
    ] as const
  ).flatMap(([label, value]) => (numberOf(value) === undefined ? [] : [{ label, value: numberOf(value) as number }]));
  if (bars.length < 2) return [];
  const limit = limitOf(checks, 'Resident memory');
  const title = limit === undefined ? 'Size and memory, MB' : 'Size and memory, MB; the limit is for resident memory';
  return [{ kind: 'bars', title, unit: 'MB', bars, limit }];
}

function limitOf(checks: readonly Fields[], name: string): number | undefined {
  const figure = checks.flatMap(({ figures }) => list(figures)).find((figure) => textOf(figure.name) === name);
  return numberOf(figure?.limit);
}
