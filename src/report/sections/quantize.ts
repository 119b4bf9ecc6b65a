import { bytes } from '../../bytes.ts';
import type { Receipt } from '../../receipt/index.ts';
import { number, quantity } from '../format.ts';
import type { BarChart, Section, TradeChart } from '../page.ts';
import { baseSection } from './base.ts';
import { type Fields, fields, list, numberOf, sentences, textOf } from './read.ts';

export function quantizeSection(receipt: Receipt): Section {
  const { method, sourceBytes, resultBytes, compressionRatio, nodesQuantized, weights, nodes, auto } = fields(
    receipt.results,
  );
  const section = baseSection(receipt, 'Quantize');
  const source = numberOf(sourceBytes);
  const result = numberOf(resultBytes);
  if (source !== undefined && result !== undefined) {
    section.gates.push({
      name: 'Size on disk',
      figure: `${bytes(source)} → ${bytes(result)}`,
      limit: '',
      verdict: 'info',
    });
  }
  const ratio = numberOf(compressionRatio);
  if (ratio !== undefined) {
    section.gates.push({ name: 'Compression', figure: quantity(ratio, '×'), limit: '', verdict: 'info' });
  }
  section.facts.push(...weightFacts(fields(weights)));
  section.gist = [
    textOf(method),
    ...(numberOf(nodesQuantized) === undefined ? [] : [`${textOf(nodesQuantized)} nodes`]),
    ...(source === undefined || result === undefined ? [] : [`${bytes(source)} → ${bytes(result)}`]),
  ]
    .filter((part) => part !== '')
    .join(', ');
  section.charts.push(...tradeCharts(auto), ...givenCharts(list(fields(auto).given)));
  if (textOf(method) !== '') section.facts.push(['method', textOf(method)]);
  if (numberOf(nodesQuantized) !== undefined) section.facts.push(['nodes quantized', textOf(nodesQuantized)]);
  if (auto !== undefined) addSearch(section, fields(auto));
  section.tables.push({
    title: 'Nodes with weights, and why each is as it is',
    head: ['node', 'operator', 'form', 'before', 'after', 'why'],
    rows: list(nodes).map((node) => [
      textOf(node.name),
      textOf(node.opType),
      textOf(node.form ?? node.action),
      bytes(numberOf(node.before) ?? 0),
      bytes(numberOf(node.after) ?? 0),
      textOf(node.reason),
    ]),
    numeric: [3, 4],
    code: [0],
  });
  return section;
}

/** What the search tried: how fast (or, untimed, how small) against how alike. */
function tradeCharts(auto: unknown): TradeChart[] {
  const { trials, chosen, gates } = fields(auto);
  const timed = list(trials).some(({ slowdown }) => numberOf(fields(slowdown).value) !== undefined);
  const points = list(trials).flatMap(({ name, form, similarity, slowdown, sizeRatio }) => {
    const [y, cost] = [numberOf(similarity), numberOf(timed ? fields(slowdown).value : sizeRatio)];
    if (y === undefined || y < 0 || cost === undefined || cost <= 0) return [];
    return [{ label: textOf(form), x: 1 / cost, y, chosen: textOf(name) === textOf(fields(chosen).name) }];
  });
  if (points.length < 2) return [];
  const limit = numberOf(fields(gates).minSimilarity);
  const title = 'What auto tried: further right is better, and so is higher';
  return [{ kind: 'trade', title, x: timed ? '× faster' : '× smaller', y: 'cosine similarity', points, limit }];
}

/** Error and time of the layers that were given back, in the same order beside each other. */
function givenCharts(given: readonly Fields[]): BarChart[] {
  const layers = given.flatMap(({ nodes, error, time }) => {
    const [name, harm, share] = [sentences(nodes)[0], numberOf(error), numberOf(time)];
    return name === undefined || harm === undefined || share === undefined ? [] : [{ label: name, harm, share }];
  });
  if (layers.length === 0) return [];
  const bars = (value: (layer: (typeof layers)[number]) => number) =>
    layers.map((layer) => ({ label: layer.label, value: value(layer) }));
  return [
    { kind: 'bars', title: 'Layers given back: the error they made', unit: '', bars: bars(({ harm }) => harm) },
    { kind: 'bars', title: 'Their part of the time in FP32', unit: '%', bars: bars(({ share }) => 100 * share) },
  ];
}

function weightFacts({ before, quantized, after }: Record<string, unknown>): [string, string][] {
  const [was, covered, is] = [numberOf(before), numberOf(quantized), numberOf(after)];
  if (was === undefined || covered === undefined || is === undefined || was === 0) return [];
  return [['weights', `${bytes(was)} → ${bytes(is)}, ${number((100 * covered) / was)} % of the bytes quantized`]];
}

/** What `auto` has tried, what it gave back, and how to make the result again. */
function addSearch(section: Section, { sentence, overrides, trials, given, final, retries }: Record<string, unknown>) {
  section.facts.unshift(['chosen by auto', textOf(sentence)]);
  section.facts.push(['overrides that make it again', textOf(overrides)]);
  const { similarity, channelSimilarity } = fields(final);
  const channels = numberOf(channelSimilarity);
  const kept = `${number(numberOf(similarity) ?? 0)}${channels === undefined ? '' : `, channels ${number(channels)}`}`;
  section.facts.push(['similarity on samples kept for the end', kept]);
  if (numberOf(retries)) section.facts.push(['choices that other samples did not confirm', textOf(retries)]);
  section.tables.push({
    title: 'What auto tried on this machine',
    head: ['form', 'similarity', 'channel-similarity', 'P50', '× FP32', 'size', 'resident', 'verdict'],
    rows: list(trials).map((trial) => {
      const { value, p50Ms } = fields(trial.slowdown);
      const [time, ratio] = [numberOf(p50Ms), numberOf(value)];
      const made = textOf(trial.refused) === '';
      const of = (figure: unknown, shown: (figure: number) => string) => {
        const known = numberOf(figure);
        return known === undefined || !made ? '' : shown(known);
      };
      return [
        textOf(trial.form),
        of(trial.similarity, number),
        of(trial.channelSimilarity, number),
        of(time, (ms) => quantity(ms, 'ms')),
        of(ratio, (slowdown) => number(1 / slowdown)),
        of(trial.size, bytes),
        of(trial.residentBytes, bytes),
        textOf(trial.verdict),
      ];
    }),
    numeric: [1, 2, 3, 4, 5, 6],
    open: true,
  });
  const back = list(given);
  if (back.length === 0) return;
  section.tables.push({
    title: 'Layers given back, and why',
    head: ['nodes', 'as', 'error', 'channel-similarity', 'FP32 bytes', 'of the time in FP32'],
    rows: back.map((layer) => [
      [layer.nodes, layer.others].flatMap((names) => (Array.isArray(names) ? names.map(textOf) : [])).join(', '),
      textOf(layer.as) === 'keep' ? 'FP32' : 'FP32 from 8-bit weights',
      number(numberOf(layer.error) ?? 0),
      numberOf(layer.channelSimilarity) === undefined ? '' : number(numberOf(layer.channelSimilarity)!),
      bytes(numberOf(layer.bytes) ?? 0),
      numberOf(layer.time) === undefined ? '' : `${number(100 * numberOf(layer.time)!)} %`,
    ]),
    numeric: [2, 3, 4, 5],
    code: [0],
  });
}
