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
  section.gist = gistOf(list(checks));
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

/** `5 checks passed, P50 17.5 ms` */
function gistOf(checks: readonly Fields[]): string {
  const count = (status: string) => checks.filter((check) => check.status === status).length;
  const parts = (
    [
      ['pass', 'passed'],
      ['fail', 'failed'],
      ['inconclusive', 'undecided'],
      ['skipped', 'skipped'],
    ] as const
  ).flatMap(([status, said]) => (count(status) > 0 ? [`${count(status)} ${said}`] : []));
  const p50 = numberOf(
    checks.flatMap(({ figures }) => list(figures)).find(({ name }) => name === 'P50 latency')?.value,
  );
  return [...parts, ...(p50 === undefined ? [] : [`P50 ${quantity(p50, 'ms')}`])].join(', ');
}

function tuningFact(now: Fields, best: Fields, gain: number | undefined): string {
  const p50 = (side: Fields) => quantity(numberOf(side.p50Ms), 'ms');
  if (gain === undefined || gain <= 1) return `nothing that was tried is faster than ${p50(now)}`;
  return `${quantity(gain, '×')} as fast with other session options: ${p50(best)} instead of ${p50(now)}`;
}

/** A row for the check with its verdict, and below it one per figure, in the order people know. */
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
  const rank = (row: GateRow) => {
    const at = ORDER.indexOf(row.name);
    return at < 0 ? ORDER.length : at;
  };
  const label = textOf(name);
  const title = label.charAt(0).toUpperCase() + label.slice(1);
  const said = { pass: 'passed', fail: 'failed', inconclusive: 'undecided', skipped: 'skipped' }[textOf(status)] ?? '';
  return [
    { name: title, figure: said, limit: '', verdict: verdictOf(status), group: true },
    ...rows.sort((a, b) => rank(a) - rank(b)),
  ];
}

const ORDER = [
  'Load time',
  'Resident after loading',
  'P50 latency',
  'P90 latency',
  'P95 latency',
  'P99 latency',
  'First run',
  'Runs',
  'Size on disk',
  'Resident memory',
  'Peak memory',
];

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
      ['P50', timings.p50, limitOf(checks, 'P50 latency')],
      ['P90', timings.p90, undefined],
      ['P95', timings.p95, limitOf(checks, 'P95 latency')],
      ['P99', timings.p99, undefined],
      ['first run', timings.firstMs, undefined],
    ] as const
  ).flatMap(([label, value, limit]) => {
    const figure = numberOf(value);
    return figure === undefined ? [] : [{ label, value: figure, limit }];
  });
  const runs = numbers(timings.runs);
  const charts: Section['charts'] = [];
  if (bars.length > 0) charts.push({ kind: 'bars', title: 'Latency after warm-up', unit: 'ms', bars });
  if (runs.length > 1) {
    charts.push({
      kind: 'runs',
      title: 'Each run, in order',
      unit: 'ms',
      series: [{ name: 'run', values: runs }],
    });
  }
  return charts;
}

function memoryChart(results: Fields, checks: readonly Fields[]): BarChart[] {
  const bars = (
    [
      ['size on disk', results.sizeMb, limitOf(checks, 'Size on disk')],
      ['before the model', results.baselineMb, undefined],
      ['resident', results.memoryMb, limitOf(checks, 'Resident memory')],
      ['peak', results.peakMemoryMb, limitOf(checks, 'Peak memory')],
    ] as const
  ).flatMap(([label, value, limit]) => {
    const figure = numberOf(value);
    return figure === undefined ? [] : [{ label, value: figure, limit }];
  });
  return bars.length < 2 ? [] : [{ kind: 'bars', title: 'Size and memory', unit: 'MB', bars }];
}

function limitOf(checks: readonly Fields[], name: string): number | undefined {
  const figure = checks.flatMap(({ figures }) => list(figures)).find((figure) => textOf(figure.name) === name);
  return numberOf(figure?.limit);
}
