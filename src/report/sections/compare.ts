import { bytes } from '../../bytes.ts';
import type { Receipt } from '../../receipt/index.ts';
import { duration, number, quantile, quantity, share } from '../format.ts';
import type { Chart, GateRow, Section, StripChart, Table } from '../page.ts';
import { baseSection, type ModelNames, modelNames } from './base.ts';
import { type Fields, fields, list, numberOf, numbers, sentences, textOf } from './read.ts';

export function compareSection(receipt: Receipt): Section {
  const results = fields(receipt.results);
  const { gates, outputs, reference, model, speed, samples, worstSample, diagnosis, seconds } = results;
  const section = baseSection(receipt, 'Compare');
  const names = modelNames(receipt);
  section.sides = sides(fields(reference), fields(model), fields(speed), names);
  const held = list(gates).map(gateRow);
  section.gates = [...held, ...ungated(results, held)];
  section.gist = (held.length > 0 ? held : section.gates.slice(0, 1))
    .map(({ name, figure, limit }) => `${name} ${figure}${limit === '' ? '' : ` (${limit})`}`)
    .join(', ');
  section.failures.push(
    ...list(gates).flatMap(({ verdict, sentence }) => (verdict === 'pass' ? [] : sentences([sentence]))),
  );
  section.failures = [...new Set(section.failures)];
  section.notes.push(
    ...sentences(results.regressions),
    ...sentences(fields(samples).notes),
    ...sentences(fields(diagnosis).notes),
  );
  const worst = fields(worstSample);
  const facts: [string, string][] = [
    ['samples', textOf(fields(samples).count)],
    [
      'worst sample',
      worst.name === undefined
        ? ''
        : `${textOf(worst.name)} (output ${textOf(worst.output)}, cosine ${share(numberOf(worst.cosine))})`,
    ],
    ['layers ranked on', samplesOf(numberOf(fields(diagnosis).samples))],
    [
      'took',
      numberOf(fields(seconds).total) === undefined ? '' : duration((numberOf(fields(seconds).total) ?? 0) * 1000),
    ],
  ];
  section.facts.push(...facts.filter(([, value]) => value !== ''));
  section.charts.push(
    ...similarityStrip(list(outputs), list(gates), numberOf(fields(samples).count) ?? 0),
    ...channelStrip(list(outputs)),
    ...speedStrip(fields(speed), list(gates)),
    ...pairChart(fields(speed), names),
    ...layerCharts(fields(diagnosis)),
    ...trendCharts(list(results.history), list(gates)),
  );
  section.tables.push(outputTable(list(outputs)), ...channelTables(list(outputs)), ...layerTables(fields(diagnosis)));
  const exclude = sentences(fields(diagnosis).excludeNodes);
  if (exclude.length > 0) {
    const text = ['exclude-nodes: |', ...exclude.map((name) => `  ${name}`)].join('\n');
    section.blocks.push({ title: 'To try next in quantize', language: 'yaml', text });
  }
  return section;
}

function samplesOf(count: number | undefined): string {
  return count === undefined ? '' : `${count} ${count === 1 ? 'sample' : 'samples'}, by the median`;
}

const LOWER_IS_BETTER = new Set(['mse', 'mae', 'finite', 'exact']);

function gateRow({ name, figure, limit, source, verdict }: Fields): GateRow {
  const title = textOf(name);
  const origin = source === 'input' || source === 'rule' || source === undefined ? '' : ` (${textOf(source)})`;
  return {
    name: LABELS[title] ?? title,
    figure: show(title, numberOf(figure)),
    limit: `${LOWER_IS_BETTER.has(title) ? '≤' : '≥'} ${show(title, numberOf(limit))}${origin}`,
    verdict: verdict === 'pass' || verdict === 'fail' || verdict === 'inconclusive' ? verdict : 'info',
  };
}

const LABELS: Record<string, string> = {
  similarity: 'Cosine similarity',
  channelSimilarity: 'Channel similarity',
  agreement: 'Top-1 agreement',
  mse: 'Mean squared error',
  mae: 'Mean absolute error',
  maxAbs: 'Largest error',
  sqnrDb: 'Signal to noise',
  metric: 'Own metric',
  speedup: 'Speed-up, paired',
  finite: 'Values that are not finite',
  exact: 'Unequal elements',
};

function show(name: string, value: number | undefined): string {
  if (name === 'similarity' || name === 'channelSimilarity' || name === 'agreement') return share(value);
  return quantity(value, name === 'speedup' ? '×' : name === 'sqnrDb' ? 'dB' : '');
}

/** Figures that no limit was set for. */
function ungated(results: Fields, gated: readonly GateRow[]): GateRow[] {
  const figures: Record<string, unknown> = {
    ...results,
    metric: fields(results.metric).value,
    speedup: fields(results.speed).speedup,
  };
  return Object.entries(LABELS).flatMap(([key, name]): GateRow[] => {
    const value = numberOf(figures[key]);
    if (value === undefined || gated.some((gate) => gate.name === name)) return [];
    return [{ name, figure: show(key, value), limit: '', verdict: 'info' }];
  });
}

/** Each output: every sample, and their mean. Of receipts that do not know each sample, the range down to the worst. */
function similarityStrip(outputs: readonly Fields[], gates: readonly Fields[], count: number): StripChart[] {
  const limit = numberOf(gates.find(({ name }) => name === 'similarity')?.limit);
  const rows = outputs
    .flatMap(({ name, similarity, worst, cosines }) => {
      const value = numberOf(similarity);
      if (value === undefined) return [];
      const lowest = numberOf(fields(worst).cosine);
      const known = numbers(cosines);
      // The worst one is shown, wherever it stands.
      const points = known.length === 0 || lowest === undefined ? known : [...known, lowest];
      return [{ label: textOf(name), value, low: lowest, limit, points }];
    })
    .sort((a, b) => a.value - b.value);
  if (rows.length === 0) return [];
  const shown = Math.min(...outputs.map(({ cosines }) => numbers(cosines).length));
  const some = shown < count ? `, the first ${shown} of ${count} and the worst` : '';
  const title =
    shown === 0
      ? 'Similarity of each output: mean, and down to its worst sample'
      : `Similarity of each output: the mean, and a dot for each sample${some}`;
  return [{ kind: 'strip', title, unit: 'cosine', rows, ideal: 1 }];
}

/** The channels that differ most, worst first. The limit is of their mean, so none is drawn here. */
function channelStrip(outputs: readonly Fields[]): StripChart[] {
  const several = outputs.length > 1;
  const rows = outputs
    .flatMap(({ name, channels }) =>
      list(channels).flatMap(({ axis, worst }) =>
        list(worst).flatMap(({ index, cosine }) => {
          const value = numberOf(cosine);
          return value === undefined
            ? []
            : [{ label: `${several ? `${textOf(name)}, ` : ''}axis ${textOf(axis)}, ${textOf(index)}`, value }];
        }),
      ),
    )
    .sort((a, b) => a.value - b.value);
  if (rows.length === 0 || (rows[0]?.value ?? 1) >= ALIKE) return [];
  return [
    { kind: 'strip', title: 'Channels, the least alike first', unit: 'cosine', rows: rows.slice(0, 10), ideal: 1 },
  ];
}

/** The speed-up with its 95 % interval against the limit. */
function speedStrip({ speedup, interval }: Fields, gates: readonly Fields[]): StripChart[] {
  const [value, low, high] = [numberOf(speedup), numberOf(fields(interval).low), numberOf(fields(interval).high)];
  if (value === undefined || low === undefined || high === undefined) return [];
  const limit = numberOf(gates.find(({ name }) => name === 'speedup')?.limit);
  const row = { label: 'speed-up', value, low, high, limit };
  const title = 'Speed-up over pairs, with its 95 % interval';
  return [{ kind: 'strip', title, unit: '×', rows: [row], mark: { value: 1, label: 'as fast' } }];
}

function pairChart({ referenceMs, modelMs }: Fields, names: ModelNames): Chart[] {
  const series = [
    { name: names.source, values: numbers(referenceMs) },
    { name: names.model, values: numbers(modelMs) },
  ];
  if (series.some(({ values }) => values.length < 2)) return [];
  return [{ kind: 'runs', title: 'Each timed run, in order', unit: 'ms', series }];
}

interface LayerRow {
  name: string;
  operators: string;
  error: number;
  worst: number | undefined;
  sqnrDb: number | undefined;
  channels: number | undefined;
  changed: boolean;
}

/** The layers as the diagnosis ranks them, worst first. A layer of several nodes goes by the first. */
function layers(diagnosis: Fields): LayerRow[] {
  return list(diagnosis.layers).flatMap(
    ({ nodes, operators, relativeError, worstError, sqnrDb, channelSimilarity, changed }) => {
      const [error, [name]] = [numberOf(relativeError), sentences(nodes)];
      if (error === undefined || name === undefined) return [];
      const rest = sentences(nodes).length - 1;
      return [
        {
          name: rest > 0 ? `${name} (+ ${rest})` : name,
          operators: sentences(operators).join(', '),
          error,
          worst: numberOf(worstError),
          sqnrDb: numberOf(sqnrDb),
          channels: numberOf(channelSimilarity),
          changed: changed === true,
        },
      ];
    },
  );
}

function layerCharts(diagnosis: Fields): Chart[] {
  const byChannels = diagnosis.rankedBy === 'channels';
  const bars = layers(diagnosis).map(({ name, error, channels }) => ({
    label: name,
    value: byChannels ? 1 - (channels ?? 1) : error,
  }));
  if (bars.length === 0) return [];
  const title = byChannels
    ? '1 − channel similarity of what each layer makes'
    : 'Error that each layer introduces, relative to its output';
  return [{ kind: 'bars', title, unit: '', bars }];
}

function layerTables(diagnosis: Fields): Table[] {
  const byChannels = diagnosis.rankedBy === 'channels';
  const rows = layers(diagnosis).map(({ name, operators, error, worst, sqnrDb, channels, changed }) => [
    name,
    operators,
    ...(byChannels ? [share(channels)] : []),
    number(error),
    number(worst),
    quantity(sqnrDb, 'dB'),
    changed ? 'yes' : 'no',
  ]);
  if (rows.length === 0) return [];
  const figures = [...(byChannels ? ['channel similarity'] : []), ...['relative error', 'on its worst sample', 'SQNR']];
  const head = ['layer', 'operators', ...figures, 'quantized'];
  const title = byChannels ? 'Layers by what they do to channels' : 'Layers by the error they introduce';
  return [{ title, head, rows, numeric: figures.map((_, index) => index + 2), code: [0] }];
}

function trendCharts(history: readonly Fields[], gates: readonly Fields[]): Chart[] {
  return (['similarity', 'speedup'] as const).flatMap((name): Chart[] => {
    const measured = history.flatMap(({ createdAt, figures }) => {
      const value = numberOf(fields(figures)[name]);
      return value === undefined ? [] : [{ at: textOf(createdAt), value }];
    });
    if (measured.length < 2) return [];
    const labels = timeLabels(measured.map(({ at }) => at));
    const points = measured.map(({ value }, index) => ({ label: labels[index]!, value }));
    const limit = numberOf(gates.find((gate) => gate.name === name && gate.source === 'input')?.limit);
    const unit = name === 'speedup' ? '×' : '';
    return [{ kind: 'trend', title: `${LABELS[name]} over past runs`, unit, points, limit }];
  });
}

/** Days, or as much of the time as tells the runs apart: what has the same label is one point to Mermaid. */
function timeLabels(times: readonly string[]): string[] {
  for (const length of [10, 16, 19]) {
    const labels = times.map((time) => time.slice(0, length).replace('T', ' '));
    if (new Set(labels).size === labels.length) return labels;
  }
  return times.map((time, index) => `${time.slice(0, 10)} run ${index + 1}`);
}

/** One row per figure that both models have: what it was, what it is, and by how much it changed. */
function sides(reference: Fields, model: Fields, { referenceMs, modelMs }: Fields, names: ModelNames): Table {
  const p95 = (runs: unknown) => (numbers(runs).length < 20 ? undefined : quantile(numbers(runs), 0.95));
  const ms = (value: number) => quantity(value, 'ms');
  const row = (label: string, was: unknown, is: unknown, format: (value: number) => string): string[][] => {
    const [before, after] = [numberOf(was), numberOf(is)];
    if (before === undefined || after === undefined) return [];
    return [[label, format(before), format(after), change(before, after)]];
  };
  return {
    title: 'Side by side',
    head: ['', names.source, names.model, 'Δ'],
    rows: [
      ...row('size on disk', reference.size, model.size, bytes),
      ...row('P50 latency', reference.p50Ms, model.p50Ms, ms),
      ...row('P95 latency', p95(referenceMs), p95(modelMs), ms),
      ...row('load', reference.loadMs, model.loadMs, ms),
      ...row('resident memory', reference.residentBytes, model.residentBytes, bytes),
      ...row('peak memory', reference.peakBytes, model.peakBytes, bytes),
    ],
    numeric: [1, 2, 3],
    open: true,
  };
}

/** `−74.8 %`; none where there was nothing. */
function change(before: number, after: number): string {
  if (before === 0) return '–';
  const percent = (100 * (after - before)) / before;
  return `${percent < 0 ? '−' : '+'}${Math.abs(percent).toFixed(1)} %`;
}

/** The lowest channels of every axis, where one is far from its reference. */
function channelTables(outputs: readonly Fields[]): Table[] {
  const rows = outputs.flatMap(({ name, channels }) =>
    list(channels).flatMap(({ axis, similarity, indices, leftOut, worst }) =>
      (numberOf(similarity) ?? 1) >= ALIKE
        ? []
        : [
            [
              textOf(name),
              textOf(axis),
              share(numberOf(similarity)),
              textOf(indices),
              textOf(leftOut),
              list(worst)
                .map(({ index, cosine }) => `${textOf(index)}: ${share(numberOf(cosine))}`)
                .join(', '),
            ],
          ],
    ),
  );
  if (rows.length === 0) return [];
  const head = ['output', 'axis', 'channel similarity', 'channels', 'left out', 'lowest channels'];
  return [{ title: 'Channels', head, rows, numeric: [1, 2, 3, 4], code: [0] }];
}

/** Above this no channel is worth a line. */
const ALIKE = 0.99;

function outputTable(outputs: readonly Fields[]): Table {
  return {
    title: 'Outputs',
    head: ['output', 'similarity', 'worst', 'channels', 'MSE', 'MAE', 'largest error', 'SQNR', 'agreement'],
    rows: outputs.map((output) => [
      textOf(output.name),
      share(numberOf(output.similarity)),
      share(numberOf(fields(output.worst).cosine)),
      share(numberOf(output.channelSimilarity)),
      number(numberOf(output.mse)),
      number(numberOf(output.mae)),
      number(numberOf(output.maxAbs)),
      quantity(numberOf(output.sqnrDb), 'dB'),
      share(numberOf(output.agreement)),
    ]),
    numeric: [1, 2, 3, 4, 5, 6, 7, 8],
    code: [0],
  };
}
